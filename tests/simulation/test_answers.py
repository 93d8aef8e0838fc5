"""When a request is answered, and how everything ends."""

from __future__ import annotations

from nexus_supervisor.core import events
from nexus_supervisor.core.effects import Exit
from tests.support.simulated import content
from tests.support.world import World, recorded, running


def test_who_waits_for_retirement_is_answered_when_no_request_uses_an_older_version() -> None:
    world = running()
    world.faults.pinned = {"gateway-2"}
    world.change("b")
    world.push(1, until_retired=True)
    world.push(2)
    world.settle()
    assert 1 not in world.answers
    assert world.answers[2].exit_code == 0

    world.lose("gateway-2")
    world.settle()

    assert world.answers[1].exit_code == 0


def test_everybody_is_answered_where_the_first_version_of_all_fails() -> None:
    world = World()
    world.faults.poison[content("a")] = "start dies"
    world.begin()
    world.push(1)
    world.change("b")
    world.push(2)

    world.settle()

    assert world.exit == 1
    assert world.answers.keys() == {1, 2}


def test_a_verdict_that_comes_after_a_stop_begins_nothing() -> None:
    world = running()
    world.change("b")
    world.push(1)
    world.faults.busy = {"gateway-0"}

    world.post(events.StopAsked("test", now=False))
    world.settle()

    assert recorded(world) == [(1, "a")]
    assert world.answers[1].exit_code == 5


def test_a_worker_that_never_finishes_is_ended_after_the_drain_time_even_if_it_said_late_that_it_serves() -> None:
    world = running(workers=1)
    world.kill("gateway-0")
    world.faults.busy = {"gateway-0"}
    while not any(one.ready for one in world.workers.values()):
        assert world.step()
    world.post(events.StopAsked("test", now=False))
    world.settle()
    assert world.exit is None

    world.elapse(33)

    assert world.exit == 0


def test_a_stop_waits_for_nothing_but_its_workers() -> None:
    world = running()
    world.faults.busy = {"gateway-0"}
    world.lose("gateway-1")

    world.post(events.StopAsked("test", now=False))
    world.settle()

    assert world.fleet.deadline() == world.now + 32
    world.elapse(40)
    assert [one for one in world.effects if isinstance(one, Exit)] == [Exit(0, "test")]


def test_a_second_stop_ends_at_once() -> None:
    world = running()
    world.faults.busy = {"gateway-0", "gateway-1", "gateway-2"}
    world.post(events.StopAsked("test", now=False))

    world.post(events.StopAsked("test", now=False))
    world.settle()

    assert world.exit == 0
