"""Samples: what each worker did in the last seconds, from counters and the kernel.

Decided here: when counters are looked at, how two looks become rates, and that whatever may take long is done in a
thread. Not decided here: what is counted (``rows.py``) and how it is shown (``core/status.py``).
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_supervisor.core.latency import less, quantile
from nexus_supervisor.supervisor import clock

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping

    from nexus_supervisor.core.status import Figures
    from nexus_supervisor.supervisor.rows import Rows

__all__ = ["Counts", "Sampler", "between", "proportional_bytes"]

_Key = tuple[str, int]

LEAST_SECONDS = 1.0
"""Between two looks, and between two times that memory is measured."""

EVERY_SECONDS = 5.0
"""How often counters are looked at while nobody asks, so that whoever asks then gets the rates of the last seconds."""

PATIENCE_SECONDS = 2.0
"""How long whoever asks waits for the kernel to tell the sizes."""

_SHARE = 0.99
_PROCESSES = Path("/proc")
_USER_TICKS, _SYSTEM_TICKS = 11, 12  # of the fields after the name, proc_pid_stat(5)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Counts:
    """Hold what one process has counted until now; ``latencies`` of the requests that began on ``version``."""

    requests: int
    errors: int
    version: int
    latencies: tuple[int, ...]
    cpu_seconds: float | None


class Sampler:
    """Hold the last two looks at all workers, and how much memory each was found to use."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rows: Rows, pids: Callable[[], Mapping[_Key, int]]) -> None:
        """Begin to look; ``pids`` returns the processes that serve."""
        self._loop, self._rows, self._pids = loop, rows, pids
        self._before: tuple[float, Mapping[_Key, Counts]] = (float("-inf"), {})
        self._after = self._before
        self._memory = _Memory(loop)
        self._timer = loop.call_later(0, self._tick)

    def figures(self, known: Mapping[_Key, Figures]) -> dict[_Key, Figures]:
        """Return figures with the rates of the last seconds, and sizes where these were measured."""
        self._look()
        (began, before), (ended, after) = self._before, self._after
        pids = self._pids()
        return {
            key: replace(
                between(before.get(key), after.get(key), ended - began, figures),
                pss_bytes=self._memory.sizes.get(pids.get(key, 0)),
            )
            for key, figures in known.items()
        }

    def measure(self, then: Callable[[], None]) -> None:
        """Have memory measured, in a thread; ``then`` is called in the loop when it is, or when it takes too long."""
        self._memory.measure(tuple(self._pids().values()), then)

    def close(self) -> None:
        """Look no more; whoever waits for sizes is not told."""
        self._timer.cancel()
        self._memory.close()

    def _tick(self) -> None:
        self._look()
        self._timer = self._loop.call_later(EVERY_SECONDS, self._tick)

    def _look(self) -> None:
        """Look at all workers, unless that was done a moment ago: rates over less than a second say little."""
        if clock.monotonic() - self._after[0] < LEAST_SECONDS:
            return
        self._before = self._after
        self._after = (clock.monotonic(), {key: self._counts(key, pid) for key, pid in self._pids().items()})

    def _counts(self, key: _Key, pid: int) -> Counts:
        totals, reading = self._rows.totals(key), self._rows.reading(key)
        return Counts(totals.requests, totals.errors, reading.version, reading.latencies, _cpu_seconds(pid))


class _Memory:
    """Hold the sizes that were measured last, by process, and who waits for newer ones."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sizes: Mapping[int, int] = {}
        self._loop, self._measured_at = loop, float("-inf")
        self._running = False
        self._waiting: list[Callable[[], None]] = []
        self._deadline: asyncio.TimerHandle | None = None

    def measure(self, pids: tuple[int, ...], then: Callable[[], None]) -> None:
        """Measure in a thread unless that has just been done, or is being done."""
        if clock.monotonic() - self._measured_at < LEAST_SECONDS:
            then()
            return
        self._waiting.append(then)
        if self._deadline is None:
            self._deadline = self._loop.call_later(PATIENCE_SECONDS, self._tell)
        if not self._running:
            self._running = True
            threading.Thread(target=self._measure, args=(pids,), name="sizes", daemon=True).start()

    def close(self) -> None:
        """Forget who waits."""
        self._waiting.clear()
        self._tell()

    def _measure(self, pids: tuple[int, ...]) -> None:
        sizes = proportional_bytes(pids)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, sizes)

    def _take(self, sizes: Mapping[int, int]) -> None:
        self._running, self.sizes, self._measured_at = False, sizes, clock.monotonic()
        self._tell()

    def _tell(self) -> None:
        """Let all who wait go on with what is known by now."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()


def between(before: Counts | None, after: Counts | None, seconds: float, figures: Figures) -> Figures:
    """Return figures with the rates between two looks; as they are where one of these is missing."""
    if before is None or after is None or seconds <= 0:
        return figures
    slower = less(after.latencies, before.latencies if before.version == after.version else ())
    p99 = quantile(slower, _SHARE)
    busy = None
    if before.cpu_seconds is not None and after.cpu_seconds is not None:
        busy = round(100 * max(0.0, after.cpu_seconds - before.cpu_seconds) / seconds, 1)
    return replace(
        figures,
        requests_per_second=round(max(0, after.requests - before.requests) / seconds, 1),
        errors_per_second=round(max(0, after.errors - before.errors) / seconds, 1),
        p99_ms=None if p99 is None else round(1_000 * p99, 3),
        cpu_percent=busy,
    )


def proportional_bytes(pids: Iterable[int]) -> dict[int, int]:
    """Return the proportional set size of processes, less those that the kernel says nothing about.

    Memory that several processes share counts for each in equal parts: the sum is what all of them use.
    """
    sizes = {}
    for pid in pids:
        try:
            lines = (_PROCESSES / str(pid) / "smaps_rollup").read_bytes().splitlines()
        except OSError:  # it is gone, there is no such file here, or it may not be read
            continue
        sizes[pid] = sum(int(line.split()[1]) << 10 for line in lines if line.startswith(b"Pss:"))
    return sizes


def _cpu_seconds(pid: int) -> float | None:
    """Return how long a process has been on a processor; None where nobody knows."""
    try:
        fields = (_PROCESSES / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS
