"""Mistakes in one document: pydantic's errors in our words, with the place and never the content of a secret.

Decided here: what an error says and at which keys it points. Not decided here: which line that is (``compiler/``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_supervisor.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from nexus_supervisor.models.secrets import FileIdentity

__all__ = [
    "MOST_MISTAKES",
    "Mistake",
    "ModelMistakesError",
    "Path",
    "Written",
    "described",
    "found_text",
    "shortened",
]

Path = tuple[str | int, ...]
"""Where a value is in a document: keys and indexes."""

MOST_MISTAKES = 1_000
"""How many mistakes of one document are worded: a file of a megabyte may have hundreds of thousands."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_SHOWN_CHARACTERS = 64
_FRAME_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Mistake:
    """Name one mistake: its place in the document, a code of ``Problem``, and a sentence without secrets."""

    path: Path
    code: str
    message: str


class Written(str):
    """Hold text that stands for another kind of value of the file; ``kind`` says which, as in "found a date"."""

    __slots__ = ("kind",)

    kind: str

    def __new__(cls, text: str, kind: str) -> Self:
        """Take the text and the kind."""
        written = super().__new__(cls, text)
        written.kind = kind
        return written


class ModelMistakesError(RejectedError):
    """Say that a document doesn't fit its model, with every mistake.

    ``files`` are those that its secrets were read from: the document may fit as soon as one of them is another one.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, one.path))}: {one.message}" for one in mistakes))
        self.mistakes = tuple(mistakes)
        self.files: Mapping[str, FileIdentity | None] = {}


def shortened(mistakes: Sequence[Mistake], total: int | None = None) -> list[Mistake]:
    """Return the first mistakes of one document, and how many more there are; ``total`` counts those not made yet."""
    kept = list(mistakes[:MOST_MISTAKES])
    if (more := (len(mistakes) if total is None else total) - len(kept)) > 0:
        kept.append(Mistake((), "limit", f"{more} more mistakes of this file are not shown: mend the others first"))
    return kept


_KINDS: Mapping[str, str] = {
    "bool_type": "true or false",
    "bytes_type": "a text",
    "dataclass_type": "a table",
    "date_from_datetime_parsing": "a date",
    "date_type": "a date",
    "datetime_from_date_parsing": "a date and time",
    "datetime_type": "a date and time",
    "dict_type": "a table",
    "float_type": "a number",
    "frozen_set_type": "an array",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "an array",
    "mapping_type": "a table",
    "model_type": "a table",
    "none_required": "nothing",
    "set_type": "an array",
    "string_type": "a text",
    "time_type": "a time",
    "tuple_type": "an array",
}
_UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_MISSING = frozenset({"missing", "missing_argument"})
_OWN_WORDS = {"assertion_error": "Assertion failed, ", "value_error": "Value error, "}
"""The errors whose words a validator of the user's gives, and what pydantic puts before them."""

Wording = Callable[[Mapping[str, Any], Any], str]
"""Words an error from its context and the value that was found."""


def described(
    errors: Sequence[Mapping[str, Any]],
    document: Any,
    unknown: Callable[[Path], str],
    redacted: Callable[[str], str],
) -> list[Mistake]:
    """Turn pydantic's errors about a document into mistakes.

    ``unknown`` words an unknown key; ``redacted`` takes secrets out of the text that a user's validator made. Errors of
    the members of one union become one mistake.
    """
    mistakes: list[Mistake] = []
    members: dict[Path, list[str]] = {}
    for error in errors[:MOST_MISTAKES]:
        path = written_path(error["loc"], document, missing=error["type"] in _MISSING | _UNKNOWN)
        if expected := _KINDS.get(error["type"]):
            if path not in members:
                mistakes.append(Mistake(path, "type", ""))
            members.setdefault(path, []).append(expected)
        else:
            mistakes.append(_mistake(error, path, unknown, redacted))
    worded = [one if one.message else _of_types(one, members[one.path], document) for one in mistakes]
    return worded if len(errors) <= MOST_MISTAKES else shortened(worded, len(errors))


