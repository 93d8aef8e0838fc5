"""Reports: the driver's end of the FIFO through which processes tell when they had new content."""

from __future__ import annotations

import os
import select
from collections import defaultdict
from typing import TYPE_CHECKING, Self

from tests.benchmarks.rounds import REPORT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from subprocess import Popen
    from types import TracebackType

__all__ = ["PATIENCE_SECONDS", "BenchmarkError", "Reports"]

PATIENCE_SECONDS = 900.0
"""How long anything may take; reached only where the benchmark is broken."""

_READ_BYTES = 4096 * REPORT.size


class BenchmarkError(Exception):
    """Say why there is nothing to measure."""


class Reports:
    """Read reports; enter it to make the FIFO, leave it to close it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._moments: defaultdict[int, dict[int, int]] = defaultdict(dict)

    def __enter__(self) -> Self:
        os.mkfifo(self.path)
        self._reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._writer = os.open(self.path, os.O_WRONLY)  # held open, so that the FIFO never ends
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def until(self, change: int, processes: int, alive: Sequence[Popen[bytes]]) -> tuple[int, ...]:
        """Return when each of so many processes had a change, first to last, as soon as all have it.

        Raise BenchmarkError where a process of ``alive`` ends before that, or nothing comes.
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        ends = [os.pidfd_open(process.pid) for process in alive]
        try:
            for end in ends:
                poll.register(end, select.POLLIN)
            while len(self._moments[change]) < processes:
                self._take(dict(poll.poll(PATIENCE_SECONDS * 1000)), change)
        finally:
            for end in ends:
                os.close(end)
        return tuple(sorted(self._moments.pop(change).values()))

    def _take(self, ready: dict[int, int], change: int) -> None:
        """Take what has come."""
        if self._reader not in ready:
            what = "a process ended" if ready else f"nothing came for {PATIENCE_SECONDS:g} s"
            message = f"{what} before every process had change {change}"
            raise BenchmarkError(message)
        for pid, number, moment in REPORT.iter_unpack(os.read(self._reader, _READ_BYTES)):
            self._moments[number][pid] = moment
