"""The shared counters' memory: where each number of each worker slot lies.

Decided here: the layout of the one memfd that every worker writes and everybody reads, and how a counted window is
written as one word. Not decided here: how the memory is made and mapped (the shell, ``agent/shared.py``) and what the
counts mean (``rates.py``, the status).

All memory is unsigned words of 8 bytes, each written by one process only and in one store, so a reader on any core sees
the old or the new word and no lock is needed. First comes a block of the supervisor's, then a block per slot, then, by
row, a cell per slot. A cell holds two words for minutes and two for seconds: a window's word is chosen by the parity of
its number and says which window it counts, so that nothing has to be cleared when one begins.

A slot's block holds its totals and two banks, each for what began on one version. A bank says which: that word is 0
while the bank is cleared for a newer version, and read before and after the others, so that nobody takes half of one
version for another. Requests are counted by bucket of their latency, and apart where they have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_supervisor.core.latency import BUCKETS
from nexus_supervisor.core.readings import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "ALIVE",
    "BANK_WORDS",
    "BEAT",
    "COMPLETE",
    "ERRORS",
    "FAILED",
    "LATE",
    "MINUTES",
    "REQUESTS",
    "SECONDS",
    "TICKS",
    "TIMED",
    "UNTIMED",
    "VERSION",
    "WAITING",
    "WORD_BYTES",
    "Layout",
    "Totals",
    "count_in",
    "counted",
    "sum_in",
]

WORD_BYTES = 8
REQUESTS, ERRORS, TICKS, BEAT = 0, 1, 2, 3
"""Words of a slot's block: requests begun, answers of 500 and more with unhandled exceptions, turns of the loop, and
when it last turned (monotonic milliseconds; 0: it doesn't say)."""

ALIVE, WAITING = 4, 5
"""More words of it: when the program last said that it is alive (0: it doesn't say now), and when the oldest request
in hand began whose answer hasn't begun yet (0: there is none). Both are monotonic milliseconds."""

VERSION, FAILED, UNTIMED, LATE, TIMED = 0, 1, 2, 3, 4
"""Words of a bank: the version, requests that failed, requests without a latency, the greatest delay of the serving
loop (microseconds), and the first of the buckets of latency."""

BANK_WORDS = 56

MINUTES, SECONDS = 0, 2
"""The first of two words of a cell: requests by the minute, bytes by the second."""

COMPLETE = 0
"""The first word of all, the supervisor's: the newest version that is complete on disk, 0 before there is one."""

_HEAD_WORDS = 8  # one cache line; all blocks are whole lines, so that two slots never write the same one
_BLOCK_WORDS = _HEAD_WORDS + 2 * BANK_WORDS
_CELL_WORDS = 4
_COUNT_BITS = 32
_MAX_COUNT = (1 << _COUNT_BITS) - 1


@dataclass(frozen=True, slots=True)
class Totals:
    """Hold what the process of one slot has counted."""

    requests: int
    errors: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Say where things lie in memory for a number of rows and slots; positions are word numbers."""

    rows: int
    slots: int

    @property
    def size_bytes(self) -> int:
        """Return the size of the whole memory."""
        return WORD_BYTES * (self._cells + self.rows * self.slots * _CELL_WORDS)

    def block(self, slot: int) -> int:
        """Return where the block of a slot begins; raise IndexError for a slot that doesn't exist."""
        return _HEAD_WORDS + _within(slot, self.slots, "slot") * _BLOCK_WORDS

    def whole_block(self, slot: int) -> slice:
        """Return the slice that is the block of a slot."""
        start = self.block(slot)
        return slice(start, start + _BLOCK_WORDS)

    def banks(self, slot: int) -> tuple[int, int]:
        """Return where the two banks of a slot begin."""
        first = self.block(slot) + _HEAD_WORDS
        return first, first + BANK_WORDS

    def cell(self, row: int, slot: int) -> int:
        """Return where the cell of a row and slot begins; raise IndexError for one that doesn't exist."""
        before = _within(row, self.rows, "row") * self.slots + _within(slot, self.slots, "slot")
        return self._cells + before * _CELL_WORDS

    def across(self, row: int, word: int) -> slice:
        """Return the slice that picks one word of a row's cells, slot by slot."""
        start = self.cell(row, 0)
        return slice(start + word, start + self.slots * _CELL_WORDS, _CELL_WORDS)

    def totals(self, words: Sequence[int], slot: int) -> Totals:
        """Return what a slot has counted so far."""
        start = self.block(slot)
        return Totals(words[start + REQUESTS], words[start + ERRORS], words[start + TICKS])

    def reading(self, words: Sequence[int], slot: int) -> Reading:
        """Return what a slot has counted on its newest version; the size of its memory isn't known here."""
        start = self.block(slot)
        bank = max((_bank(words, one) for one in self.banks(slot)), key=lambda counts: counts[VERSION])
        latencies = tuple(bank[TIMED : TIMED + BUCKETS])
        return Reading(
            version=bank[VERSION],
            requests=bank[UNTIMED] + sum(latencies),
            errors=bank[FAILED],
            latencies=latencies,
            lag_seconds=bank[LATE] / 1_000_000,
            beat=_moment(words[start + BEAT]),
            total=words[start + REQUESTS],
            alive=_moment(words[start + ALIVE]),
            waiting_since=_moment(words[start + WAITING]),
        )

    @property
    def _cells(self) -> int:
        """Return where the cells begin."""
        return _HEAD_WORDS + self.slots * _BLOCK_WORDS


def counted(window: int, count: int) -> int:
    """Return the word that says ``count`` (at most 2**32 - 1) for a window."""
    return (window & _MAX_COUNT) << _COUNT_BITS | min(count, _MAX_COUNT)


def count_in(window: int, word: int) -> int:
    """Return what a word says for a window: 0 where it speaks of another one."""
    return word & _MAX_COUNT if word >> _COUNT_BITS == window & _MAX_COUNT else 0


def sum_in(window: int, words: Iterable[int]) -> int:
    """Return the sum of what words say for a window."""
    wanted = window & _MAX_COUNT
    return sum([word & _MAX_COUNT for word in words if word >> _COUNT_BITS == wanted])


def _moment(milliseconds: int) -> float | None:
    return milliseconds / 1_000 if milliseconds else None


def _bank(words: Sequence[int], start: int) -> Sequence[int]:
    """Return a copy of a bank; an empty one where it was cleared meanwhile."""
    version = words[start + VERSION]
    copied = list(words[start : start + BANK_WORDS])
    return copied if version == copied[VERSION] == words[start + VERSION] else _EMPTY_BANK


_EMPTY_BANK = (0,) * BANK_WORDS


def _within(number: int, count: int, what: str) -> int:
    if 0 <= number < count:
        return number
    message = f"expected a {what} from 0 to {count - 1}, found {number}"
    raise IndexError(message)
