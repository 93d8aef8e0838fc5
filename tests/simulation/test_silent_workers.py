"""Workers that run and don't work: how they are found, by which steps they end, and how many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.core import effects, events
from tests.support.simulated import settings
from tests.support.world import World, running

if TYPE_CHECKING:
    from nexus_supervisor.core.notices import Notice

LIVENESS = {"timeout_seconds": 10, "dump_seconds": 1, "term_seconds": 5}
STEPS = (effects.Dump, effects.Terminate, effects.Kill)


def watched(workers: int = 3, rollout: dict[str, Any] | None = None, **liveness: float) -> World:
    return running(given=settings(workers, liveness={**LIVENESS, **liveness}, rollout=rollout or {}))


def freeze(world: World, *slots: str, stopped: bool = False) -> None:
    """Let the processes of slots do nothing any more."""
    for worker in world.workers.values():
        if worker.slot in slots:
            worker.frozen_at, worker.stopped = world.now, stopped


def steps(world: World) -> list[tuple[str, str, int]]:
    """Return what was done to whom, in order."""
    return [
        (type(one).__name__, one.slot, one.incarnation)
        for one in world.effects
        if isinstance(one, STEPS) and one.slot != "trial"
    ]


def told(world: World, kind: str) -> list[Notice]:
    return [notice for notice in world.notices if notice.kind == kind]


def test_a_silent_worker_is_replaced_writes_down_its_stacks_is_told_to_end_and_killed() -> None:
    world = watched()
    freeze(world, "gateway-1")

    world.elapse(9)
    assert steps(world) == []
    world.elapse(4)
    assert steps(world) == [("Dump", "gateway-1", 1), ("Terminate", "gateway-1", 1)]
    assert world.workers["gateway-1", 2].serving, "nobody waits for the end of the one before"
    world.elapse(4)

    assert steps(world)[2:] == [("Kill", "gateway-1", 1)]
    assert ("gateway-1", 1) not in world.workers
    assert told(world, "slot_silent")[0].fields["found"] == "silent"
    assert "timeout_seconds is 10" in told(world, "slot_silent")[0].text
    world.check_rest()


def test_a_worker_that_comes_back_to_life_meanwhile_drains_and_is_not_killed() -> None:
    world = watched()
    freeze(world, "gateway-1")
    world.elapse(10.5)
    assert [step for step, *_ in steps(world)] == ["Dump"]

    world.workers["gateway-1", 1].frozen_at = None
    world.elapse(10)

    assert [step for step, *_ in steps(world)] == ["Dump", "Terminate"]
    assert list(world.workers) == [("gateway-0", 1), ("gateway-2", 1), ("gateway-1", 2)]


def test_a_stopped_worker_is_asked_for_no_stacks_and_the_notice_says_why() -> None:
    world = watched()
    freeze(world, "gateway-1", stopped=True)

    world.elapse(20)

    assert [step for step, *_ in steps(world)] == ["Terminate", "Kill"]
    assert told(world, "slot_silent")[0].fields["found"] == "stopped"
    assert "SIGSTOP" in told(world, "slot_silent")[0].text


def test_a_step_without_time_is_left_out() -> None:
    world = watched(dump_seconds=0, term_seconds=0)
    freeze(world, "gateway-1")

    world.elapse(20)

    assert [step for step, *_ in steps(world)] == ["Kill"]


def test_a_request_that_waits_for_too_long_is_silence_too() -> None:
    world = watched(max_request_seconds=60)
    world.workers["gateway-2", 1].waiting_since = world.now

    world.elapse(59)
    assert steps(world) == []
    world.elapse(10)

    assert steps(world)[0] == ("Dump", "gateway-2", 1)
    assert told(world, "slot_silent")[0].fields["found"] == "request"
    assert "max_request_seconds is 60" in told(world, "slot_silent")[0].text


def test_where_no_time_is_given_any_silence_is_fine() -> None:
    world = watched(timeout_seconds=0)
    world.workers["gateway-2", 1].waiting_since = world.now
    freeze(world, "gateway-1", stopped=True)

    world.elapse(1_000)

    assert steps(world) == []


@pytest.mark.parametrize("stopped", [False, True])
def test_of_many_silent_workers_no_more_than_max_parallel_are_ended_at_a_time(stopped: bool) -> None:
    world = watched(8, rollout={"max_parallel": 2})
    freeze(world, *(f"gateway-{number}" for number in range(8)), stopped=stopped)

    world.elapse(11)
    assert len(told(world, "slot_silent")) == 2
    assert told(world, "slot_silent")[0].fields["waiting"] == 6
    world.elapse(60)

    assert [notice.fields["waiting"] for notice in told(world, "slot_silent")] == [6, 6, 4, 4, 2, 2, 0, 0]
    assert all(one.incarnation == 2 for one in world.workers.values())
    world.check_rest()


def test_a_stall_of_the_whole_machine_that_ends_leaves_most_of_the_fleet_alone() -> None:
    world = watched(8, rollout={"max_parallel": 2})
    freeze(world, *(f"gateway-{number}" for number in range(8)))
    world.elapse(11)
    assert len(told(world, "slot_silent")) == 2

    for worker in world.workers.values():
        worker.frozen_at = None
    world.elapse(100)

    assert len(told(world, "slot_silent")) == 2
    assert sorted(one.incarnation for one in world.workers.values()) == [1] * 6 + [2] * 2


def test_a_supervisor_that_was_stopped_with_its_workers_takes_nobody_for_dead() -> None:
    world = watched()
    world.elapse(20)
    freeze(world, "gateway-0", "gateway-1", "gateway-2")

    world.now += 30
    world.post(events.Elapsed())
    world.settle()
    for worker in world.workers.values():
        worker.frozen_at = None
    world.elapse(60)

    assert steps(world) == []


def test_a_supervisor_that_was_stopped_between_reading_and_judging_takes_nobody_for_dead() -> None:
    world = watched()
    world.elapse(20)
    stale = events.Measured(world.staff.readings())

    world.now += 30
    world.post(stale)
    world.settle()

    assert steps(world) == []


def test_a_worker_that_is_silent_since_before_a_gap_is_found_after_it() -> None:
    world = watched()
    freeze(world, "gateway-1")
    world.now += 30
    world.post(events.Elapsed())
    world.settle()
    assert steps(world) == []

    world.elapse(13)

    assert steps(world)[0] == ("Dump", "gateway-1", 1)


def test_a_worker_that_has_not_served_yet_has_only_its_start_to_be_late_with() -> None:
    world = watched(rollout={"start_timeout_seconds": 60})
    world.kill("gateway-1")
    world.settle_but(events.WorkerSaid)
    freeze(world, "gateway-1")
    world.pending.clear()

    world.elapse(50)
    assert told(world, "slot_silent") == []
    world.elapse(20)

    assert [notice.fields["slot"] for notice in told(world, "slot_fenced")] == ["gateway-1"]


def test_a_worker_that_owes_an_answer_has_the_deadline_of_that_answer() -> None:
    world = watched(rollout={"stage_timeout_seconds": 40, "strategy": "all_at_once"})
    freeze(world, "gateway-1")
    world.change("b")
    world.settle()

    world.elapse(39)
    assert told(world, "slot_silent") == []
    world.elapse(10)

    assert {notice.fields["slot"] for notice in told(world, "slot_fenced")} == {"gateway-1"}
    world.elapse(100)
    world.check_rest()


def test_a_version_is_not_committed_before_a_silent_worker_is_gone() -> None:
    world = watched(term_seconds=60)
    freeze(world, "gateway-1")
    world.elapse(13)

    world.change("b")
    world.push(1)
    world.settle()
    assert 1 not in world.answers
    world.elapse(70)

    assert world.answers[1].exit_code == 0
    world.check_rest()


def test_a_stop_ends_while_a_worker_is_silent() -> None:
    world = watched()
    freeze(world, "gateway-1")
    world.elapse(11)

    world.post(events.StopAsked("me", now=False))
    world.elapse(60)

    assert world.exit == 0
    assert steps(world)[-1] == ("Kill", "gateway-1", 1)
