"""What operators do to a running rollout: every verb in every phase is answered, and what is accepted happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.rollout import Phase
from tests.support.simulated import SYNTAX, content, settings
from tests.support.world import World, running

if TYPE_CHECKING:
    from nexus_supervisor.core.events import Verb

VERBS: list[Verb] = ["promote", "pause", "resume", "abort"]


def baking(**entries: Any) -> World:
    """Return a world in which version 2 (``b``) bakes for long, and ticket 1 waits for it."""
    world = running(given=settings(bake=20, rollout={"max_pause_seconds": 60}), **entries)
    world.elapse(30)
    world.change("b")
    world.push(1)
    world.settle()
    assert world.fleet.board.rollout is not None
    assert world.fleet.board.rollout.phase is Phase.BAKE
    return world


@pytest.mark.parametrize("verb", VERBS)
def test_where_nothing_is_under_way_there_is_nothing_to_steer(verb: Verb) -> None:
    world = running()

    world.steer(1, verb)

    assert (world.answers[1].exit_code, world.answers[1].word) == (6, "CONFLICT")
    assert verb in world.answers[1].text


@pytest.mark.parametrize("verb", VERBS)
def test_a_revocation_can_not_be_steered(verb: Verb) -> None:
    world = running(x="1")
    world.directory.problems = SYNTAX
    world.remove("x")
    world.step()
    assert world.fleet.board.rollout is not None

    world.steer(1, verb)

    assert world.answers[1].exit_code == 6
    world.settle()
    assert world.digests() == {content("a")}


def test_promote_ends_a_bake_and_all_others_follow_at_once() -> None:
    world = baking()

    world.steer(2, "promote")
    world.settle()

    assert (world.answers[2].exit_code, world.answers[2].word) == (0, "ACCEPTED")
    assert set(world.live().values()) == {2}
    assert world.answers[1].exit_code == 0


def test_a_pause_holds_a_bake_for_longer_than_it_lasts_and_resume_goes_on() -> None:
    world = baking()
    world.steer(2, "pause")

    world.elapse(40)
    assert sorted(world.live().values()) == [1, 1, 2]  # type: ignore[type-var]
    world.steer(3, "resume")
    world.settle()
    world.elapse(21)

    assert world.answers[1].exit_code == 0
    assert set(world.live().values()) == {2}


def test_promote_ends_a_pause() -> None:
    world = baking()
    world.steer(2, "pause")

    world.steer(3, "promote")
    world.settle()

    assert world.answers[1].exit_code == 0


def test_a_canary_that_falls_ill_goes_back_although_it_is_paused() -> None:
    world = baking()
    world.steer(2, "pause")
    for worker in world.workers.values():
        worker.illness = "errors" if worker.current == (2, content("b")) else ""

    world.elapse(5)

    assert world.answers[1].exit_code == 4
    world.check_rest()


def test_a_pause_between_groups_holds_the_next_one() -> None:
    given = settings(5, rollout={"max_parallel": 1, "wave_pause_seconds": 10})
    world = running(workers=5, given=given)
    world.change("b")
    world.settle()
    before = list(world.live().values()).count(2)
    world.steer(1, "pause")

    world.elapse(60)
    assert list(world.live().values()).count(2) == before
    world.steer(2, "resume")
    world.settle()
    world.elapse(60)

    assert set(world.live().values()) == {2}


def test_what_is_paused_for_too_long_goes_back() -> None:
    world = baking()
    world.steer(2, "pause")

    world.elapse(61)

    assert world.digests() == {content("a")}
    assert world.answers[1].exit_code == 4
    assert content("b") not in world.fleet.board.history.quarantined
    world.check_rest()


def test_an_abort_goes_back_and_pins_the_directory_until_somebody_pushes() -> None:
    world = baking()

    world.steer(2, "abort")
    world.settle()
    world.elapse(60)

    assert world.digests() == {content("a")}
    assert world.answers[1].exit_code == 4
    assert world.fleet.board.history.pinned == content("b")
    assert world.fleet.board.history.quarantined == {}
    assert world.fleet.board.standing.drift is not None
    assert world.fleet.board.standing.drift.reason == "pinned"
    world.push(3, now=True)
    world.settle()
    assert world.answers[3].exit_code == 0
    assert world.digests() == {content("b")}
    assert world.fleet.board.history.pinned is None


def test_what_is_pinned_goes_when_it_changes() -> None:
    world = baking()
    world.steer(2, "abort")
    world.settle()

    world.change("c")
    world.settle()
    world.elapse(21)

    assert world.digests() == {content("c")}
    assert [one.digest for one in world.effects if isinstance(one, effects.Pin)] == [content("b"), None]


@pytest.mark.parametrize("verb", [None, "pause", "abort"])
def test_a_revocation_does_not_wait_for_what_bakes_or_is_paused_or_pinned(verb: Verb | None) -> None:
    world = baking(x="1")
    if verb:
        world.steer(2, verb)
        world.settle()
    before = world.now

    world.remove("x")
    world.settle()

    assert world.now == before
    assert not [one for one in world.digests() if "+x" in one]
    world.elapse(5)
    assert not [one for one in world.digests() if "+x" in one]
    world.elapse(100)
    world.check_rest()
    assert world.digests() == {content("a" if verb else "b")}, "who takes a key away says nothing about the rest"
    assert 1 in world.answers


def test_what_was_paused_is_paused_again_when_it_starts_on_top_of_a_revocation() -> None:
    world = baking(x="1")
    world.steer(2, "pause")
    world.settle()

    world.remove("x")
    world.settle()
    world.elapse(30)

    assert world.fleet.board.rollout is not None
    assert world.fleet.board.rollout.digest == content("b")
    assert world.fleet.board.rollout.paused_since is not None
    assert world.kinds().count("rollout_paused") == 2
    world.steer(3, "promote")
    world.settle()
    assert world.digests() == {content("b")}


def test_a_pause_that_a_rollback_took_the_place_of_holds_nothing_later() -> None:
    world = baking(x="1")
    world.steer(2, "pause")
    world.settle()
    world.remove("x")
    world.change("a")
    world.settle()
    world.elapse(30)
    assert world.fleet.board.rollout is None

    world.change("c")
    world.settle()

    assert world.fleet.board.rollout is not None
    assert world.fleet.board.rollout.paused_since is None


def test_what_a_revocation_takes_the_place_of_starts_again_on_top_and_its_requests_with_it() -> None:
    world = baking(x="1")

    world.remove("x")
    world.settle()
    assert 1 not in world.answers
    world.elapse(21)

    assert world.answers[1].exit_code == 0
    assert world.digests() == {content("b")}
    ended = [(one.version, one.outcome) for one in world.effects if isinstance(one, effects.End)]
    assert ended[-3:] == [(2, "superseded"), (3, "committed"), (4, "committed")]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_answered_in_every_phase(verb: Verb) -> None:
    for steps in range(0, 60, 3):
        world = running(given=settings(bake=2.0, trial=True, rollout={"max_pause_seconds": 20}))
        world.change("b")
        world.push(1)
        for _ in range(steps):
            world.step()

        world.steer(2, verb)

        assert world.answers[2].word in ("ACCEPTED", "CONFLICT")
        world.settle()
        world.elapse(60)
        world.check_rest()


@pytest.mark.parametrize("paused", [False, True])
def test_a_revocation_does_not_wait_for_a_way_back_that_brings_the_same(*, paused: bool) -> None:
    world = running(given=settings(bake=20))
    world.elapse(30)
    world.directory.live["x"] = "1"
    world.touch()
    world.settle()
    world.elapse(30)
    assert world.digests() == {content("a+x")}
    world.rollback(1)
    world.settle()
    if paused:
        world.steer(2, "pause")

    world.remove("x")
    world.settle()

    assert world.digests() == {content("a")}
    assert world.answers[1].exit_code == 0
    world.elapse(30)
    world.check_rest()


def test_an_older_version_that_is_never_read_is_answered_all_the_same() -> None:
    world = running()
    world.change("b")
    world.settle()
    world.rollback(1)
    assert world.performed(effects.Recall)
    world.pending = [event for event in world.pending if not isinstance(event, events.Recalled)]

    world.elapse(600)

    assert (world.answers[1].exit_code, world.answers[1].word) == (3, "REJECTED")
    assert "in time" in world.answers[1].text
    assert world.fleet.board.recalls == []
