"""When a request is answered, and how everything ends."""

from __future__ import annotations

from nexus_supervisor.core import events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.effects import Answer, Exit, Look, Note, Outcome, Release
from nexus_supervisor.core.fleet import Fleet
from nexus_supervisor.core.history import Committed, History
from tests.support.simulated import content, settings
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


# --- one request, one answer -----------------------------------------------------------------------------------------


def test_a_push_that_comes_again_under_its_id_waits_for_the_same_end() -> None:
    world = running()
    world.change("b")
    world.push(1, push_id="p")

    world.push(2, push_id="p")
    world.settle()

    assert world.answers[1] == world.answers[2]
    assert world.answers[1].exit_code == 0
    assert len(recorded(world)) == 2
    assert [one.push_id for one in world.effects if isinstance(one, Note)] == ["p"]


def test_a_push_that_comes_again_after_its_end_is_answered_as_it_was_and_looks_at_nothing() -> None:
    world = running()
    world.change("b")
    world.push(1, push_id="p")
    world.settle()
    world.change("c")
    world.settle()
    before = len(world.performed(Look))

    world.push(2, push_id="p")

    assert world.answers[2] == world.answers[1]
    assert len(world.performed(Look)) == before


def test_who_asks_again_after_a_new_start_is_told_what_was_answered_before_it() -> None:
    known = Outcome(4, "ROLLED_BACK", "Rolled back: the canary failed.", version=Version(2))
    fleet = Fleet(settings(), History(2, Committed(Version(2), content("a"))), 0.0, answered={"p": ("push", known)})
    fleet.begin(None, (), 0.0)

    decided = fleet.handle(events.PushAsked(7, "", "me", None, until_retired=False, push_id="p"), 1.0)

    assert [one for one in decided if isinstance(one, Answer)] == [Answer(7, known)]


def test_a_request_without_an_id_is_a_request_of_its_own() -> None:
    world = running()

    world.push(1)
    world.push(2)
    world.settle()

    assert world.answers.keys() == {1, 2}
    assert not world.performed(Note)


def test_content_that_failed_is_tried_again_where_somebody_insists_and_that_is_noted() -> None:
    world = running()
    world.faults.poison[content("bad")] = "refuse"
    world.change("bad")
    world.settle()
    world.faults.poison.clear()
    world.push(1)
    world.settle()
    assert world.answers[1].exit_code == 3

    world.push(2, force=True)
    world.settle()

    assert world.answers[2].exit_code == 0
    assert world.digests() == {content("bad")}
    assert world.performed(Release) == [Release(content("bad"), "test", "me")]
    assert world.fleet.board.history.quarantined == {}
