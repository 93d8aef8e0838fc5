"""A restart: everything that the directory holds, by new processes, or nothing at all."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Booted
from nexus_supervisor.core.rollout import Kind, Phase
from nexus_supervisor.core.settings import parse
from tests.support.simulated import COLD_KEY, content, settings
from tests.support.world import World, recorded, running


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


def test_a_forced_restart_tries_content_again_that_failed_by_its_code() -> None:
    world = running()
    world.directory.cold = "bad"
    world.faults.poison[content("a!bad")] = "start dies"
    world.restart(1)
    world.settle()
    assert world.answers[1].exit_code == 4

    world.faults.poison.clear()  # only the code is mended
    world.restart(2)
    world.settle()
    assert world.answers[2].exit_code == 4
    assert "'nexus-supervisor restart --force --reason TEXT'" in world.answers[2].text

    world.restart(3, force=True)
    world.settle()

    assert world.answers[3].exit_code == 0
    assert world.digests() == {content("a!bad")}
    assert effects.Release(content("a!bad"), "test", "me") in world.effects
    world.check_rest()


def test_a_restart_for_which_the_system_has_no_process_condemns_nothing() -> None:
    world = running()
    world.directory.cold = "2"

    world.restart(1)
    while not any(isinstance(one, events.Spawned) for one in world.pending):
        assert world.step()
    (spawned,) = (one for one in world.pending if isinstance(one, events.Spawned))
    world.refuse((spawned.slot, spawned.incarnation))
    world.settle()

    assert world.answers[1].exit_code != 0
    assert not world.performed(effects.Quarantine)
    world.restart(2)
    world.settle()
    assert world.answers[2].exit_code == 0
    assert world.digests() == {content("a!2")}


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

    assert (world.answers[1].exit_code, world.answers[1].word) == (3, "REJECTED")
    assert "the address is in use" in world.answers[1].text
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


# --- the gates of a restart ------------------------------------------------------------------------------------------


def baking(workers: int = 3, **more: Any) -> World:
    """Return a world in which version 1 runs, and new processes are watched for 2 s."""
    world = running(workers=workers, given=settings(workers, bake=2.0, **more))
    world.elapse(30)
    return world


def replaced(world: World) -> list[str]:
    """Return the slots whose live worker is not the first one of its slot."""
    return sorted(key[0] for key, one in world.workers.items() if key[1] > 1 and not one.draining)


def phase(world: World) -> Phase | None:
    return None if world.fleet.board.rollout is None else world.fleet.board.rollout.phase


def test_the_first_new_worker_is_watched_beside_the_old_ones_before_others_are_replaced() -> None:
    world = baking()

    world.restart(1)
    world.settle()
    world.elapse(1.9)
    assert phase(world) is Phase.BAKE
    assert world.codes() == {"gateway-0": 2, "gateway-1": 1, "gateway-2": 1}
    world.elapse(0.2)

    assert world.answers[1].exit_code == 0
    assert world.answers[1].numbers["canary_requests"]
    assert set(world.codes().values()) == {2}
    assert world.performed(effects.Settle) == [effects.Settle(adopted=True)]
    world.check_rest()


def test_without_a_bake_and_with_now_nobody_is_watched() -> None:
    for world, now in ((running(), False), (baking(), True)):
        world.restart(1, now=now)
        world.settle()

        assert world.answers[1].exit_code == 0
        assert "bake_seconds" not in world.answers[1].numbers


@pytest.mark.parametrize("cold", ["", "2"])
@pytest.mark.parametrize("bug", ["errors", "slow", "hangs", "leaks"])
def test_new_code_that_does_worse_is_gone_back_from_and_the_answer_says_why(bug: str, cold: str) -> None:
    world = baking()
    world.directory.cold = cold
    world.faults.code[2] = bug

    world.restart(1)
    world.settle()
    world.elapse(40)

    assert (world.answers[1].exit_code, world.answers[1].word) == (4, "ROLLED_BACK")
    assert "the canary failed" in world.answers[1].text
    assert world.answers[1].numbers
    assert set(world.codes().values()) == {1}
    assert replaced(world) == ["gateway-0"]
    assert world.performed(effects.Settle) == [effects.Settle(adopted=False)]
    world.check_rest()


def test_what_takes_the_place_of_new_code_is_started_from_the_old() -> None:
    world = baking()
    world.faults.code[2] = "errors"
    world.restart(1)
    world.settle()
    world.elapse(40)

    started = [(one.fresh, one.digest) for one in world.effects if isinstance(one, effects.Spawn)][-2:]

    assert started == [(True, content("a")), (False, content("a"))]


@pytest.mark.parametrize("when", [Phase.CANARY, Phase.BAKE, Phase.WAVE])
def test_a_new_worker_that_dies_ends_a_restart_wherever_it_is(when: Phase) -> None:
    world = baking(rollout={"max_parallel": 1})
    world.restart(1)
    for _ in range(1_000):
        if phase(world) is when and len(replaced(world)) > (when is Phase.WAVE):
            break
        if not world.step():
            world.now = max(world.now, world.fleet.deadline() or 0.0)
            world.post(events.Elapsed())

    slot = replaced(world)[-1]
    world.die((slot, 2), "killed by SIGSEGV")
    world.settle()
    world.elapse(10)

    assert world.answers[1].exit_code == 4
    assert f"{slot} was lost on it: killed by SIGSEGV" in world.answers[1].text
    assert set(world.codes().values()) == {1}
    world.check_rest()


def test_an_old_worker_that_dies_meanwhile_says_nothing_about_new_code() -> None:
    world = baking()
    world.restart(1)
    world.settle()
    assert phase(world) is Phase.BAKE

    world.kill("gateway-2")
    world.settle()
    world.elapse(10)

    assert world.answers[1].exit_code == 0
    assert set(world.codes().values()) == {2}


def test_a_lone_worker_is_compared_with_the_one_before_it() -> None:
    world = baking(workers=1)
    world.faults.code[2] = "errors"

    world.restart(1)
    world.settle()
    world.elapse(40)

    assert world.answers[1].exit_code == 4
    assert "in its own last minute before" in world.answers[1].text
    assert set(world.codes().values()) == {1}


def test_where_nobody_asks_the_probe_of_the_new_worker_decides() -> None:
    world = baking()
    world.faults.quiet, world.faults.probe = True, "passed"

    world.restart(1)
    world.settle()
    world.elapse(3)

    assert world.answers[1].exit_code == 0


def test_code_that_can_not_be_imported_is_refused_and_nothing_is_touched() -> None:
    world = baking()
    world.faults.import_error = "web.py:3: ModuleNotFoundError: No module named 'shop'"

    world.restart(1)
    world.settle()

    assert (world.answers[1].exit_code, world.answers[1].word) == (3, "REJECTED")
    assert "No module named 'shop'" in world.answers[1].text
    assert replaced(world) == []
    assert world.performed(effects.Settle) == [effects.Settle(adopted=False)]
    world.check_rest()


def test_code_that_is_never_imported_is_not_waited_for_without_end() -> None:
    world = baking()
    world.faults.imports = False

    world.restart(1)
    world.settle()
    world.elapse(world.settings.supervisor.rollout.start_timeout_seconds + 6)

    assert world.answers[1].exit_code == 3
    world.check_rest()


def test_what_an_earlier_restart_had_prepared_is_not_taken_for_that_of_a_later_one() -> None:
    world = baking()
    world.faults.imports = False
    world.restart(1)
    world.settle()
    first = world.fleet.board.rollout
    assert first is not None
    world.steer(2, "abort")
    world.restart(3)
    world.settle()
    assert phase(world) is Phase.PREPARING

    world.post(events.Prepared(first.serial))
    world.post(events.PrepareFailed("too late", first.serial))

    assert phase(world) is Phase.PREPARING
    assert world.fleet.board.ending is None


def test_a_restart_is_paused_promoted_and_resumed_like_a_push() -> None:
    world = baking(workers=4, rollout={"max_parallel": 1})
    world.restart(1)
    world.settle()
    world.steer(2, "pause")
    world.elapse(30)
    assert len(replaced(world)) == 1
    world.steer(3, "resume")
    world.elapse(0.1)
    assert phase(world) is not Phase.BAKE or len(replaced(world)) == 1

    world.steer(4, "promote")
    world.settle()
    world.elapse(1)

    assert [world.answers[ticket].exit_code for ticket in (2, 3)] == [0, 0]
    assert world.answers[1].exit_code == 0


def test_who_promotes_a_restart_has_no_more_new_workers_at_a_time_than_before() -> None:
    world = baking(workers=6, rollout={"max_parallel": 2})
    world.restart(1)
    world.settle()

    world.steer(2, "promote")
    while world.step():
        assert sum(1 for one in world.workers.values() if one.incarnation == 2 and not one.ready) <= 2

    assert world.answers[1].exit_code == 0


@pytest.mark.parametrize("steps", range(0, 40, 3))
def test_a_restart_is_aborted_wherever_it_is(steps: int) -> None:
    world = running(seed=steps, rollout={"max_parallel": 1})
    world.restart(1)
    for _ in range(steps):
        world.step()
    if world.fleet.board.rollout is None:
        return

    world.steer(2, "abort")
    world.settle()
    world.elapse(40)

    if world.answers[2].exit_code == 0:
        assert (world.answers[1].exit_code, world.answers[1].word) == (4, "ROLLED_BACK")
        assert set(world.codes().values()) == {1}
        assert world.fleet.board.history.pinned is None
    world.check_rest()


def test_a_restart_that_is_paused_for_too_long_is_gone_back_from() -> None:
    world = baking(rollout={"max_pause_seconds": 20})
    world.restart(1)
    world.settle()
    world.steer(2, "pause")

    world.elapse(60)

    assert world.answers[1].exit_code == 4
    assert set(world.codes().values()) == {1}
    world.check_rest()


def test_between_two_groups_a_restart_pauses_as_long_as_settings_say() -> None:
    world = running(given=settings(4, rollout={"max_parallel": 1, "wave_pause_seconds": 10}))
    world.restart(1)
    world.settle()
    assert len(replaced(world)) == 2

    world.elapse(9)
    assert len(replaced(world)) == 2
    world.elapse(2)
    assert len(replaced(world)) == 3
    world.elapse(10)

    assert world.answers[1].exit_code == 0


@pytest.mark.parametrize("paused", [False, True])
def test_a_revocation_does_not_wait_for_the_bake_of_a_restart_which_begins_again_after_it(*, paused: bool) -> None:
    world = running(given=settings(3, bake=2.0), key="k")
    world.elapse(30)
    world.restart(1)
    world.settle()
    assert phase(world) is Phase.BAKE
    if paused:
        world.steer(2, "pause")

    world.remove("key")
    world.settle()

    assert set(world.codes().values()) == {1} or phase(world) is Phase.BAKE
    assert world.digests() == {content("a")}
    assert "revoked" in world.kinds()
    world.elapse(30)
    assert world.answers[1].exit_code == 0
    assert set(world.codes().values()) == {world.code}
    assert world.code > 1
    world.check_rest()


def test_a_way_back_whose_workers_do_not_start_ends_with_the_code_from_before() -> None:
    world = baking()
    world.faults.code = {2: "errors"}
    world.restart(1)
    world.settle()
    assert phase(world) is Phase.BAKE
    world.faults.code[1] = "start dies"
    world.elapse(1)
    world.settle()

    world.faults.code.clear()
    world.elapse(120)

    assert world.answers[1].exit_code == 4
    assert set(world.codes().values()) == {1}
    world.check_rest()


TWO = {
    "program": [
        {"name": "web", "program": "asgi", "workers": 3},
        {"name": "jobs", "program": "jobs", "workers": 2},
    ]
}


def two_programs(**more: Any) -> World:
    document = {
        "supervisor": {
            **TWO,
            "watch": {"debounce_ms": 0, "remove_settle_ms": 0},
            "rollout": {"bake_seconds": 2, "trial": {"enabled": False}, **more},
        }
    }
    parsed = parse(document, cpu_count=2)
    assert not parsed.errors
    world = running(given=parsed.settings)
    world.elapse(30)
    return world


def test_every_program_is_replaced_and_each_has_a_canary_of_its_own() -> None:
    world = two_programs()
    world.restart(1)
    world.settle()
    assert phase(world) is Phase.BAKE
    assert replaced(world) == ["jobs-0", "web-0"]

    world.elapse(3)

    assert world.answers[1].exit_code == 0
    assert len(replaced(world)) == 5
    assert {one.program for one in world.effects if isinstance(one, effects.Spawn) and one.fresh} == {"web", "jobs"}


def test_new_code_that_is_bad_in_one_program_leaves_no_program() -> None:
    world = two_programs()
    world.restart(1)
    world.settle()
    world.die(("jobs-0", 2), "exit code 1")

    world.settle()
    world.elapse(10)

    assert world.answers[1].exit_code == 4
    assert "jobs-0 was lost on it" in world.answers[1].text
    assert set(world.codes().values()) == {1}
    world.check_rest()


# --- workers that leave meanwhile ------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(0, 30, 2))
@pytest.mark.parametrize("way", ["restart", "push", "bad restart"])
def test_workers_that_leave_and_a_rollout_live_together(way: str, steps: int) -> None:
    world = baking()
    board = world.fleet.board
    if way == "bad restart":
        world.faults.code[2] = "errors"
    for one in board.roster.live()[:2]:
        board.roster.leave(one)
    world.post(events.Elapsed())
    for _ in range(steps % 10):
        world.step()
    if way == "push":
        world.directory.live["main"] = "b"
        world.push(1)
    else:
        world.restart(1)
    for _ in range(steps):
        world.step()
    for one in board.roster.live()[1:]:
        board.roster.leave(one)

    world.settle()
    world.elapse(60)

    assert world.answers[1].exit_code == (4 if way == "bad restart" else 0)
    assert len(world.workers) == 3
    assert not any(one.leaving for one in board.roster.live())
    world.check_rest()
