"""A restart: everything that the directory holds, by new processes, or nothing at all."""

from __future__ import annotations

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Booted
from nexus_supervisor.core.rollout import Kind
from tests.support.simulated import COLD_KEY, content, settings
from tests.support.world import recorded, running


def test_a_held_change_is_reported_and_a_restart_applies_it() -> None:
    world = running()
    world.directory.cold = "2"
    world.push(1)
    world.settle()
    assert world.answers[1].exit_code == 8
    assert world.fleet.board.standing.held_keys == (COLD_KEY,)

    world.restart(2)
    world.settle()

    assert world.answers[2].exit_code == 0
    assert set(world.live().values()) == {2}
    assert {key[1] for key in world.workers} == {2}
    world.push(3)
    world.settle()
    assert world.answers[3].exit_code == 0


def test_a_restart_has_the_replacement_ready_before_the_old_one_is_drained() -> None:
    world = running()

    world.restart(1)
    while world.step():
        ready = [one for one in world.workers.values() if one.ready]
        assert len(ready) >= 3

    assert world.answers[1].exit_code == 0
    assert set(world.live().values()) == {1}
    assert {key[1] for key in world.workers} == {2}


def test_a_restart_whose_first_replacement_dies_leaves_every_old_worker() -> None:
    world = running()
    world.directory.cold = "bad"
    world.faults.poison[content("a!bad")] = "start dies"

    world.restart(1)
    world.settle()

    assert world.answers[1].exit_code == 4
    assert {key[1] for key in world.workers} == {1}
    assert world.digests() == {content("a")}


def test_a_restart_that_waits_is_not_lost_when_the_directory_changes() -> None:
    world = running()
    world.change("b")
    while not recorded(world)[1:]:
        assert world.step()
    world.restart(1)
    while world.fleet.board.waiting is None or world.fleet.board.waiting.kind is not Kind.RESTART:
        assert world.step()

    world.change("c")
    world.settle()

    assert world.answers[1].exit_code == 0
    assert {key[1] for key in world.workers} == {2}
    assert world.digests() == {content("c")}


def test_a_restart_that_waits_is_not_lost_when_the_running_version_fails() -> None:
    world = running()
    world.faults.poison[content("bad")] = "silent"
    world.change("bad")
    world.settle()
    world.restart(1)
    world.settle()
    assert world.fleet.board.waiting is not None

    world.change("c")
    world.settle()
    world.elapse(30)

    assert world.answers[1].exit_code == 0
    assert world.digests() == {content("c")}
    restarts = [one for one in world.notices if one.fields.get("kind") == "restart"]
    assert restarts


def test_a_verdict_from_before_a_restart_does_not_undo_it() -> None:
    world = running()
    world.directory.cold = "2"
    world.restart(1)
    world.step()
    world.change("b")
    while not any(one.kind == "committed" and one.fields["version"] == 2 for one in world.notices):
        others = [index for index, event in enumerate(world.pending) if not isinstance(event, events.CandidateSeen)]
        world.deliver(others[0])

    world.settle()

    assert world.digests() == {content("b!2")}
    world.check_rest()


def test_a_restart_does_not_send_content_that_failed_before() -> None:
    world = running()
    world.directory.cold = "bad"
    world.faults.poison[content("a!bad")] = "start dies"
    world.restart(1)
    world.settle()
    assert world.answers[1].exit_code == 4
    before = len(world.performed(effects.Spawn))

    world.restart(2)
    world.settle()

    assert world.answers[2].exit_code in (3, 4)
    assert len(world.performed(effects.Spawn)) == before


def test_what_is_held_stays_pending_after_a_restart_that_failed() -> None:
    world = running()
    world.directory.cold = "bad"
    world.push(1)
    world.settle()
    since = world.fleet.board.standing.held_since
    world.faults.poison[content("a!bad")] = "start dies"
    world.now += 10

    world.restart(2)
    world.settle()

    assert world.fleet.board.standing.held_keys
    assert world.fleet.board.standing.held_since == since


def test_a_restart_for_more_workers_that_fails_leaves_as_many_as_before() -> None:
    world = running(workers=2)
    world.directory.settings, world.directory.cold = settings(4), "4"
    world.faults.poison, world.faults.victims = {content("a!4"): "start dies"}, {"gateway-3"}

    world.restart(1)
    world.settle()

    assert world.answers[1].exit_code == 4
    assert sorted(world.live()) == ["gateway-0", "gateway-1"]
    assert world.digests() == {content("a")}
    world.check_rest()


def test_a_worker_that_boots_in_a_slot_which_is_about_to_go_is_not_given_what_needs_a_restart() -> None:
    world = running(workers=2)
    world.directory.settings, world.directory.cold = settings(1), "1"
    world.restart(1)
    while not any(one.slot == "gateway-0" and one.incarnation == 2 and one.ready for one in world.workers.values()):
        assert world.step()
    world.lose("gateway-1")

    while not any(one.version == 2 for one in world.effects if isinstance(one, effects.Commit)):
        late = [
            index for index, event in enumerate(world.pending) if event != events.WorkerSaid(Booted("gateway-1", 2))
        ]
        world.deliver(late[0])
    while others := [index for index, event in enumerate(world.pending) if event != events.CommitRecorded(Version(2))]:
        world.deliver(others[0])
    world.settle()

    assert world.live() == {"gateway-0": 2}
    world.check_rest()


@pytest.mark.parametrize("workers", [1, 4])
def test_a_restart_brings_the_number_of_workers_that_the_directory_asks_for(workers: int) -> None:
    world = running(workers=2)
    world.directory.settings, world.directory.cold = settings(workers), "2"

    world.restart(1)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert sorted(world.live()) == [f"gateway-{number}" for number in range(workers)]
    world.check_rest()


def test_a_port_that_can_not_be_bound_ends_a_restart_before_anything_is_replaced() -> None:
    world = running()
    world.directory.settings, world.directory.cold = settings(3, port=8081), "2"
    world.faults.binds = True

    world.restart(1)
    world.settle()

    assert world.answers[1].exit_code == 1
    assert {key[1] for key in world.workers} == {1}
    assert world.fleet.board.history.quarantined == {}


def test_a_restart_is_answered_when_the_last_old_worker_has_finished() -> None:
    world = running()
    world.faults.busy = {"gateway-1"}
    world.restart(1)
    world.settle()
    assert 1 not in world.answers

    world.elapse(33)

    assert world.answers[1].exit_code == 0
