"""Rules: what one value of the settings may be.

Decided here: the kinds of values, their bounds, and the sentences that refuse a value. Not decided here: which settings
exist (``options.py``) and how a table of them is read (``tables.py``).

A value is never converted: text is not a number and 1 is not true. Only a whole number is taken where a number is
wanted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from nexus_supervisor.core.spelling import suggestion

__all__ = [
    "ADDRESS",
    "MAX_ADDRESSES",
    "Addresses",
    "Flag",
    "Number",
    "Rule",
    "Share",
    "ShareOf",
    "Text",
    "Unfit",
    "Whole",
    "Word",
    "addresses",
    "did_you_mean",
    "found",
]

_SHOWN_CHARACTERS = 40
_MAX_SHOWN_WHOLE = 10**18
_PERCENT = re.compile(r"(\d{1,3})%", re.ASCII)


class Unfit(Exception):
    """Say that a value breaks its rule; ``code`` is ``type`` or ``range``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Share:
    """Hold a part of a fleet: a count, or a percentage."""

    amount: int
    percent: bool = False

    def of(self, total: int) -> int:
        """Return how many of ``total`` are meant: percentages round up, at least one, at most all."""
        wanted = math.ceil(total * self.amount / 100) if self.percent else self.amount
        return min(total, max(1, wanted))

    def __str__(self) -> str:
        """Show the share as it is written in a file."""
        return f"{self.amount}%" if self.percent else str(self.amount)


class Rule(Protocol):
    """Judge one value; ``expected`` says in words what fits."""

    @property
    def expected(self) -> str:
        """Say what fits."""
        ...

    def take(self, value: Any) -> Any:
        """Return the value that the settings hold; raise Unfit for one that doesn't fit."""
        ...

    def plain(self, text: str) -> Any:
        """Return the plain value that text in the environment stands for; raise Unfit where it stands for none."""
        ...


@dataclass(frozen=True, slots=True)
class Flag:
    """Take true or false."""

    expected: str = field(default="true or false", init=False)

    def take(self, value: Any) -> bool:
        """Return the flag."""
        if not isinstance(value, bool):
            raise _wrong_type(self.expected, value)
        return value

    def plain(self, text: str) -> bool:
        """Return the flag that ``true`` or ``false`` stands for."""
        if text not in {"true", "false"}:
            raise _wrong_type(self.expected, text)
        return text == "true"


@dataclass(frozen=True, slots=True)
class Whole:
    """Take a whole number within bounds."""

    low: int
    high: int

    @property
    def expected(self) -> str:
        """Say which whole numbers fit."""
        return f"a whole number from {self.low} to {self.high}"

    def take(self, value: Any) -> int:
        """Return the number."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong_type(self.expected, value)
        if not self.low <= value <= self.high:
            raise _out_of_range(self.expected, value)
        return value

    def plain(self, text: str) -> int:
        """Return the whole number that decimal digits stand for."""
        if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
            raise _wrong_type(self.expected, text)
        return int(text)


@dataclass(frozen=True, slots=True)
class Number:
    """Take a number, whole or not, within bounds."""

    low: float
    high: float

    @property
    def expected(self) -> str:
        """Say which numbers fit."""
        return f"a number from {self.low:g} to {self.high:.15g}"

    def take(self, value: Any) -> float:
        """Return the number as a float."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _wrong_type(self.expected, value)
        if not self.low <= value <= self.high:
            raise _out_of_range(self.expected, value)
        return float(value)

    def plain(self, text: str) -> float:
        """Return the number that decimal digits, with a point or not, stand for."""
        if not re.fullmatch(r"[+-]?\d{1,18}(\.\d{1,18})?", text, re.ASCII):
            raise _wrong_type(self.expected, text)
        return float(text)


