"""Parsing one file: TOML bytes to plain JSON values, with a line for whatever is wrong.

Decided here: what tomli may be given, and which of the values that TOML allows are allowed here. Not decided here: what
a document means (``models/``).

Values are those that canonical JSON holds: text, true and false, whole numbers of 64 bits, finite numbers, lists and
tables; dates and times become ISO 8601 text.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomli

from nexus_supervisor.compiler.positions import check_bounds
from nexus_supervisor.compiler.reading import TroubleError
from nexus_supervisor.models.mistakes import Mistake, Written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.options import LimitSettings
    from nexus_supervisor.models.mistakes import Path

__all__ = ["Parsed", "SyntaxTroubleError", "parse"]

_INT64 = range(-(1 << 63), 1 << 63)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")

_MOMENTS = {dt.datetime: "a date and time", dt.date: "a date", dt.time: "a time"}


class SyntaxTroubleError(TroubleError):
    """Say that a file is no TOML that we parse, and on which line."""

    def __init__(self, message: str, code: str, line: int) -> None:
        super().__init__(message, code)
        self.line = line


@dataclass(frozen=True, slots=True)
class Parsed:
    """Hold a parsed file: its text, its plain values, and the values among them that are not allowed."""

    text: str
    document: dict[str, Any]
    mistakes: tuple[Mistake, ...]


def parse(raw: bytes, limits: LimitSettings) -> Parsed:
    """Parse the bytes of a file; raise SyntaxTroubleError with a line where they are no TOML within the limits."""
    text = _decoded(raw)
    whole = _bounded(text, limits)
    document = _parsed(text[:whole], raw)
    if whole < len(text):
        line = text.count("\n", 0, whole) + 1
        message = "this line can't be read as TOML: look for a quote or bracket that is missing here"
        raise SyntaxTroubleError(message, "syntax", line)
    mistakes: list[Mistake] = []
    plain: dict[str, Any] = _plain(document, (), mistakes)
    return Parsed(text, plain, tuple(mistakes))


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        message = f"expected UTF-8 text, found the byte {raw[error.start]:#04x}: is this a binary file?"
        raise SyntaxTroubleError(message, "syntax", raw.count(b"\n", 0, error.start) + 1) from None


def _bounded(text: str, limits: LimitSettings) -> int:
    try:
        return check_bounds(text, limits)
    except TroubleError as error:
        raise SyntaxTroubleError(error.message, error.code, getattr(error, "line", 1)) from None


def _parsed(text: str, raw: bytes) -> dict[str, Any]:
    """Call tomli; whatever it raises becomes an error with a line.

    RecursionError and ValueError (a number of too many digits) are what it raises by itself; both are bounded before.
    """
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        message = f"this is not valid TOML: {_lowered(error.msg)} (column {error.colno})"
        raise SyntaxTroubleError(message, "syntax", min(error.lineno, raw.count(b"\n") + 1)) from None
    except (ValueError, RecursionError) as error:
        message = f"the parser refuses this file ({type(error).__name__}): it nests too deeply or holds a huge number"
        raise SyntaxTroubleError(message, "limit", 1) from None


def _lowered(message: str) -> str:
    """Return a message of tomli, which quotes at most one character of the file, for the middle of a sentence."""
    return message[:1].lower() + message[1:] if message else "no reason given"


def _plain(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
    """Return the value as JSON can hold it, and note what can't be; such a number is 0, so that judging goes on."""
    match value:
        case dict():
            mistakes.extend(_key_mistakes(value, path))
            return {key: _plain(item, (*path, key), mistakes) for key, item in value.items()}
        case list():
            return [_plain(item, (*path, index), mistakes) for index, item in enumerate(value)]
        case dt.datetime() | dt.date() | dt.time():
            return Written(value.isoformat(), _MOMENTS[type(value)])
    if (mistake := _scalar_mistake(value)) is not None:
        mistakes.append(Mistake(path, *mistake))
        return value if isinstance(value, str) else type(value)(0)
    return value


def _scalar_mistake(value: Any) -> tuple[str, str] | None:
    match value:
        case str() if found := _CONTROL.search(value):
            return "value", f"expected text without control or direction characters, found U+{ord(found[0]):04X}"
        case bool() | str():
            return None
        case int() if value not in _INT64:
            return "range", "expected a whole number of at most 64 bits, found a larger one"
        case float() if not math.isfinite(value):
            return "range", f"expected a finite number, found {value}"
    return None


def _key_mistakes(table: dict[str, Any], path: Path) -> Iterator[Mistake]:
    for key in table:
        if found := _INVISIBLE.search(key):
            text = f"expected a key without invisible characters, found U+{ord(found[0]):04X} in one"
            yield Mistake((*path, key), "unknown_key", text)
