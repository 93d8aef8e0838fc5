"""The real fleet in a simulated world: late answers, deaths, refusals, bad content, a journal that fails."""

from __future__ import annotations

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.history import Committed
from tests.support.simulated import SYNTAX, content
from tests.support.world import World, running


def test_a_first_start_boots_one_worker_and_then_the_others() -> None:
    world = World()

    world.begin()
    spawned_before_commit = []
    while world.step():
        if not world.performed(effects.Commit):
            spawned_before_commit = [one for one in world.effects if isinstance(one, effects.Spawn)]

    assert [one.slot for one in spawned_before_commit] == ["gateway-0"]
    assert world.live() == {"gateway-0": 1, "gateway-1": 1, "gateway-2": 1}
    assert "daemon_ready" in world.kinds()


def test_a_first_start_with_invalid_input_exits_with_3() -> None:
    world = World()

    world.begin(problems=SYNTAX)

    assert world.exit == 3
    assert not world.workers


def test_a_first_start_whose_worker_dies_exits_with_1_and_names_the_reason() -> None:
    world = World()
    world.faults.poison[content("a")] = "start dies"

    world.begin()
    world.settle()

    assert world.exit == 1
    assert "rollout_failed" in world.kinds()


def test_a_start_on_unchanged_content_takes_no_new_number() -> None:
    world = World(committed=Committed(Version(7), content("a")))

    world.begin()
    world.settle()

    assert world.live() == {"gateway-0": 7, "gateway-1": 7, "gateway-2": 7}
    assert not [one for one in world.effects if isinstance(one, effects.Record)]


def test_a_start_whose_new_content_fails_goes_on_with_the_committed_version() -> None:
    world = World(committed=Committed(Version(7), content("a")))
    world.directory.live["main"] = "bad"
    world.faults.poison[content("bad")] = "start dies"

    world.begin()
    world.settle()

    assert world.live() == {"gateway-0": 7, "gateway-1": 7, "gateway-2": 7}
    assert content("bad") in world.fleet.board.history.quarantined


def test_a_start_with_an_invalid_directory_goes_on_with_the_committed_version() -> None:
    world = World(committed=Committed(Version(7), content("a")))

    world.begin(problems=SYNTAX)
    world.settle()

    assert set(world.live().values()) == {7}
    assert "candidate_refused" in world.kinds()


def test_a_change_is_staged_everywhere_before_it_is_active_anywhere() -> None:
    world = running()

    world.change("b")
    while world.step():
        staged = [one for one in world.workers.values() if one.staged is not None]
        active = [one for one in world.workers.values() if one.current and one.current[0] == 2]
        assert not active or len(staged) + len(active) == 3

    assert set(world.live().values()) == {2}


def test_a_version_that_a_worker_refuses_changes_nothing_and_is_not_tried_again() -> None:
    world = running()
    world.faults.poison[content("bad")] = "refuse"

    world.change("bad")
    world.push(1)
    world.settle()
    world.elapse(30)

    assert set(world.live().values()) == {1}
    assert world.answers[1].exit_code == 3
    assert "it is bad" in world.answers[1].text
    assert len([one for one in world.effects if isinstance(one, effects.Record)]) == 2


def test_a_number_that_failed_is_burnt_and_the_next_change_gets_the_next_one() -> None:
    world = running()
    world.faults.poison[content("bad")] = "refuse"
    world.change("bad")
    world.settle()

    world.change("c")
    world.settle()

    assert set(world.live().values()) == {3}
    assert any(isinstance(one, effects.Burn) and one.version == 2 for one in world.effects)


def test_one_worker_lost_while_staging_is_replaced_and_the_version_goes_on() -> None:
    world = running()

    world.change("b")
    world.step()
    world.step()
    world.kill("gateway-1")
    world.settle()

    assert world.live() == {"gateway-0": 2, "gateway-1": 2, "gateway-2": 2}


@pytest.mark.parametrize("poison", ["stage dies", "activate dies"])
def test_content_that_kills_two_workers_is_left_and_all_serve_what_they_served(poison: str) -> None:
    world = running()
    world.faults.poison[content("bad")] = poison

    world.change("bad")
    world.push(1)
    world.settle()
    world.elapse(60)

    digests = world.digests()
    assert digests == {content("a")}
    assert len(world.workers) == 3
    assert world.answers[1].exit_code in (3, 4)
    world.check_rest()


