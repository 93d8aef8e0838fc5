"""Lines of keys and bounds of files: against texts as people write them, and against what tomli-w writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tomli
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.compiler.parsing import SyntaxTroubleError, parse
from nexus_supervisor.compiler.positions import LimitBrokenError, check_bounds, positions
from nexus_supervisor.core.options import LimitSettings

LIMITS = LimitSettings()

TEXT = """\
# a comment with a = 1
title = "x = 1 # no comment"

[source]
"quoted key".'literal' . bare = 1
numbers = [ # first
  1,
  [2, 3], # second

  { deep = "}" , "w x" = ']' },
]
inline = { a = 1, b.c = [4], d = {} }
long = \"\"\"
[not.a.table]
k = 1
\"\"\"
raw = '''
'quotes' "and" \\ all'''
when = 1979-05-27 07:32:00
after = true

[[source.rows]]
id = 1
[source.rows.sub]
k = 1
[[source.rows]]
id = 2

[ spaced . "head.er" ]
k = 1
"""

LINES: dict[tuple[str | int, ...], int] = {
    ("title",): 2,
    ("source",): 4,
    ("source", "quoted key", "literal", "bare"): 5,
    ("source", "numbers"): 6,
    ("source", "numbers", 0): 7,
    ("source", "numbers", 1, 1): 8,
    ("source", "numbers", 2, "deep"): 10,
    ("source", "numbers", 2, "w x"): 10,
    ("source", "inline", "b", "c", 0): 12,
    ("source", "inline", "d"): 12,
    ("source", "long"): 13,
    ("source", "raw"): 17,
    ("source", "when"): 19,
    ("source", "after"): 20,
    ("source", "rows", 0, "id"): 23,
    ("source", "rows", 0, "sub", "k"): 25,
    ("source", "rows", 1): 26,
    ("source", "rows", 1, "id"): 27,
    ("spaced", "head.er", "k"): 30,
}


@pytest.mark.parametrize("path", LINES, ids=str)
def test_every_key_has_the_line_on_which_it_is_written(path: tuple[str | int, ...]) -> None:
    assert positions(TEXT).line(path) == LINES[path]


def test_the_text_of_the_example_is_valid() -> None:
    assert tomli.loads(TEXT)["source"]["rows"][1] == {"id": 2}


def test_a_missing_key_has_the_line_of_what_it_is_missing_in() -> None:
    assert positions(TEXT).line(("source", "rows", 1, "name")) == 26
    assert positions(TEXT).line(("nowhere",)) == 1
    assert positions("").line(("a",)) == 1


def test_escaped_keys_are_found_by_what_they_mean() -> None:
    text = 'a = 1\n"t\\u0041\\U00000042\\n\\x43" = 2\n'

    assert positions(text).line(("tAB\nC",)) == 2
    assert "tAB\nC" in tomli.loads(text)


def test_of_a_broken_text_the_lines_before_the_mistake_are_known() -> None:
    assert positions("[a]\nb = 1\nc = = 2\nd = 3\n").line(("a", "b")) == 2


PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of everything inside a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in pairs for found in ((*path, key), *paths_of(item, (*path, key)))]


@given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=5), st.booleans())
def test_every_path_of_a_written_document_has_a_line_of_its_own(document: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps(document, multiline_strings=multiline)
    lines = text.split("\n")
    found = positions(text)

    for path in paths_of(tomli.loads(text)):
        assert path in found.lines, (path, text)
        assert 1 <= found.lines[path] <= len(lines)


@given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=5))
def test_a_document_within_the_bounds_is_followed_to_its_end(document: dict[str, Any]) -> None:
    text = tomli_w.dumps(document) + "\n" + "#" + "[." * 40  # so many marks that the whole text has to be followed

    assert check_bounds(text, LIMITS) == len(text)


PIECES = st.sampled_from(
    ["a", "b-1", '"q"', "'l'", ".", " ", "=", "[", "]", "{", "}", ",", "#", '"""', "'''", "1979-05-27 07:32:00", "true"]
)