@dataclass(frozen=True, slots=True)
class Word:
    """Take one of a few words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        """List the words."""
        return "one of " + ", ".join(f'"{word}"' for word in self.words)

    def take(self, value: Any) -> str:
        """Return the word."""
        if not isinstance(value, str):
            raise _wrong_type(self.expected, value)
        if value not in self.words:
            meant = suggestion(value, self.words)
            message = f"expected {self.expected}, found {found(value)}{did_you_mean(meant)}"
            raise Unfit(code="range", message=message)
        return value

    def plain(self, text: str) -> str:
        """Return the text."""
        return text


@dataclass(frozen=True, slots=True)
class Text:
    """Take text of a given shape; of ``secret`` text no message shows anything."""

    expected: str = "text without control characters"
    pattern: str = r"[^\x00-\x1f\x7f]{0,4096}"
    secret: bool = False

    def take(self, value: Any) -> str:
        """Return the text."""
        if not isinstance(value, str):
            raise _wrong_type(self.expected, value, secret=self.secret)
        if not re.fullmatch(self.pattern, value, re.ASCII):
            raise _out_of_range(self.expected, value, secret=self.secret)
        return value

    def plain(self, text: str) -> str:
        """Return the text."""
        return text


@dataclass(frozen=True, slots=True)
class ShareOf:
    """Take a part of a fleet: a count from 1, or a percentage as text."""

    high: int

    @property
    def expected(self) -> str:
        """Say which shares fit."""
        return f'a whole number from 1 to {self.high}, or a percentage from "1%" to "100%"'

    def take(self, value: Any) -> Share:
        """Return the share."""
        if isinstance(value, str):
            match = _PERCENT.fullmatch(value)
            if match is None:
                raise _wrong_type(self.expected, value)
            share = Share(int(match[1]), percent=True)
        elif isinstance(value, int) and not isinstance(value, bool):
            share = Share(value)
        else:
            raise _wrong_type(self.expected, value)
        if not 1 <= share.amount <= (100 if share.percent else self.high):
            raise _out_of_range(self.expected, value)
        return share

    def plain(self, text: str) -> int | str:
        """Return a percentage as it is, and decimal digits as a number."""
        return text if text.endswith("%") else Whole(1, self.high).plain(text)


ADDRESS = r"unix:[^\x00-\x1f\x7f]{1,100}|fd://[0-9A-Za-z._-]{1,64}|\[[0-9A-Za-z:.%_-]{2,64}\](:\d{1,5})?|[0-9A-Za-z.:%_-]{1,255}"
"""The shape of one address; ``\\d`` is ASCII."""

MAX_ADDRESSES = 16


@dataclass(frozen=True, slots=True)
class Addresses:
    """Take one address to listen on or a list of them; the settings hold a tuple, empty where there is none.

    Each is ``HOST`` or ``HOST:PORT``, ``[IPv6]:PORT``, ``unix:PATH`` (relative to DIR or absolute), or ``fd://N`` and
    ``fd://NAME`` for a socket that was inherited.
    """

    expected: str = field(
        default='an address such as "127.0.0.1", "[::1]:8080", "unix:web.sock" or "fd://web", a list of them, or ""',
        init=False,
    )

    def take(self, value: Any) -> tuple[str, ...]:
        """Return the addresses."""
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise _wrong_type(self.expected, value)
        held = tuple(item for item in items if item)
        if len(held) > MAX_ADDRESSES or len(set(held)) != len(held):
            message = f"expected at most {MAX_ADDRESSES} addresses, each once, found {len(held)}"
            raise Unfit(code="range", message=message)
        for item in held:
            port = item.rpartition(":")[2] if item.count(":") == 1 or item.startswith("[") else "0"
            if not re.fullmatch(ADDRESS, item, re.ASCII) or (port.isdecimal() and int(port) > _MAX_PORT):
                raise _out_of_range(self.expected, item)
        return held

    def plain(self, text: str) -> str | list[str]:
        """Return what is separated by commas."""
        return [part.strip() for part in text.split(",")] if "," in text else text


_MAX_PORT = 65_535


def addresses(hosts: tuple[str, ...], port: int) -> tuple[str, ...]:
    """Return addresses with the port that goes for those which name none."""
    return tuple(_with_port(host, port) for host in hosts)


def _with_port(host: str, port: int) -> str:
    if host.startswith(("unix:", "fd://")) or (host.startswith("[") and not host.endswith("]")):
        return host
    if host.startswith("[") or host.count(":") == 0:
        return f"{host}:{port}"
    return host if host.count(":") == 1 else f"[{host}]:{port}"


def found(value: Any, *, secret: bool = False) -> str:
    """Say what a plain value is, in the words of TOML; show short values unless they may be secret."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            shown = not secret and abs(value) < _MAX_SHOWN_WHOLE
            return f"the whole number {value}" if shown else "a whole number"
        case float():
            return "a number" if secret else f"the number {value:.12g}"
        case str():
            return "other text" if secret else f"the text {json.dumps(value[:_SHOWN_CHARACTERS])}"
        case Mapping() | list() | tuple():
            return "a table" if isinstance(value, Mapping) else "a list"
        case _:
            return f"a {type(value).__name__}"


def _wrong_type(expected: str, value: Any, *, secret: bool = False) -> Unfit:
    return Unfit("type", f"expected {expected}, found {found(value, secret=secret)}")


def _out_of_range(expected: str, value: Any, *, secret: bool = False) -> Unfit:
    return Unfit("range", f"expected {expected}, found {found(value, secret=secret)}")


def did_you_mean(word: str | None) -> str:
    """Return the end of a sentence that offers a word, or nothing."""
    return "" if word is None else f'; did you mean "{word}"?'
