"""The table of one process: every pair is answered, and nothing comes back from where it has gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.lifecycle import SLOTS, TABLE, Fate, Life, Seat, Word, after, seat_after

WORDS = st.lists(st.sampled_from(Word), max_size=30)


@pytest.mark.parametrize("life", Life)
@pytest.mark.parametrize("word", Word)
def test_every_word_is_answered_in_every_state(life: Life, word: Word) -> None:
    assert after(life, word) is TABLE[life][word]


@pytest.mark.parametrize("word", Word)
def test_nothing_happens_to_a_process_that_is_gone(word: Word) -> None:
    assert after(Life.STOPPED, word) is Life.STOPPED


@pytest.mark.parametrize("life", Life)
def test_an_exit_ends_whatever_it_meets(life: Life) -> None:
    assert after(life, Word.EXITED) is Life.STOPPED


@given(WORDS)
def test_a_process_that_drains_never_serves_again(words: list[Word]) -> None:
    life = Life.DRAINING
    for word in words:
        life = after(life, word)
        assert life in (Life.DRAINING, Life.DYING, Life.STOPPED)


@given(WORDS)
def test_a_process_that_is_being_ended_can_only_be_gone(words: list[Word]) -> None:
    life = Life.DYING
    for word in words:
        life = after(life, word)
        assert life in (Life.DYING, Life.STOPPED)


def test_only_the_word_of_the_process_itself_makes_it_ready() -> None:
    reaching = [(life, word) for life, row in TABLE.items() for word, then in row.items() if then is Life.READY]

    assert reaching == [(Life.STARTING, Word.SERVES), (Life.READY, Word.SERVES)]


@pytest.mark.parametrize("seat", Seat)
@pytest.mark.parametrize("fate", Fate)
def test_everything_that_happens_to_a_slot_is_answered_in_every_state(seat: Seat, fate: Fate) -> None:
    assert seat_after(seat, fate) is SLOTS[seat][fate]


@pytest.mark.parametrize("seat", Seat)
def test_a_process_that_is_started_takes_whatever_slot_it_is_in(seat: Seat) -> None:
    assert seat_after(seat, Fate.STARTED) is Seat.TAKEN


@pytest.mark.parametrize("fate", [fate for fate in Fate if fate is not Fate.STARTED])
def test_a_slot_that_has_done_its_work_stays_so_until_somebody_starts_it(fate: Fate) -> None:
    assert seat_after(Seat.STOPPED, fate) is Seat.STOPPED


def test_only_being_tried_again_or_started_leads_out_of_having_failed() -> None:
    leads_out = [fate for fate in Fate if seat_after(Seat.FAILED, fate) in (Seat.VACANT, Seat.TAKEN)]

    assert leads_out == [Fate.STARTED, Fate.AGAIN]
