"""The layout of the shared counters: no word twice, and no half of a bank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.cells import BANK_WORDS, BEAT, FAILED, LATE, REQUESTS, TIMED, UNTIMED, VERSION, Layout
from nexus_supervisor.core.latency import BUCKETS
from nexus_supervisor.core.readings import Reading

LAYOUT = Layout(rows=8, slots=3)


def memory(**banks: dict[int, int]) -> list[int]:
    """Return the words of all slots, with those of slot 1's banks as given."""
    words = [0] * (LAYOUT.size_bytes // 8)
    for start, bank in zip(LAYOUT.banks(1), banks.values(), strict=False):
        for word, value in bank.items():
            words[start + word] = value
    return words


def test_no_two_numbers_share_a_word() -> None:
    blocks = [range(*LAYOUT.whole_block(slot).indices(2**30)) for slot in range(3)]
    cells = [range(LAYOUT.cell(row, slot), LAYOUT.cell(row, slot) + 4) for row in range(8) for slot in range(3)]

    words = [*range(8), *(word for one in (*blocks, *cells) for word in one)]

    assert sorted(words) == list(range(LAYOUT.size_bytes // 8))


def test_totals_and_banks_share_no_word_and_blocks_are_whole_cache_lines() -> None:
    block = LAYOUT.whole_block(1)
    first, second = LAYOUT.banks(1)

    assert (first, second) == (block.start + 8, first + BANK_WORDS)
    assert second + BANK_WORDS == block.stop
    assert TIMED + BUCKETS <= BANK_WORDS
    assert (block.start % 8, BANK_WORDS % 8) == (0, 0)


@pytest.mark.parametrize("where", [(-1, 0), (8, 0), (0, 3), (0, -1)])
def test_what_lies_outside_is_refused(where: tuple[int, int]) -> None:
    with pytest.raises(IndexError, match="expected a"):
        LAYOUT.cell(*where)


def test_a_reading_is_that_of_the_newest_version() -> None:
    old = {VERSION: 6, FAILED: 9, TIMED: 9}
    new = {VERSION: 7, FAILED: 2, UNTIMED: 1, LATE: 1_500_000, TIMED: 3, TIMED + BUCKETS - 1: 4}
    words = memory(first=new, second=old)
    words[LAYOUT.block(1) + REQUESTS], words[LAYOUT.block(1) + BEAT] = 99, 12_345

    latencies = (3, *[0] * (BUCKETS - 2), 4)
    assert LAYOUT.reading(words, 1) == Reading(7, 8, 2, latencies, 1.5, 12.345, 0, 99)
    assert LAYOUT.reading(words, 0) == Reading(latencies=(0,) * BUCKETS)


class Changing(list[int]):
    """Be memory of which a bank's version changes after it was read so many times."""

    def __init__(self, words: list[int], index: int, reads: int) -> None:
        super().__init__(words)
        self.index, self.reads = index, reads

    def __getitem__(self, where: int | slice) -> int | list[int]:  # type: ignore[override]
        found = super().__getitem__(where)
        if where == self.index:
            self.reads -= 1
            if self.reads == 0:
                self[self.index] = 8
        return found


@given(st.integers(1, 2))
def test_a_bank_that_is_given_away_while_it_is_read_counts_nothing(reads: int) -> None:
    newest = LAYOUT.banks(1)[0] + VERSION
    words = Changing(memory(first={VERSION: 7, TIMED: 5}, second={VERSION: 6, TIMED: 3}), newest, reads)

    reading = LAYOUT.reading(words, 1)

    assert (reading.version, reading.requests) in {(6, 3), (7, 5)}
    assert (reads == 1) == (reading.version == 6)
