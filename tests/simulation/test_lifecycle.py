"""Lives of slots, simulated: who is started again, when, and who is given up."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_supervisor.core import effects, events, status
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.history import Committed
from nexus_supervisor.core.lifecycle import Life
from tests.support.simulated import content, settings
from tests.support.world import World, running

AROUND = status.Surroundings(100.0, 0.0, 0.0, 1, "/srv", (), True, "inotify", 0.0, {})


def programs(*, web: int = 2, jobs: int = 2, bake: float = 0, **how: Any) -> World:
    """Return a world with a program web, and a program jobs that is as ``how`` says."""
    tables = [
        {"name": "web", "program": "gateway", "workers": web},
        {"name": "jobs", "program": "hello", "workers": jobs, **how},
    ]
    return running(given=settings(program=tables, bake=bake))


def dies_at_its_start(world: World, *slots: str) -> None:
    world.faults.poison[content("a")] = "start dies"
    world.faults.victims = set(slots)
    for slot in slots:
        world.kill(slot)
    world.settle()


def document(world: World) -> dict[str, Any]:
    return status.document(world.fleet.board, None, AROUND)


def state_of(world: World, slot: str) -> str:
    return next(str(row["state"]) for row in document(world)["workers"] if row["slot"] == slot)


def spawned(world: World, slot: str) -> int:
    return sum(1 for one in world.performed(effects.Spawn) if isinstance(one, effects.Spawn) and one.slot == slot)


def told(world: World, kind: str) -> list[str]:
    return [notice.text for notice in world.notices if notice.kind == kind]


# --- several programs ------------------------------------------------------------------------------------------------


def test_each_program_has_its_own_slots_and_all_of_them_have_one_version() -> None:
    world = programs(web=2, jobs=1)

    assert world.live() == {"web-0": 1, "web-1": 1, "jobs-0": 1}

    world.change("b")
    world.settle()

    assert world.live() == {"web-0": 2, "web-1": 2, "jobs-0": 2}


def test_a_start_boots_one_worker_of_the_first_program_before_all_others() -> None:
    world = programs()

    first = next(one for one in world.performed(effects.Spawn) if isinstance(one, effects.Spawn))

    assert (first.slot, first.program) == ("web-0", "web")


def test_a_restart_replaces_the_workers_of_every_program() -> None:
    world = programs()

    world.restart(1)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert {slot: spawned(world, slot) for slot in world.live()} == dict.fromkeys(
        ["web-0", "web-1", "jobs-0", "jobs-1"], 2
    )


# --- intensity -------------------------------------------------------------------------------------------------------


def test_a_slot_that_dies_too_often_is_given_up_and_the_fleet_degraded() -> None:
    world = running()
    dies_at_its_start(world, "gateway-1")

    world.elapse(60)

    assert state_of(world, "gateway-1") == "failed"
    assert document(world)["state"] == "degraded"
    (text,) = told(world, "slot_failed")
    assert text.startswith(
        "gateway-1 is given up: it died 6 times within 10 s. The last one never served: exit code 1."
    )
    assert spawned(world, "gateway-1") == 6


def test_a_slot_that_was_given_up_is_left_alone_however_long_that_is() -> None:
    world = running()
    dies_at_its_start(world, "gateway-1")
    world.elapse(60)
    before = spawned(world, "gateway-1")

    world.elapse(100_000)

    assert spawned(world, "gateway-1") == before


@pytest.mark.parametrize("how", ["commit", "restart", "scale"])
def test_a_slot_that_was_given_up_is_tried_again(how: str) -> None:
    world = running()
    dies_at_its_start(world, "gateway-1")
    world.elapse(60)
    world.faults.poison.clear()

    if how == "commit":
        world.change("b")
    elif how == "restart":
        world.restart(1)
    else:
        assert world.scale(1, 3).exit_code == 0
    world.settle()
    world.elapse(10)

    assert state_of(world, "gateway-1") == "ready"
    assert document(world)["state"] == "ok"


def test_the_last_slot_of_a_program_is_never_given_up_and_waits_as_long_as_can_be() -> None:
    world = programs(web=2, jobs=2)
    dies_at_its_start(world, "jobs-0", "jobs-1")

    world.elapse(25)
    failed = [slot for slot in ("jobs-0", "jobs-1") if state_of(world, slot) == "failed"]
    (kept,) = {"jobs-0", "jobs-1"} - set(failed)
    before = spawned(world, kept)
    world.elapse(30)

    assert len(failed) == 1
    assert spawned(world, kept) == before + 1
    assert document(world)["state"] == "degraded"


def test_a_change_that_nobody_is_there_to_take_is_tried_at_once_whatever_is_waited_for() -> None:
    world = running()
    dies_at_its_start(world, "gateway-0", "gateway-1", "gateway-2")
    world.elapse(25)
    assert {state_of(world, slot) for slot in world.fleet.board.roster.slots} == {"failed", "backoff"}
    began = world.now

    world.change("b")
    world.settle()

    assert world.now < began + 5
    assert document(world)["state"] == "ok"
    assert set(world.live().values()) == {2}


def test_deaths_far_apart_never_give_a_slot_up() -> None:
    world = running()

    for _ in range(20):
        world.kill("gateway-1")
        world.settle()
        world.elapse(11)

    assert not told(world, "slot_failed")
    assert state_of(world, "gateway-1") == "ready"


def test_what_was_ended_by_order_is_no_death() -> None:
    world = running()

    for ticket in range(8):
        world.restart(ticket)
        world.settle()

    assert not told(world, "slot_failed")
    assert not told(world, "slot_backoff")


def test_a_death_of_who_served_is_told_apart_from_one_at_the_start() -> None:
    world = running()
    for _ in range(2):
        world.kill("gateway-1")
        world.settle()
    dies_at_its_start(world, "gateway-2")
    world.elapse(0.05)

    served, never = told(world, "slot_backoff")[0], told(world, "slot_backoff")[-1]

    assert "The last one had served: killed by SIGKILL." in served
    assert "The last one never served: exit code 1." in never


def test_a_mass_death_is_no_stampede() -> None:
    world = running(workers=8)
    for number in range(8):
        world.kill(f"gateway-{number}")

    starting = []
    while world.step():
        live = world.fleet.board.roster.live()
        starting.append(sum(1 for one in live if one.life is Life.STARTING))

    assert max(starting) == 4
    assert len(world.workers) == 8
    assert document(world)["state"] == "ok"


def test_a_crash_storm_of_all_workers_goes_on_slowly_and_never_gives_all_of_them_up() -> None:
    world = running(workers=8)
    dies_at_its_start(world, *(f"gateway-{number}" for number in range(8)))

    world.elapse(600)
    starts = len(world.performed(effects.Spawn))
    world.elapse(600)

    assert world.exit is None
    assert len(world.performed(effects.Spawn)) - starts <= 600 / 15
    world.faults.poison.clear()
    world.elapse(60)
    world.change("b")
    world.settle()
    world.elapse(10)
    assert document(world)["state"] == "ok"


# --- the start of the daemon -----------------------------------------------------------------------------------------


def begun(given: Any = None) -> World:
    """Return a world that starts on what is committed, where no worker can be started."""
    world = World(committed=Committed(Version(1), content("a")), given=given)
    world.faults.poison[content("a")] = "start dies"
    world.begin()
    world.settle()
    return world


def test_a_start_ends_with_the_reason_where_no_worker_can_be_started() -> None:
    world = begun()

    world.elapse(200)
    world.settle()

    assert world.exit == 1
    (end,) = world.performed(effects.Exit)
    assert isinstance(end, effects.Exit)
    assert end.reason.startswith("no worker could be started: gateway-")
    assert end.reason.endswith("died 6 times within 10 s, and the last time: exit code 1")


def test_a_start_ends_also_where_a_push_was_under_way_when_its_last_slot_was_given_up() -> None:
    world = World(committed=Committed(Version(1), content("a")))
    world.faults.spawns = True
    world.begin()
    world.settle()
    world.change("b")
    for _ in range(4):
        world.elapse(200)
        world.settle()

    assert world.exit == 1
    (end,) = world.performed(effects.Exit)
    assert isinstance(end, effects.Exit)
    assert "could not be started: no more processes" in end.reason


def test_a_first_start_ends_with_the_reason_where_its_first_worker_dies() -> None:
    world = World()
    world.faults.spawns = True
    world.begin()
    world.settle()

    assert world.exit == 1
    (end,) = world.performed(effects.Exit)
    assert isinstance(end, effects.Exit)
    assert "could not be started: no more processes" in end.reason


def test_a_start_where_only_the_second_program_fails_goes_on_degraded_and_keeps_trying() -> None:
    tables = [{"name": "gateway", "workers": 1}, {"name": "jobs", "program": "hello", "workers": 2}]
    world = World(committed=Committed(Version(1), content("a")), given=settings(program=tables))
    world.faults.poison[content("a")] = "start dies"
    world.faults.victims = {"jobs-0", "jobs-1"}
    world.begin()
    world.settle()

    world.elapse(120)

    assert world.exit is None
    assert document(world)["state"] == "degraded"
    assert [state_of(world, slot) for slot in ("jobs-0", "jobs-1")].count("failed") == 1


# --- restart types ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("restart", "status_", "again"),
    [
        ("permanent", "exit code 0", True),
        ("permanent", "exit code 1", True),
        ("transient", "exit code 0", False),
        ("transient", "exit code 1", True),
        ("temporary", "exit code 0", False),
        ("temporary", "exit code 1", False),
    ],
)
def test_the_restart_type_says_which_ends_are_followed_by_a_start(restart: str, status_: str, *, again: bool) -> None:
    world = programs(restart=restart)

    world.finish("jobs-1", status_)
    world.settle()
    world.elapse(5)

    assert state_of(world, "jobs-1") == ("ready" if again else "stopped")
    assert document(world)["state"] == "ok"
    assert bool(told(world, "slot_stopped")) is not again


def test_a_worker_that_has_done_its_work_condemns_no_version() -> None:
    world = programs(restart="transient", bake=5.0)
    world.change("b")
    world.settle()

    for slot in ("jobs-0", "jobs-1"):
        world.finish(slot)
    world.settle()
    world.elapse(20)

    assert set(world.live()) == {"web-0", "web-1"}
    assert world.digests() == {content("b")}
    assert not told(world, "rollout_failed")


def test_what_is_stopped_runs_again_by_a_restart_and_not_by_a_push() -> None:
    world = programs(restart="transient")
    world.finish("jobs-1")
    world.change("b")
    world.settle()
    world.elapse(10)
    assert state_of(world, "jobs-1") == "stopped"

    world.restart(1)
    world.settle()

    assert state_of(world, "jobs-1") == "ready"


def test_a_restart_does_not_wait_for_a_worker_that_has_done_its_work() -> None:
    world = programs(restart="transient")
    world.restart(1)
    while not any(one.slot == "jobs-0" and one.incarnation == 2 for one in world.workers.values()):
        assert world.step()

    world.finish("jobs-0")
    world.settle()

    assert world.answers[1].exit_code == 0
    assert state_of(world, "jobs-0") == "stopped"
    assert document(world)["state"] == "ok"


# --- strategies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "replaced"),
    [
        ("one_for_one", {"jobs-1"}),
        ("rest_for_one", {"jobs-1", "jobs-2"}),
        ("one_for_all", {"jobs-0", "jobs-1", "jobs-2"}),
    ],
)
def test_the_strategy_says_who_is_replaced_with_a_worker_that_died(strategy: str, replaced: set[str]) -> None:
    world = programs(jobs=3, strategy=strategy)

    world.lose("jobs-1")
    world.settle()
    world.elapse(5)

    assert {slot for slot in world.live() if spawned(world, slot) == 2} == replaced
    assert document(world)["state"] == "ok"
    assert not any(one.leaving for one in world.fleet.board.roster.live())


def test_siblings_serve_until_others_have_taken_their_place() -> None:
    world = programs(jobs=3, strategy="one_for_all")
    world.lose("jobs-1")

    while world.step():
        serving = {one.slot for one in world.workers.values() if one.serving}
        assert {"jobs-0", "jobs-2"} <= serving


def test_siblings_wait_while_a_version_is_on_its_way() -> None:
    world = programs(jobs=3, strategy="one_for_all", bake=5.0)
    world.change("b")
    world.settle()
    assert world.fleet.board.rollout is not None

    world.lose("jobs-1" if "jobs-1" not in world.fleet.board.rollout.canaries else "jobs-2")
    world.settle()
    assert [spawned(world, slot) for slot in ("jobs-0", "jobs-1", "jobs-2")].count(2) == 1
    world.elapse(20)

    assert world.digests() == {content("b")}
    assert not any(one.leaving for one in world.fleet.board.roster.live())
    assert document(world)["state"] == "ok"


def test_a_sibling_that_can_not_be_replaced_stays() -> None:
    world = programs(jobs=2, strategy="one_for_all")
    world.faults.spawns = True
    world.lose("jobs-1")
    world.settle()
    world.elapse(60)

    assert "jobs-0" in world.live()
    world.faults.spawns = False
    world.elapse(120)
    world.scale(1, 2, "jobs")
    world.settle()

    assert document(world)["state"] == "ok"


# --- restarts of programs whose workers end by themselves ------------------------------------------------------------


def while_restarting(world: World, cold: str = "") -> World:
    """Return a world in which a restart has started the first process of the program jobs."""
    world.directory.cold = cold
    world.restart(1)
    while not any(key == ("jobs-0", 2) for key in world.workers):
        assert world.step()
    return world


def ends_before_it_serves(world: World, slot: str, incarnation: int) -> None:
    world.pending = [one for one in world.pending if getattr(one, "slot", "") != slot]
    world.pending = [one for one in world.pending if not isinstance(one, events.WorkerSaid) or one.message.slot != slot]
    del world.workers[slot, incarnation]
    world.post(events.WorkerExited(slot, incarnation, "exit code 0", clean=True))


def test_a_restart_leaves_a_slot_alone_whose_new_process_has_ended_before_the_old_one() -> None:
    world = while_restarting(programs(web=1, jobs=1, restart="transient"))

    ends_before_it_serves(world, "jobs-0", 2)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert spawned(world, "jobs-0") == 2
    assert state_of(world, "jobs-0") == "stopped"
    world.check_rest()


def test_a_restart_judges_its_processes_by_the_restart_type_that_it_brings() -> None:
    world = programs(web=1, jobs=1, restart="permanent")
    before = world.settings
    tables = [
        {"name": "web", "program": "gateway", "workers": 1},
        {"name": "jobs", "program": "hello", "workers": 1, "restart": "transient"},
    ]
    world.directory.settings = settings(program=tables)
    assert before != world.directory.settings
    while_restarting(world, "2")

    ends_before_it_serves(world, "jobs-0", 2)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert spawned(world, "jobs-0") == 2
    assert state_of(world, "jobs-0") == "stopped"


def test_a_worker_that_leaves_goes_when_the_one_that_was_to_replace_it_is_done() -> None:
    world = programs(web=1, jobs=2, restart="transient", strategy="one_for_all")
    world.kill("jobs-0")
    world.step()
    while ("jobs-1", 2) not in world.workers:
        assert world.step()

    ends_before_it_serves(world, "jobs-1", 2)
    world.settle()

    assert state_of(world, "jobs-1") == "stopped"
    assert spawned(world, "jobs-1") == 2
    assert ("jobs-1", 1) not in world.workers
    world.check_rest()
