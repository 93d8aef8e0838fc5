"""Where an error of the user's code is said to be."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.models.importing import LoadError, imported, place_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def caught(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as found:
        call()
    return found.value


def test_the_place_is_in_the_users_code_and_not_in_the_library_that_it_calls() -> None:
    error = caught(lambda: json.loads("{"))

    assert place_of(error).startswith(f" at {__file__}:")


def test_an_error_that_only_libraries_have_a_part_in_is_where_it_was_raised() -> None:
    error = caught(lambda: json.loads("{"))
    trace = error.__traceback__
    while trace is not None and "json" not in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next

    assert "decoder.py:" in place_of(error.with_traceback(trace))


def test_an_error_without_a_place_has_none() -> None:
    assert place_of(ValueError()) == ""


def test_a_module_that_fails_is_explained_with_the_line_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fails_at_once.py").write_text("import json\n\njson.loads('hunter2')\n")

    with pytest.raises(LoadError) as found:
        imported("the hooks 'fails_at_once'", "fails_at_once")

    told = "the hooks 'fails_at_once' can't be loaded: JSONDecodeError at "
    assert str(found.value) == f"{told}{tmp_path}/fails_at_once.py:3"
    assert "fails_at_once" not in sys.modules


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = (\n", r"SyntaxError \('\(' was never closed\) at .*/broken_inside\.py:1"),
        ("if True:\nx = 1\n", r"IndentationError \(expected an indented block .*\) at .*/broken_inside\.py:2"),
        ("class Odd(BaseException): pass\nraise Odd('hunter2')\n", r"Odd at .*/broken_inside\.py:2"),
    ],
)
def test_a_module_below_the_one_that_is_named_is_explained_with_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "outside.py").write_text("import broken_inside\n")
    (tmp_path / "broken_inside.py").write_text(text)

    with pytest.raises(LoadError, match=f"^the hooks 'outside' can't be loaded: {told}$"):
        imported("the hooks 'outside'", "outside")


def test_who_imports_by_hand_can_still_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "takes_long.py").write_text("raise KeyboardInterrupt\n")

    with pytest.raises(KeyboardInterrupt):
        imported("the hooks 'takes_long'", "takes_long")
