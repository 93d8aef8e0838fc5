"""The counters that all workers share: one memfd, mapped; this process writes its own cells and reads everybody's.

Decided here: how a request is counted against an entry's limits, for the daemon as a whole. Not decided here: the
layout (``core/cells.py``), the arithmetic (``core/rates.py``), and which entry has which row (the supervisor).

A request is counted first and the sum over all slots is read then; one that doesn't fit takes its count back. So two
workers at the last free place may both refuse, and never both accept.
"""

from __future__ import annotations

import mmap
import os
from itertools import count
from threading import Lock

from nexus_supervisor.agent.banks import Banks
from nexus_supervisor.core import rates
from nexus_supervisor.core.cells import BEAT, COMPLETE, MINUTES, SECONDS, Layout, Totals, count_in, counted, sum_in
from nexus_supervisor.errors import ProtocolError

__all__ = ["SharedCounters"]

_WINDOWS = {MINUTES: 60.0, SECONDS: 1.0}


class SharedCounters:
    """Count in the cells of one slot and read those of all; the descriptor stays the caller's.

    ``banks`` count what happens on one version.
    """

    def __init__(self, descriptor: int, *, rows: int, slots: int, slot_number: int) -> None:
        self._layout, self._slot = Layout(rows, slots), slot_number
        found = os.fstat(descriptor).st_size
        if found != self._layout.size_bytes or not 0 <= slot_number < slots:
            message = (
                f"the shared counters don't fit: expected {self._layout.size_bytes} bytes for {rows} rows and "
                f"{slots} slots, found {found}, for slot {slot_number}"
            )
            raise ProtocolError(message)
        self._words = memoryview(mmap.mmap(descriptor, found)).cast("B").cast("Q")
        self._counting = Lock()
        self.banks = Banks(self._words, self._layout.banks(slot_number), self._layout.block(slot_number) + BEAT)

    def allow(
        self, row: int, *, requests_per_minute: int, bytes_per_second: int, size: int, now: float
    ) -> float | None:
        """Count one request of ``size`` bytes; return None, or the seconds to wait where it is over a limit.

        A limit of 0 is none. ``now`` is monotonic time, one clock for all workers. A refused request counts nothing.
        """
        with self._counting:
            wait = self._take(row, MINUTES, requests_per_minute, 1, now)
            if wait is not None:
                return wait
            wait = self._take(row, SECONDS, bytes_per_second, size, now)
            if wait is not None and requests_per_minute:
                self._add(row, MINUTES, int(now // _WINDOWS[MINUTES]), -1)
            return wait

    @property
    def complete(self) -> bool:
        """Return whether the daemon's first version is complete on disk: before that nobody should rely on it."""
        return self._words[COMPLETE] > 0

    def activated(self, version: int) -> None:
        """Make room for what will begin on a version; to be called right before that becomes current."""
        self.banks.activated(version)

    def totals(self) -> Totals:
        """Return what this slot has counted."""
        return self._layout.totals(self._words, self._slot)

    def counter(self, word: int) -> Counter:
        """Return one of the totals of this slot, for counting on."""
        return Counter(self._words, self._layout.block(self._slot) + word)

    def moment(self, word: int) -> Moment:
        """Return one of the words of this slot that hold a time."""
        return Moment(self._words, self._layout.block(self._slot) + word)

    def _take(self, row: int, kind: int, limit: int, need: int, now: float) -> float | None:
        if not limit:
            return None
        period = _WINDOWS[kind]
        window = int(now // period)
        self._add(row, kind, window, need)
        wait = rates.wait_seconds(
            limit,
            need,
            present=self._sum(row, kind, window) - need,
            before=self._sum(row, kind, window - 1),
            elapsed_seconds=now - window * period,
            period_seconds=period,
        )
        if wait is not None:
            self._add(row, kind, window, -need)
        return wait

    def _add(self, row: int, kind: int, window: int, amount: int) -> None:
        index = self._layout.cell(row, self._slot) + kind + window % 2
        self._words[index] = counted(window, max(0, count_in(window, self._words[index]) + amount))

    def _sum(self, row: int, kind: int, window: int) -> int:
        return sum_in(window, self._words[self._layout.across(row, kind + window % 2)].tolist())


class Moment:
    """Hold a time in one word of shared memory, in monotonic milliseconds; 0: none."""

    __slots__ = ("_index", "_words")

    def __init__(self, words: memoryview[int], index: int) -> None:
        self._words, self._index = words, index

    def set(self, seconds: float | None) -> None:
        """Write a time (monotonic seconds), or None."""
        self._words[self._index] = 0 if seconds is None else int(seconds * 1_000)


class Counter:
    """Count up one word of shared memory, from any thread of the one process that owns it."""

    __slots__ = ("_index", "_next", "_words")

    def __init__(self, words: memoryview[int], index: int) -> None:
        self._words, self._index = words, index
        self._next = count(words[index] + 1)

    def add(self) -> None:
        """Count one. ``next`` of a count is one step for all threads; the last store may lag by those still storing."""
        self._words[self._index] = next(self._next)
