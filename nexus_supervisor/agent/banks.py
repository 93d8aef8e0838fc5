"""The banks: what this process has counted on its newest two versions, in shared memory.

Decided here: in which bank a request is counted, and that a bank is given to a newer version without a moment in which
it counts for both. Not decided here: the layout (``core/cells.py``), and what the counts prove (``core/health.py``).

A request is counted once it is answered, on the version that it began with. One lock orders counting and clearing, so a
request whose bank was given away meanwhile finds none: it stays in the totals only.
"""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from nexus_supervisor.core.cells import BANK_WORDS, FAILED, LATE, TIMED, UNTIMED, VERSION, WORD_BYTES
from nexus_supervisor.core.latency import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Banks"]

_NOTHING = memoryview(bytes(WORD_BYTES * BANK_WORDS)).cast("Q")


class Banks:
    """Count on the newest two versions of one process, from any of its threads."""

    __slots__ = ("_beat", "_counting", "_newest", "_starts", "_turning", "_words")

    def __init__(self, words: memoryview[int], places: Sequence[int], beat: int) -> None:
        self._words, self._beat = words, beat
        self._starts = dict(zip((-2, -1), places, strict=True))  # by version, the older one first
        self._newest = self._turning = 0
        self._counting = Lock()

    def activated(self, version: int) -> None:
        """Give the bank of the older version to a new one, whose first request is yet to begin."""
        with self._counting:
            if version in self._starts:
                return
            start = self._starts.pop(next(iter(self._starts)))
            self._words[start + VERSION] = 0  # until it is empty, nobody reads it
            self._words[start : start + BANK_WORDS] = _NOTHING
            self._words[start + VERSION] = version
            self._starts[version] = start
            self._newest = version

    def count(self, version: int, seconds: float | None, failed: bool) -> None:  # noqa: FBT001 - once a request
        """Count a request that began on a version and took so long; None: how long says nothing."""
        word = UNTIMED if seconds is None else TIMED + bisect_left(BOUNDS, seconds)
        self._counting.acquire()  # ``with`` takes twice the time, and this runs once a request
        try:
            if version in self._starts:
                start = self._starts[version]
                self._words[start + word] += 1
                if failed:
                    self._words[start + FAILED] += 1
        finally:
            self._counting.release()

    def fail(self, version: int) -> None:
        """Say that a request that was counted on a version has failed after all."""
        with self._counting:
            if version in self._starts:
                self._words[self._starts[version] + FAILED] += 1

    def turn(self, late_seconds: float) -> None:
        """Say that the serving loop turns now, so much later than it meant to.

        The delay belongs to the version that was the newest one when the loop turned before.
        """
        self._words[self._beat] = int(monotonic() * 1_000)
        late = int(late_seconds * 1_000_000)
        with self._counting:
            start, self._turning = self._starts.get(self._turning), self._newest
            if start is not None and late > self._words[start + LATE]:
                self._words[start + LATE] = late
