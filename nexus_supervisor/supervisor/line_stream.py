"""A stream of bytes as lines that can be shown: cut, escaped, counted.

Decided here: where a line ends, how much of a long one is kept, and what happens to bytes that are no text. Not decided
here: where the bytes come from (``capture.py``) and how a line is shown (``output.py``). Pure.
"""

from __future__ import annotations

from nexus_supervisor.log_lines import printable

__all__ = ["LineStream"]


class LineStream:
    """Turn what is read from one descriptor into lines; never hold more than one line's bound."""

    def __init__(self, begun: bytes = b"", length: int = 0) -> None:
        """Begin, or go on with a line that has begun and is so long so far."""
        self._begun, self._length = begun, length

    @property
    def unfinished(self) -> tuple[bytes, int]:
        """Return what is kept of the line that has begun, and how long that is."""
        return self._begun, self._length

    def feed(self, chunk: bytes, max_line_bytes: int, room: int) -> tuple[list[str], int]:
        """Take bytes; return the lines that they complete, at most ``room``, and how many more were dropped."""
        *complete, rest = chunk.split(b"\n", room)
        lines = [self._end(part, max_line_bytes) for part in complete]
        dropped = rest.count(b"\n")
        if dropped:
            self._begun, self._length = b"", 0
            rest = rest[rest.rfind(b"\n") + 1 :]
        self._begin(rest, max_line_bytes)
        return lines, dropped

    def end(self, max_line_bytes: int) -> list[str]:
        """Return the last line where the stream ends in the middle of it."""
        return [self._end(b"", max_line_bytes)] if self._length else []

    def _begin(self, part: bytes, max_line_bytes: int) -> None:
        self._begun += part[: max(0, max_line_bytes - len(self._begun))]
        self._length += len(part)

    def _end(self, part: bytes, max_line_bytes: int) -> str:
        self._begin(part, max_line_bytes)
        raw, length = self._begun, self._length
        self._begun, self._length = b"", 0
        if length > len(raw):
            return f"{_text(raw)} [cut: the line has {length} bytes]"
        return _text(raw.removesuffix(b"\r"))


def _text(raw: bytes) -> str:
    r"""Return bytes as one printable line: what is no UTF-8 becomes ``\xff``, a control character its escape."""
    return printable(raw.decode("utf-8", "backslashreplace"))
