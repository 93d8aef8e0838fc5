"""Positions: on which line of a TOML file each key is, and which files are too much for a parser.

Decided here: the line of every key path, and the bounds that a file must keep before it is parsed. Not decided here:
whether the file is valid (tomli says so); of an invalid one, the positions up to the mistake are known.

One pass over the text, no recursion, linear time. Bounds are checked by counting first: a file without many brackets,
dots or digits in a row can't break them, nor can one of simple lines only, each of them whole by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nexus_supervisor.compiler.reading import TroubleError

if TYPE_CHECKING:
    from nexus_supervisor.core.options import LimitSettings

__all__ = ["LimitBrokenError", "Positions", "check_bounds", "positions"]

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_LINE = re.compile(r"[^\n]*")
_BARE = re.compile(r"[^\s.=\[\]{}\"'#,]+")
_BASIC = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_LITERAL = re.compile(r"'([^'\n]*)'")
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]+")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}
_MAX_CODE_POINT = 0x10FFFF
_CONTEXT_CHARACTERS = 256

_TEXT = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*')"""
_WORD = r"""[^\s"'\[\]{},#=]+"""
_PART = rf"(?:[\w-]+|{_TEXT})"
_SIMPLE_PARTS = 4
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART}){{0,{_SIMPLE_PARTS - 1}}}"
_ITEMS = rf"\[(?:[ \t]*(?:{_TEXT}|{_WORD})[ \t]*(?:,|(?=\])))*[ \t]*\]"
_SIMPLE = re.compile(
    rf"[ \t]*(?:\[\[?[ \t]*{_KEY}[ \t]*\]\]?|{_KEY}[ \t]*=[ \t]*(?:{_TEXT}|{_WORD}(?: {_WORD})?|{_ITEMS}))?"
    r"[ \t]*(?:#.*)?"
)
"""A line that opens nothing which it doesn't close: a header, or a key with a text, a word or a flat array."""
_SIMPLE_DEPTH = 2 * _SIMPLE_PARTS + _SIMPLE_PARTS + 1
"""As deep as simple lines lead: through a header with an index after each part, a key, and an array."""


class LimitBrokenError(TroubleError):
    """Say that a file is too much for a parser, and on which line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message, "limit")
        self.line = line


class _UnclearError(Exception):
    """Say that the text can't be followed any further."""


