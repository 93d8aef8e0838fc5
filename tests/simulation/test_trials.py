"""A trial worker meets a candidate before anything live sees it."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_supervisor.core import effects, events
from tests.support.simulated import SYNTAX, content, settings
from tests.support.simulated_workers import TRIAL
from tests.support.world import World, recorded, running

BAD = content("bad")


def trying(**entries: Any) -> World:
    return running(given=settings(trial=True), **entries)


def staged(world: World, version: int) -> list[str]:
    return [one.slot for one in world.effects if isinstance(one, effects.SendStage) and one.version == version]


def test_a_candidate_is_tried_first_and_the_trial_worker_follows_what_is_committed() -> None:
    world = trying()
    world.change("b")
    world.push(1)

    world.settle()

    assert staged(world, 2)[0] == TRIAL
    assert world.answers[1].exit_code == 0
    assert [one.current for one in world.trials.values()] == [(2, content("b"))]
    assert TRIAL not in world.live()
    world.check_rest()


@pytest.mark.parametrize("poison", ["trial refuses", "trial dies"])
def test_what_fails_its_trial_is_rejected_and_no_worker_ever_sees_it(poison: str) -> None:
    world = trying()
    world.faults.poison[BAD] = poison
    world.change("bad")
    world.push(1)

    world.settle()
    world.elapse(30)

    assert set(staged(world, 2)) == {TRIAL}
    assert world.answers[1].exit_code == 3
    assert BAD in world.fleet.board.history.quarantined
    assert world.digests() == {content("a")}
    world.check_rest()


def test_a_trial_that_hangs_ends_at_its_deadline() -> None:
    world = trying()
    world.faults.poison[BAD] = "trial hangs"
    world.change("bad")
    world.push(1)
    world.settle()
    assert 1 not in world.answers

    world.elapse(90)

    assert world.answers[1].exit_code == 3
    assert set(staged(world, 2)) == {TRIAL}


def test_a_trial_worker_that_is_lost_once_says_nothing_about_a_version() -> None:
    world = trying()
    world.change("b")
    world.push(1)
    while TRIAL not in staged(world, 2):
        assert world.step()

    world.lose(TRIAL)
    world.settle()
    world.elapse(5)

    assert world.answers[1].exit_code == 0
    world.check_rest()


@pytest.mark.parametrize("fault", ["never starts", "silent"])
def test_without_a_trial_worker_nothing_goes_and_nothing_is_blamed(fault: str) -> None:
    world = trying()
    world.faults.trial = fault
    world.lose(TRIAL)
    world.change("b")
    world.push(1)
    world.settle()

    world.elapse(80)

    assert 1 in world.answers
    assert world.answers[1].exit_code != 0
    assert world.fleet.board.history.quarantined == {}
    world.faults.trial = ""
    world.elapse(200)
    world.push(2)
    world.settle()
    assert world.answers[2].exit_code == 0
    world.check_rest()


def test_a_revocation_goes_without_a_trial_where_there_is_no_trial_worker() -> None:
    world = trying(x="1")
    world.faults.trial = "never starts"
    world.lose(TRIAL)
    world.directory.problems = SYNTAX
    world.remove("x")
    world.settle()

    world.elapse(20)

    assert world.digests() == {content("a")}
    assert world.kinds().count("revoked") == 1


def test_a_start_is_not_tried_and_a_restart_is_not_either() -> None:
    world = trying()
    assert staged(world, 1)[0] != TRIAL
    world.directory.cold = "2"
    world.restart(1)

    world.settle()

    assert world.answers[1].exit_code == 0
    assert staged(world, 2)[0] != TRIAL


def test_a_restart_renews_the_trial_worker() -> None:
    world = trying()
    before = set(world.trials)
    world.directory.cold = "2"
    world.restart(1)

    world.settle()
    world.elapse(5)

    assert len(world.trials) == 1
    assert not before & set(world.trials)
    world.change("b")
    world.settle()
    assert world.digests() == {content("b!2")}
    world.check_rest()


def test_the_trial_worker_ends_with_the_fleet() -> None:
    world = trying()

    world.post(events.StopAsked("test", now=False))
    world.settle()

    assert world.exit == 0
    assert not world.trials


def test_trials_are_ended_and_begun_by_a_change_of_the_settings() -> None:
    world = running()
    assert not world.trials
    world.directory.settings = settings(trial=True)

    world.change("b")
    world.settle()
    assert len(world.trials) == 1
    world.directory.settings = settings()
    world.change("c")
    world.settle()

    assert not world.trials
    world.check_rest()


def test_a_version_that_failed_after_its_trial_is_forgotten_by_the_trial_worker() -> None:
    world = trying()
    world.faults.poison[BAD] = "refuse"
    world.change("bad")
    world.settle()
    world.faults.poison.clear()

    world.change("c")
    world.settle()

    assert recorded(world) == [(1, "a"), (2, "bad"), (3, "c")]
    assert [one.current for one in world.trials.values()] == [(3, content("c"))]
    world.check_rest()
