from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.spelling import one_edit_away, suggestion

WORDS = ("bake_seconds", "canary", "gates", "max_parallel", "port", "strategy", "trial")
SHORT = st.text("abc", max_size=6)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("bake_secnds", "bake_seconds"),
        ("bake-seconds", "bake_seconds"),
        ("Canary", "canary"),
        ("maxparallel", "max_parallel"),
        ("tiral", "trial"),
        ("prt", "port"),
        ("bakeSeconds", "bake_seconds"),
    ],
)
def test_a_slip_is_recognized(written: str, meant: str) -> None:
    assert suggestion(written, WORDS) == meant


@pytest.mark.parametrize("written", ["", "xyz", "workers", "a", "b" * 10_000])
def test_a_word_that_is_far_from_all_gets_no_suggestion(written: str) -> None:
    assert suggestion(written, WORDS) is None


def test_of_words_equally_near_the_first_in_the_alphabet_is_suggested() -> None:
    assert suggestion("cat", ["hat", "bat", "rat"]) == "bat"


def test_a_known_word_is_its_own_nearest() -> None:
    assert suggestion("port", WORDS) == "port"


@pytest.mark.parametrize(
    ("a", "b", "near"),
    [
        ("port", "prt", True),
        ("port", "ports", True),
        ("port", "pört", True),
        ("port", "prot", True),
        ("port", "port", False),
        ("port", "post1", False),
        ("ab", "ba", True),
        ("abc", "cba", False),
        ("", "a", True),
        ("", "", False),
        ("", "ab", False),
    ],
)
def test_one_edit_is_an_insertion_a_deletion_a_replacement_or_a_swap(a: str, b: str, near: bool) -> None:
    assert one_edit_away(a, b) is near


def _edited(word: str) -> set[str]:
    """Return everything that one edit makes of a word, the slow and plain way."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    inserted = {left + letter + right for left, right in cuts for letter in "abc"}
    deleted = {left + right[1:] for left, right in cuts if right}
    replaced = {left + letter + right[1:] for left, right in cuts if right for letter in "abc"}
    swapped = {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
    return (inserted | deleted | replaced | swapped) - {word}


@given(SHORT, SHORT)
def test_one_edit_away_agrees_with_a_list_of_all_edits(a: str, b: str) -> None:
    assert one_edit_away(a, b) is (b in _edited(a))
    assert one_edit_away(a, b) is one_edit_away(b, a)


@given(st.text("abcdefgh", min_size=3, max_size=20), st.data())
def test_every_edit_of_a_word_leads_back_to_it(word: str, data: st.DataObject) -> None:
    edited = data.draw(st.sampled_from(sorted(_edited(word))))
    assert suggestion(edited, [word]) == word