@dataclass(slots=True)
class Positions:
    """Hold the lines of the key paths of one file."""

    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """Return the line of a path, or of the longest part of it that is known; 1 where nothing is."""
        for length in range(len(path), 0, -1):
            if (found := self.lines.get(path[:length])) is not None:
                return found
        return 1

    def put(self, path: KeyPath, line: int) -> None:
        """Remember where a path, and what it is part of, was first written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                break
            self.lines[path[:length]] = line


def positions(text: str) -> Positions:
    """Return the line of every key path that the text has, as far as it can be followed."""
    found = Positions()
    scanner = _Scanner(text, found, None)
    try:
        scanner.run()
    except _UnclearError:
        return found
    return found


def check_bounds(text: str, limits: LimitSettings) -> int:
    """Raise LimitBrokenError where a line, a key, a number or the depth is over its limit.

    Return up to where the bounds are known to hold: the end, or a little after the place that can't be followed. What
    comes after that is not to be parsed.
    """
    _check_lines(text, limits)
    digits = re.search(rf"[0-9_]{{{limits.max_integer_digits + 1},}}", text)
    brackets = text.count("[") + text.count("{") > limits.max_depth
    dots = text.count(".") >= min(limits.max_key_parts, limits.max_depth)
    if not (digits or brackets or dots) or (digits is None and _is_simple(text, limits)):
        return len(text)
    scanner = _Scanner(text, Positions(), limits)
    try:
        scanner.run()
    except _UnclearError:
        end = text.find("\n", scanner.at)
        return min(len(text) if end < 0 else end, scanner.at + _CONTEXT_CHARACTERS)
    return len(text)


def _is_simple(text: str, limits: LimitSettings) -> bool:
    """Say whether all lines are simple: then every one of them begins outside of texts and arrays."""
    if limits.max_key_parts < _SIMPLE_PARTS or limits.max_depth < _SIMPLE_DEPTH:
        return False
    return all(map(_SIMPLE.fullmatch, text.split("\n")))


def _check_lines(text: str, limits: LimitSettings) -> None:
    longest = max(map(len, text.split("\n")))
    if longest * 4 <= limits.max_line_bytes:
        return
    for number, line in enumerate(text.split("\n"), 1):
        if (found := len(line.encode("utf-8", "surrogatepass"))) > limits.max_line_bytes:
            message = f"expected a line of at most {limits.max_line_bytes} bytes, found {found}"
            raise LimitBrokenError(number, message)


class _Scanner:
    """Follow one text; stop where it can't be TOML."""

    def __init__(self, text: str, found: Positions, limits: LimitSettings | None) -> None:
        self._text, self._found, self._limits = text, found, limits
        self.at = 0
        self._counted, self._line = 0, 1
        self._arrays: dict[KeyPath, int] = {}

    def run(self) -> None:
        """Follow the whole text."""
        table: KeyPath = ()
        while True:
            self._skip(_GAP)
            if self.at >= len(self._text):
                return
            if self._text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
            if self._peek() not in {"\n", "\r", "#", ""}:
                raise _UnclearError

    def _header(self) -> KeyPath:
        double = self._text.startswith("[[", self.at)
        line = self._line_here()
        self.at += 2 if double else 1
        path = self._resolved(self._key(), is_array=double)
        self._expect("]]" if double else "]")
        self._put(path, line)
        return path

    def _resolved(self, parts: list[str], *, is_array: bool) -> KeyPath:
        """Return the path that a header names: through arrays of tables, their latest table is meant."""
        path: KeyPath = ()
        for number, part in enumerate(parts):
            path = (*path, part)
            if is_array and number == len(parts) - 1:
                self._arrays[path] = self._arrays.get(path, -1) + 1
            if path in self._arrays:
                path = (*path, self._arrays[path])
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._line_here()
        path = (*table, *self._key())
        self._expect("=")
        self._put(path, line)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        """Follow a value; arrays and inline tables that are open are kept on a stack of (path, next index or -1)."""
        stack: list[tuple[KeyPath, int]] = []
        while True:
            self._skip(_GAP if stack else _BLANK)
            opening = self._peek()
            if opening == "[":
                self.at += 1
                stack.append((path, 0))
            elif opening == "{":
                self.at += 1
                stack.append((path, -1))
            else:
                self._scalar()
            self._bound_depth(len(stack))
            found = self._next(stack, just_opened=opening in {"[", "{"})
            if found is None:
                return
            path = found

    def _next(self, stack: list[tuple[KeyPath, int]], *, just_opened: bool) -> KeyPath | None:
        """Go on to the next value inside what is open, and return its path; None when all is closed."""
        while stack:
            self._skip(_GAP)
            path, index = stack[-1]
            if self._peek() == "," and not just_opened:
                self.at += 1
                self._skip(_GAP)
                just_opened = True
            if self._peek() == ("]" if index >= 0 else "}"):
                self.at += 1
                stack.pop()
                just_opened = False
                continue
            if not just_opened:
                raise _UnclearError
            return self._item(stack, path, index)
        return None

    def _item(self, stack: list[tuple[KeyPath, int]], path: KeyPath, index: int) -> KeyPath:
        line = self._line_here()
        if index >= 0:
            stack[-1] = (path, index + 1)
            inner: KeyPath = (*path, index)
        else:
            inner = (*path, *self._key())
            self._expect("=")
        self._put(inner, line)
        return inner

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_BLANK)
            parts.append(self._key_part())
            if self._limits is not None and len(parts) > self._limits.max_key_parts:
                message = f"expected a key of at most {self._limits.max_key_parts} parts, found more"
                raise LimitBrokenError(self._line_here(), message)
            self._skip(_BLANK)
            if self._peek() != ".":
                return parts
            self.at += 1

    def _key_part(self) -> str:
        match self._peek():
            case '"':
                return _ESCAPE.sub(_unescaped, self._take(_BASIC)[1])
            case "'":
                return self._take(_LITERAL)[1]
        return self._take(_BARE)[0]

    def _scalar(self) -> None:
        text, at = self._text, self.at
        if text.startswith('"""', at):
            self._take(_LONG_BASIC)
        elif text.startswith("'''", at):
            self._take(_LONG_LITERAL)
        elif text.startswith('"', at):
            self._take(_BASIC)
        elif text.startswith("'", at):
            self._take(_LITERAL)
        else:
            self._bound_digits(self._take(_SCALAR)[0])

    def _bound_depth(self, depth: int) -> None:
        if self._limits is not None and depth > self._limits.max_depth:
            message = f"expected at most {self._limits.max_depth} tables and arrays within each other, found more"
            raise LimitBrokenError(self._line_here(), message)

    def _bound_digits(self, scalar: str) -> None:
        if self._limits is not None and len(scalar.strip()) > self._limits.max_integer_digits:
            message = f"expected a number of at most {self._limits.max_integer_digits} digits, found a longer one"
            raise LimitBrokenError(self._line_here(), message)

    def _put(self, path: KeyPath, line: int) -> None:
        self._bound_depth(len(path))
        if self._limits is None:
            self._found.put(path, line)

    def _peek(self) -> str:
        return self._text[self.at : self.at + 1]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self.at)
        self.at = found.end() if found else self.at

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self.at)
        if found is None:
            raise _UnclearError
        self.at = found.end()
        return found

    def _expect(self, mark: str) -> None:
        self._skip(_BLANK)
        if not self._text.startswith(mark, self.at):
            raise _UnclearError
        self.at += len(mark)

    def _line_here(self) -> int:
        """Return the line of the place that is looked at; counted on from the last one asked for."""
        self._line += self._text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code:
        point = int(code, 16)
        return chr(point) if point <= _MAX_CODE_POINT else found[0]
    return _ESCAPES.get(found[4], found[4])
