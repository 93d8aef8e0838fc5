"""The table of one process: every pair is answered, and nothing comes back from where it has gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.lifecycle import TABLE, Life, Word, after

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
