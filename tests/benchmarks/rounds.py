"""Rounds: which file the n-th change touches, and how a process tells that it has the new content.

Shared by the driver and by what it measures: this file is copied beside the worker program, and beside the hand-written
peer it lies already, so it imports nothing of ours.
"""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PIPE_VARIABLE", "REPORT", "Reporter", "name_of", "touched"]

PIPE_VARIABLE = "PUSH_BENCHMARK_PIPE"
"""Names the FIFO that reports go into."""

REPORT = struct.Struct("=QQQ")
"""One report: pid, number of the change, CLOCK_MONOTONIC in nanoseconds. Far below PIPE_BUF, so never mixed up."""

_GOLDEN = 0.6180339887498949


def name_of(number: int) -> str:
    """Return the name of a source: of its file and of its entry."""
    return f"source-{number:05d}"


def touched(change: int, sources: int) -> str:
    """Return the source that a change touches; however many changes there are, they are spread over all sources."""
    return name_of(int(change * _GOLDEN % 1 * sources))


class Reporter:
    """Tell the driver when this process first had the content of each change."""

    def __init__(self) -> None:
        self._pipe = os.open(os.environ[PIPE_VARIABLE], os.O_WRONLY)
        self._next = 0

    def current(self, change_in: Callable[[str], int], sources: int) -> None:
        """Note that other content is current now; ``change_in`` returns the number of the change that wrote a source.

        Change 0 is the content at the start.
        """
        moment = time.monotonic_ns()
        while change_in(touched(self._next, sources)) == self._next:
            os.write(self._pipe, REPORT.pack(os.getpid(), self._next, moment))
            self._next += 1
