"""Log lines on their way out, for supervisor and workers alike.

Decided here: what makes a text one line, and what happens where a descriptor takes it slowly or not at all. Not decided
here: what is logged (``supervisor/output.py``, ``agent/log.py``).
"""

from __future__ import annotations

import os
import select

__all__ = ["printable", "write_whole"]


def printable(text: str) -> str:
    r"""Escape everything that could end a line, steer a terminal or hide: control, bidi and zero-width characters.

    The escapes are Python's (``\n``, ``\x1b``, ``\u2028``), so one notice is one line whatever it says.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def write_whole(descriptor: int, raw: bytes) -> None:
    """Write all of it; give up where nobody can ever read it (closed, broken pipe, full disk)."""
    left = memoryview(raw)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # somebody who shares the terminal made it non-blocking
            select.select((), (descriptor,), ())
        except OSError:  # there is nowhere left to say so
            return