def test_a_silent_worker_is_ended_at_its_deadline_and_nothing_is_complete_before() -> None:
    world = running()
    world.faults.poison[content("b")] = "silent"
    world.change("b")
    world.push(1)
    world.settle()
    assert 1 not in world.answers

    world.faults.poison.clear()
    world.elapse(11)

    assert "slot_fenced" in world.kinds()
    assert 1 in world.answers
    world.check_rest()


def test_a_journal_that_fails_sends_nothing_and_says_so() -> None:
    world = running()
    world.faults.journal = True

    world.change("b")
    world.push(1)
    world.settle()

    assert set(world.live().values()) == {1}
    assert "journal_failed" in world.kinds()
    assert world.answers[1].exit_code == 1


def test_a_burst_of_changes_ends_on_the_last_one() -> None:
    world = running()

    for name in "bcdefgh":
        world.change(name)
        world.step()
    world.settle()

    committed = world.fleet.board.history.committed
    assert committed is not None
    assert committed.digest == content("h")
    world.check_rest()


def test_a_refused_directory_keeps_what_runs_and_the_next_good_edit_goes_live() -> None:
    world = running()
    world.directory.problems = SYNTAX
    world.push(1)
    world.settle()
    assert world.answers[1].exit_code == 3
    assert world.answers[1].problems == SYNTAX

    world.change("b")
    world.settle()

    assert set(world.live().values()) == {2}
    assert world.fleet.board.standing.drift is None


def test_a_refusal_is_told_once_and_not_at_every_compare() -> None:
    world = running()
    world.directory.problems = SYNTAX

    world.post(events.Touched(None, urgent=True))
    world.settle()
    world.elapse(60)

    assert world.kinds().count("candidate_refused") == 1


def test_a_revocation_goes_although_another_file_is_broken() -> None:
    world = running()
    world = running(x="1")
    del world.directory.live["x"]
    world.directory.problems = SYNTAX

    world.push(1)
    world.settle()

    assert world.digests() == {content("a")}
    assert "revoked" in world.kinds()
    assert world.answers[1].exit_code == 3


def test_a_revocation_that_can_not_go_is_a_security_notice() -> None:
    world = running()
    world = running(x="1")
    del world.directory.live["x"]
    world.directory.problems = world.directory.remains = SYNTAX

    world.post(events.Touched(None, urgent=True))
    world.settle()

    assert "entry_still_live" in world.kinds()


def test_a_push_that_expects_another_version_does_nothing() -> None:
    world = running()

    world.push(1, expect=4)

    assert world.answers[1].exit_code == 6


def test_a_push_of_what_is_live_says_so() -> None:
    world = running()

    world.push(1)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert world.answers[1].workers == 3


def test_stop_drains_every_worker_and_ends_with_0() -> None:
    world = running()
    world.change("b")
    world.push(9)

    world.post(events.StopAsked("test", now=False))
    world.settle()

    assert world.exit == 0
    assert not world.workers
    assert world.answers[9].exit_code == 5


def test_a_slot_whose_worker_keeps_dying_waits_longer_each_time() -> None:
    world = running()
    world.faults.poison[content("a")] = "start dies"
    world.kill("gateway-0")
    world.settle()
    first = len([one for one in world.effects if isinstance(one, effects.Spawn)])

    world.elapse(60)

    later = len([one for one in world.effects if isinstance(one, effects.Spawn)])
    assert 3 < later - first < 15
    assert "slot_backoff" in world.kinds()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_the_fleet_comes_to_rest_on_one_version(seed: int) -> None:
    world = World(seed, workers=world_size(seed))
    world.begin()
    dice = world.random
    world.faults.poison = {content("bad"): dice.choice(["refuse", "stage dies", "activate dies", "silent"])}

    for ticket in range(40):
        match dice.randrange(8):
            case 0 | 1 | 2:
                world.change(dice.choice("abcdef"))
            case 3:
                world.change("bad")
            case 4:
                world.kill(f"gateway-{dice.randrange(3)}")
            case 5:
                world.push(ticket)
            case 6:
                world.restart(ticket)
            case _:
                world.elapse(dice.random() * 3)
        for _ in range(dice.randrange(6)):
            world.step()
    world.settle()
    world.elapse(20)  # who died or hangs is not to be blamed on what comes now
    world.change("z")
    world.settle()
    world.elapse(300)

    if world.exit is None:
        world.check_rest()
        committed = world.fleet.board.history.committed
        assert committed is not None
        assert committed.digest == content("z")
        assert len(world.workers) == len(world.fleet.board.roster.slots)


def world_size(seed: int) -> int:
    return 1 + seed % 4
