"""The trial worker as the fleet sees it: what it is told and in which order, and what it may claim."""

from __future__ import annotations

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Active, FromWorker, Limit, Ready, Rejected, Retired, Staged
from tests.support.simulated import content, settings
from tests.support.simulated_workers import TRIAL
from tests.support.world import World, running


def trying() -> World:
    return running(given=settings(trial=True))


def on_trial(world: World, name: str = "b") -> effects.SendStage:
    """Have a content sent to the trial worker, which has not yet answered; return what was sent."""
    world.change(name)
    while True:
        sent = [one for one in world.effects if isinstance(one, effects.SendStage) and one.slot == TRIAL]
        if sent and sent[-1].version > 1:
            world.pending = [one for one in world.pending if not _is_of_trial(one)]
            return sent[-1]
        assert world.step()


def _is_of_trial(event: object) -> bool:
    return isinstance(event, events.WorkerSaid) and event.message.slot == TRIAL


def test_a_fresh_trial_worker_is_brought_to_what_is_committed_and_gets_no_sockets() -> None:
    world = trying()

    spawned = [one for one in world.effects if isinstance(one, effects.Spawn) and one.trial]
    assert [(one.slot, one.digest, one.floor, one.fresh) for one in spawned] == [(TRIAL, content("a"), 1, False)]
    assert [one.current for one in world.trials.values()] == [(1, content("a"))]


def test_each_trial_is_bounded_by_the_settings_that_run() -> None:
    rollout = {"trial": {"enabled": True, "cpu_seconds": 3, "memory_mb": 64, "timeout_seconds": 7}}
    world = running(given=settings(rollout=rollout))

    sent = on_trial(world)

    before = world.effects[world.effects.index(sent) - 1]
    assert isinstance(before, effects.Send)
    assert before.message == Limit(3.0, 64, 7.0)
    assert sent.holds == (content("a"),)


def test_the_trial_worker_comes_again_after_a_death_and_later_each_time() -> None:
    world = trying()
    for _ in range(2):
        world.lose(TRIAL)
        world.settle()
    assert not world.trials

    world.elapse(10)

    assert len(world.trials) == 1
    world.check_rest()


@pytest.mark.parametrize(
    "lie",
    [
        Staged(TRIAL, 1, 0, Version(2), content("e")),
        Active(TRIAL, 1, 0, Version(2), content("b")),
    ],
)
def test_a_trial_worker_that_claims_what_can_not_be_is_ended_and_another_one_tries(lie: Staged | Active) -> None:
    world = trying()
    sent = on_trial(world)
    told = type(lie)(lie.slot, lie.incarnation, sent.push, lie.version, lie.digest)

    world.post(events.WorkerSaid(told))
    assert (TRIAL, 1) not in world.trials
    world.settle()
    world.elapse(5)

    assert (TRIAL, 2) in world.trials
    assert world.digests() == {content("b")}
    world.check_rest()


@pytest.mark.parametrize(
    "late",
    [
        Staged(TRIAL, 1, 99, Version(2), content("b")),
        Staged(TRIAL, 1, 1, Version(1), content("a")),
        Rejected(TRIAL, 1, 99, Version(2), "model", "it is bad"),
        Staged(TRIAL, 7, 2, Version(2), content("b")),
        Ready(TRIAL, 1),
        Retired(TRIAL, 1, Version(1)),
    ],
)
def test_a_word_that_answers_nothing_changes_nothing(late: FromWorker) -> None:
    world = trying()
    on_trial(world)
    before = len(world.effects)

    world.post(events.WorkerSaid(late))

    assert world.effects[before:] == []


def test_a_trial_worker_that_does_not_answer_is_ended_a_moment_after_the_trial_should_have_been() -> None:
    world = trying()
    on_trial(world)
    seconds = world.settings.supervisor.rollout.trial.timeout_seconds

    world.elapse(seconds + 4)
    assert (TRIAL, 1) in world.trials
    world.elapse(2)

    assert (TRIAL, 1) not in world.trials


@pytest.mark.parametrize("reason", ["signature_mismatch", "not_applicable", "rolled_back"])
def test_a_trial_worker_that_could_not_even_verify_a_version_says_nothing_about_its_content(reason: str) -> None:
    world = trying()
    sent = on_trial(world)

    world.post(events.WorkerSaid(Rejected(TRIAL, 1, sent.push, sent.version, reason, "it does not fit")))
    world.settle()
    world.elapse(5)

    assert content("b") not in world.fleet.board.history.quarantined
    assert world.digests() == {content("b")}