def _of_types(mistake: Mistake, expected: list[str], document: Any) -> Mistake:
    wanted = " or ".join(dict.fromkeys(expected))
    return Mistake(mistake.path, mistake.code, f"expected {wanted}, found {found_text(_value(document, mistake.path))}")


def _mistake(
    error: Mapping[str, Any], path: Path, unknown: Callable[[Path], str], redacted: Callable[[str], str]
) -> Mistake:
    kind = error["type"]
    if kind in _UNKNOWN:
        return Mistake(path, "unknown_key", unknown(path))
    if words := _WORDS.get(kind):
        code, wording = words
        return Mistake(path, code, wording(error.get("ctx", {}), error.get("input")))
    said = str(error["msg"]).removeprefix(_OWN_WORDS.get(kind, ""))
    return Mistake(path, "value", _clean(redacted(said or "the model refuses this")))


def _bound(words: str, key: str) -> Wording:
    return lambda context, value: f"expected {words} {context[key]}, found {found_text(value)}"


def _length(words: str, key: str, unit: str) -> Wording:
    return lambda context, value: f"expected {words} {context[key]} {unit}, found {_count(value)}"


def _choice(context: Mapping[str, Any], value: Any) -> str:
    return f"expected {context['expected']}, found {_quoted(value)}"


def _count(value: Any) -> str:
    return str(len(value)) if isinstance(value, (str, list, dict)) else found_text(value)


def written_path(location: Sequence[str | int], document: Any, *, missing: bool) -> Path:
    """Return where an error points in the document as it was written, without the tags that unions add."""
    path: list[str | int] = []
    value = document
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if _holds(value, part):
            value = value[part]
        elif not (last and missing):
            continue
        path.append(part)
    return tuple(path)


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and part < len(value)
    return isinstance(value, dict) and part in value


def found_text(value: Any) -> str:
    """Say what kind of value was found, without showing a text."""
    if value is None:
        return "nothing"
    if isinstance(value, Written):
        return value.kind
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    kinds: Mapping[type, str] = {str: "a text in quotes", list: "an array", tuple: "an array", dict: "a table"}
    return kinds.get(type(value), f"a value of type {type(value).__name__}")


def _quoted(value: Any) -> str:
    """Show a short text in quotes: only for fields with a closed set of values, which no secret is."""
    if isinstance(value, str):
        return f"'{_clean(value[:_SHOWN_CHARACTERS])}'"
    return found_text(value)


def _clean(text: str) -> str:
    """Return a text of bounded length without control characters."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text[:_FRAME_CHARACTERS])


def _value(document: Any, path: Path) -> Any:
    for part in path:
        document = document[part]
    return document


_WORDS: Mapping[str, tuple[str, Wording]] = {
    "enum": ("value", _choice),
    "greater_than": ("range", _bound("more than", "gt")),
    "greater_than_equal": ("range", _bound("at least", "ge")),
    "less_than": ("range", _bound("less than", "lt")),
    "less_than_equal": ("range", _bound("at most", "le")),
    "literal_error": ("value", _choice),
    "missing": ("missing", lambda *_: "expected a value, found none: write this key"),
    "missing_argument": ("missing", lambda *_: "expected a value, found none: write this key"),
    "multiple_of": ("range", _bound("a multiple of", "multiple_of")),
    "secret": ("secret", lambda context, _: str(context["message"])),
    "string_pattern_mismatch": ("value", lambda context, _: f"expected a text that matches {context['pattern']}"),
    "string_too_long": ("range", _length("at most", "max_length", "characters")),
    "string_too_short": ("range", _length("at least", "min_length", "characters")),
    "too_long": ("range", _length("at most", "max_length", "items")),
    "too_short": ("range", _length("at least", "min_length", "items")),
    "union_tag_invalid": (
        "value",
        lambda context, _: f"expected {context['discriminator']} to be one of {context['expected_tags']}",
    ),
    "union_tag_not_found": (
        "missing",
        lambda context, _: f"expected the key {context['discriminator']}, found none: it says what this table is",
    ),
}
"""The error types that we word ourselves: the code of the problem, and its words."""
