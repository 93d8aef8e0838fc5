"""Numbers rise and are used up once; what is committed, what was before, and what is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.content import Version
from nexus_supervisor.core.history import Committed, History
from tests.support.simulated import content

A, B, C = content("a"), content("b"), content("c")


def test_a_number_is_never_given_twice_whatever_comes_of_it() -> None:
    history = History(highest=7)

    first, second = history.number(), history.number()

    assert (first, second) == (8, 9)


def test_before_the_first_commit_there_is_no_version() -> None:
    history = History()

    assert history.version is None
    assert history.digest is None


def test_the_previous_version_is_the_last_one_with_other_content() -> None:
    history = History()
    history.commit(Version(1), A)
    history.commit(Version(2), B)

    history.commit(Version(3), B)

    assert history.committed == Committed(Version(3), B)
    assert history.previous == Committed(Version(1), A)


def test_content_that_is_committed_is_no_longer_quarantined() -> None:
    history = History(quarantined={A: "it failed"})

    history.commit(Version(1), A)

    assert A not in history.quarantined


def test_committed_content_is_never_quarantined() -> None:
    history = History(committed=Committed(Version(1), A))

    history.quarantine(A, "it failed")

    assert history.quarantined == {}


def test_the_oldest_of_too_many_quarantined_contents_is_forgotten() -> None:
    history = History()

    for number in range(300):
        history.quarantine(content(f"x{number}"), "it failed")

    assert len(history.quarantined) == 256
    assert content("x0") not in history.quarantined
    assert content("x299") in history.quarantined


def test_content_that_somebody_wants_tried_again_is_no_longer_quarantined() -> None:
    history = History(quarantined={A: "it failed", B: "it failed"})

    history.release(A)
    history.release(C)

    assert history.quarantined == {B: "it failed"}


def test_what_is_pinned_is_known_from_the_start() -> None:
    assert History().pinned is None
    assert History(pinned=A).pinned == A


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from(["commit", "burn", "quarantine"])), max_size=40))
def test_numbers_rise_and_committed_content_is_never_refused(steps: list[tuple[str, str]]) -> None:
    history, given_out = History(), [0]
    for name, what in steps:
        digest = content(name.rstrip("0"))
        number = history.number()
        assert number > given_out[-1]
        given_out.append(number)
        if what == "commit":
            history.commit(number, digest)
        elif what == "quarantine":
            history.quarantine(digest, "it failed")
        assert history.digest not in history.quarantined