@given(st.lists(st.lists(PIECES, max_size=9).map("".join) | st.sampled_from(["[[a]]", "a = [1, 'x']"]), max_size=9))
def test_lines_that_are_judged_one_by_one_are_within_the_bounds_of_the_whole_text(lines: list[str]) -> None:
    text = "\n".join([*lines, "# " + "[" * 40])  # so many marks that counting is not enough
    limits = replace(LIMITS, max_depth=13)
    if check_bounds(text, limits) != len(text):
        return

    followed = text + "\nlast = [\n]"  # one line that is not whole by itself: the text is followed from its beginning

    assert check_bounds(followed, limits) >= len(text)


def test_many_simple_lines_are_not_followed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = '[[client]] # one\nname = "a.b [c] # \\" d"\n"q.r".s = [1, \'x[\', true,]\nwhen = 1979-05-27 07:32:00\n\n'
    monkeypatch.setattr("nexus_supervisor.compiler.positions._Scanner", None)

    assert check_bounds(entry * 100, LIMITS) == len(entry) * 100
    with pytest.raises(TypeError):
        check_bounds(entry * 100 + 'x = """\n"""', LIMITS)


@given(st.text(alphabet="a1.=[]{}\"'#,\n \\-_", max_size=200))
def test_any_text_is_followed_to_an_end(text: str) -> None:
    marked = text + "\n#" + "[." * 40
    positions(marked)
    line = 1
    try:
        check_bounds(marked, LIMITS)
    except LimitBrokenError as error:
        line = error.line
    assert 1 <= line <= marked.count("\n") + 1


@given(st.text(alphabet="a1.=[]{}\"'#,\n \\-_", max_size=200))
def test_what_the_parser_takes_the_scanner_can_follow(text: str) -> None:
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    found = positions(text)
    assert all(path in found.lines for path in paths_of(document))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\n\nx = " + "[" * 33, 3, "tables and arrays within each other"),
        ("x = " + "[\n" * 100, 33, "tables and arrays within each other"),
        ("[" + ".".join("a" * 40) + "]", 1, "a key of at most 32 parts"),
        ("a = 1\n" + ".".join("a" * 33) + " = 1", 2, "a key of at most 32 parts"),
        ("[" + ".".join("a" * 20) + "]\n" + ".".join("b" * 20) + " = 1", 2, "tables and arrays within each other"),
        ("a = " + "1" * 129, 1, "a number of at most 128 digits"),
        ("a = [1,\n " + "1_" * 129 + "]", 2, "a number of at most 128 digits"),
        ("a = 1\n# " + "é" * 40_000, 2, "a line of at most 65536 bytes, found 80002"),
    ],
)
def test_what_is_too_much_is_refused_on_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(LimitBrokenError, match=words) as caught:
        check_bounds(text, LIMITS)

    assert caught.value.line == line


@pytest.mark.parametrize(
    "text",
    [
        "a = '" + "." * 100 + "'",
        "a = '" + "9" * 1000 + "'",
        "a = '''" + "[" * 1000 + "'''",
        "# " + "[{." * 1000,
        "\n".join(f"k{number} = [{{a.b = {number}.5}}]" for number in range(200)),
        "a = [" + "[1.5]," * 500 + "]",
    ],
)
def test_text_that_only_looks_like_too_much_is_not_refused(text: str) -> None:
    assert check_bounds(text, LIMITS) == len(text)
    tomli.loads(text)


def test_what_comes_after_a_place_that_can_not_be_followed_is_not_parsed() -> None:
    text = 'a = "open\n' + "[" * 5000

    with pytest.raises(SyntaxTroubleError) as caught:
        parse(text.encode(), LIMITS)

    assert (caught.value.code, caught.value.line) == ("syntax", 1)


@pytest.mark.parametrize(
    ("raw", "line"),
    [(b"a = 1\n\xff = 2", 2), (b"a = 1\r\nb = \r\n", 2), (b"a = 1\na = 2", 2), (b'a = 1\nb = """x\n', 2)],
)
def test_a_syntax_error_has_a_line(raw: bytes, line: int) -> None:
    with pytest.raises(SyntaxTroubleError) as caught:
        parse(raw, LIMITS)

    assert caught.value.line in {line, line + 1}
    assert caught.value.__cause__ is None


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused_with_a_line(raw: bytes) -> None:
    line = 1
    try:
        parse(raw, LIMITS)
    except SyntaxTroubleError as trouble:
        line = trouble.line
    assert 1 <= line <= raw.count(b"\n") + 2
