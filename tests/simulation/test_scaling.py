"""Scaling, simulated: more and fewer workers, at once, whatever else is the case."""

from __future__ import annotations

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.requests import NOBODY
from tests.support.simulated import content, settings
from tests.support.world import running

TWO = [{"name": "web", "program": "gateway", "workers": 2}, {"name": "jobs", "program": "hello", "workers": 1}]


def test_more_workers_boot_what_is_committed() -> None:
    world = running(workers=2)
    world.change("b")
    world.settle()

    answer = world.scale(1, 4)
    world.settle()

    assert (answer.exit_code, answer.word, answer.workers) == (0, "ACCEPTED", 4)
    assert world.live() == dict.fromkeys(["gateway-0", "gateway-1", "gateway-2", "gateway-3"], 2)


def test_fewer_workers_are_those_with_the_lowest_numbers_and_the_others_drain() -> None:
    world = running(workers=4)

    world.scale(1, 2)
    drained = {one.slot for one in world.workers.values() if one.draining}
    world.settle()

    assert set(world.live()) == {"gateway-0", "gateway-1"}
    assert drained <= {"gateway-2", "gateway-3"}
    assert not world.performed(effects.Kill)


def test_each_program_is_scaled_by_its_name_and_no_name_means_the_first() -> None:
    world = running(given=settings(program=TWO))

    world.scale(1, 3, "jobs")
    world.scale(2, None, by=-1)
    world.settle()

    assert set(world.live()) == {"web-0", "jobs-0", "jobs-1", "jobs-2"}


def test_a_program_may_have_no_workers_where_another_one_has_some() -> None:
    world = running(given=settings(program=TWO))

    assert world.scale(1, 0, "jobs").exit_code == 0
    refused = world.scale(2, 0, "web")
    world.settle()

    assert (refused.exit_code, refused.word) == (3, "REJECTED")
    assert set(world.live()) == {"web-0", "web-1"}


@pytest.mark.parametrize(
    ("workers", "program", "says"),
    [
        (-1, "", "can't have -1 workers"),
        (0, "", "at least 1"),
        (513, "", "started with room for 512"),
        (2, "other", "There is no program 'other' here: the programs are gateway."),
    ],
)
def test_a_number_that_can_not_be_is_refused_and_nothing_changes(workers: int, program: str, says: str) -> None:
    world = running()

    refused = world.scale(1, workers, program)
    world.settle()

    assert (refused.exit_code, refused.word) == (3, "REJECTED")
    assert says in refused.text
    assert len(world.live()) == 3


def test_during_a_restart_there_is_no_scaling_and_after_it_the_number_still_holds() -> None:
    world = running(workers=2)
    world.scale(1, 3)
    world.settle()
    world.restart(2)
    world.step()

    refused = world.scale(3, 5)
    world.settle()

    assert (refused.exit_code, refused.word) == (6, "CONFLICT")
    assert world.answers[2].exit_code == 0
    assert len(world.live()) == 3


def test_the_number_holds_until_the_setting_changes() -> None:
    world = running(workers=2)
    world.scale(1, 3)
    world.settle()

    world.directory.settings = settings(4)
    world.directory.cold = "4"
    world.touch()
    world.settle()
    assert len(world.live()) == 3
    world.restart(2)
    world.settle()

    assert len(world.live()) == 4


def test_workers_that_are_added_during_a_push_join_it() -> None:
    world = running(workers=2, given=settings(2, bake=5.0))
    world.change("b")
    world.settle()
    assert world.fleet.board.rollout is not None

    world.scale(1, 5)
    world.settle()
    world.elapse(20)

    assert len(world.live()) == 5
    assert world.digests() == {content("b")}


@pytest.mark.parametrize("seed", range(20))
def test_workers_may_go_during_a_push_at_any_moment(seed: int) -> None:
    world = running(seed, workers=4, given=settings(4, bake=2.0))
    world.change("b")
    for _ in range(seed):
        world.step()

    world.scale(1, 1)
    world.settle()
    world.elapse(30)

    assert world.live() == {"gateway-0": 2}
    world.check_rest()


def test_who_asks_by_a_signal_is_told_by_a_notice() -> None:
    world = running(workers=1)

    world.post(events.ScaleAsked(NOBODY, "", None, 1, "", "SIGTTIN"))
    world.post(events.ScaleAsked(NOBODY, "", None, -5, "", "SIGTTOU"))
    world.settle()

    texts = [notice.text for notice in world.notices if notice.kind == "scaled"]
    assert len(world.live()) == 2
    assert texts[0] == "SIGTTIN scaled gateway from 1 to 2 workers."
    assert texts[1].startswith("SIGTTOU asked for another number of workers, and nothing changed.")


def test_a_daemon_that_stops_is_not_scaled() -> None:
    world = running()
    world.faults.busy = {"gateway-0"}
    world.post(events.StopAsked("test", now=False))

    refused = world.scale(1, 5)

    assert refused.exit_code != 0


@pytest.mark.parametrize("probed", [False, True])
def test_a_version_whose_canary_is_scaled_away_goes_on_and_is_not_blamed(*, probed: bool) -> None:
    world = running(given=settings(3, bake=2.0))
    world.rates = dict.fromkeys(["gateway-0", "gateway-1"], 0.0) | {"gateway-2": 1.0}
    world.elapse(20)
    world.change("b")
    world.settle()
    rollout = world.fleet.board.rollout
    assert rollout is not None
    assert rollout.canaries == ("gateway-2",)
    if probed:
        while rollout.bake is None or not rollout.bake.probes:
            deadline = world.fleet.deadline()
            assert deadline is not None
            world.now = max(world.now, deadline)
            world.post(events.Elapsed())
            world.settle_but(events.WorkerSaid)

    world.scale(1, 2)
    world.settle()
    world.elapse(200)

    assert world.digests() == {content("b")}
    assert not world.performed(effects.Quarantine)
    world.check_rest()
