"""Workers that die, hang, or say what can not be: whom it blames, and what it goes back to."""

from __future__ import annotations

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Active, Ready, Staged
from tests.support.simulated import content
from tests.support.world import recorded, running


def test_a_worker_whose_activation_is_not_yet_answered_goes_back_with_the_others() -> None:
    world = running()
    world.change("b")
    world.push(1)
    world.until_somebody_serves(2)

    world.lose("gateway-1")
    world.lose("gateway-2")
    assert world.digests() == {content("b")}
    world.settle()

    assert world.digests() == {content("a")}
    assert world.answers[1].exit_code == 4
    world.check_rest()


@pytest.mark.parametrize("hang", ["silent", "activate hangs"])
def test_one_silent_worker_is_ended_and_counts_once(hang: str) -> None:
    world = running()
    world.faults.poison, world.faults.victims = {content("b"): hang}, {"gateway-1"}
    world.change("b")
    world.push(1)
    world.settle()
    assert 1 not in world.answers
    world.faults.poison.clear()

    world.elapse(11)

    assert world.kinds().count("slot_fenced") == 1
    assert world.answers[1].exit_code == 0
    assert set(world.live().values()) == {2}


def test_a_worker_that_is_lost_while_the_commit_is_recorded_does_not_end_it_early() -> None:
    world = running()
    world.change("b")
    world.push(1)
    while not any(one.version == 2 for one in world.effects if isinstance(one, effects.Commit)):
        assert world.step()

    world.lose("gateway-0")
    world.lose("gateway-1")
    world.lose("gateway-2")

    assert 1 not in world.answers
    world.settle()
    assert world.answers[1].exit_code == 0
    world.check_rest()


def test_the_loss_of_every_worker_at_rest_is_answered_by_new_ones_on_the_same_version() -> None:
    world = running()

    for slot in ("gateway-0", "gateway-1", "gateway-2"):
        world.lose(slot)
    world.settle()

    assert world.live() == {"gateway-0": 1, "gateway-1": 1, "gateway-2": 1}
    assert recorded(world) == [(1, "a")]


def test_a_candidate_is_tried_by_a_new_worker_where_no_other_is_left() -> None:
    world = running(workers=1)
    world.change("b")
    world.step()

    world.lose("gateway-0")
    world.settle()

    assert world.live() == {"gateway-0": 2}
    world.check_rest()


def test_a_version_for_which_no_worker_can_be_started_ends_and_is_not_blamed() -> None:
    world = running(workers=1)
    world.faults.spawns = True
    world.lose("gateway-0")
    world.change("b")
    world.push(1)
    world.settle()
    assert 1 not in world.answers

    world.elapse(61)

    assert world.answers[1].exit_code == 1
    assert world.fleet.board.history.quarantined == {}
    world.faults.spawns = False
    world.elapse(120)
    world.check_rest()
    assert world.digests() == {content("b")}


def test_a_worker_that_says_late_that_it_serves_still_owes_the_answer_that_it_was_asked_for() -> None:
    world = running(workers=2)
    world.kill("gateway-0")
    while not any(one.key == ("gateway-0", 2) and one.current for one in world.workers.values()):
        assert world.step()
    world.pending = [event for event in world.pending if event != events.WorkerSaid(Ready("gateway-0", 2))]
    world.settle()
    world.faults.poison[content("b")], world.faults.victims = "silent", {"gateway-0"}
    world.change("b")
    world.settle()
    world.post(events.WorkerSaid(Ready("gateway-0", 2)))
    world.faults.poison.clear()

    world.elapse(60)

    assert ("gateway-0", 2) not in world.workers, "silence ends it, whatever it said meanwhile"
    world.check_rest()


@pytest.mark.parametrize("lie", [Staged("gateway-1", 1, 5, Version(2), content("e")), Ready("gateway-1", 2)])
def test_a_worker_that_claims_what_can_not_be_is_ended(lie: Staged | Ready) -> None:
    world = running()
    world.change("b")
    if isinstance(lie, Ready):
        world.lose("gateway-1")
    else:
        while len(world.performed(effects.SendStage)) < 6:
            assert world.step()

    world.post(events.WorkerSaid(lie))

    assert ("gateway-1", lie.incarnation) not in world.workers
    assert "slot_fenced" in world.kinds()
    world.settle()
    world.check_rest()
    assert world.digests() == {content("b")}


def test_a_worker_that_activates_what_it_was_not_told_to_is_ended() -> None:
    world = running()
    world.change("b")
    while len(world.performed(effects.SendStage)) < 6:
        assert world.step()

    world.post(events.WorkerSaid(Active("gateway-1", 1, 5, Version(2), content("b"))))

    assert ("gateway-1", 1) not in world.workers


def test_a_word_that_comes_twice_is_told_once() -> None:
    world = running()
    before, process = len(world.effects), world.fleet.board.roster.get("gateway-1", 1)
    assert process is not None

    world.post(events.WorkerSaid(Ready("gateway-1", 1)))
    world.post(events.WorkerSaid(Active("gateway-1", 1, process.push, Version(1), content("a"))))
    world.post(events.WorkerSaid(Staged("gateway-1", 1, process.push, Version(1), content("a"))))

    assert world.effects[before:] == []


def test_after_a_way_back_no_worker_is_believed_to_hold_what_it_let_go() -> None:
    world = running()
    world.change("b")
    world.settle()
    world.change("c")
    world.until_somebody_serves(3)
    world.lose("gateway-1")
    world.lose("gateway-2")
    world.settle()
    assert world.digests() == {content("b")}

    world.change("a")
    world.settle()

    assert world.digests() == {content("a")}
    world.check_rest()
