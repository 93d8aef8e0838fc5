"""The status: every field of the contract, and what each says of a fleet at one moment."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexus_supervisor.core import canonical, effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.history import Committed
from nexus_supervisor.core.messages import Retired
from nexus_supervisor.core.status import Figures, Surroundings, document
from tests.support.simulated import COLD_KEY, SYNTAX, content, settings
from tests.support.world import World

MOMENT = "1970-01-01T00:01:40.000Z"
FIELDS = {
    *("version", "digest", "state", "uptime_seconds", "signing", "isolation", "rollout", "pending_restart", "drift"),
    *("last_rejection", "watch", "workers"),
}
PROGRAM_FIELDS = {"name", "program", "app", "workers", "ready", "addresses", "preload"}
WORKER_FIELDS = {
    *("program", "age_seconds", "ready_since", "requests_per_second", "errors_per_second", "p99_ms", "cpu_percent"),
    *("pss_bytes", "restarts", "last_exit", "start_failed", "given_up"),
    *("slot", "incarnation", "pid", "state", "version", "active_since", "oldest_snapshot", "requests", "errors"),
    *("rss_bytes", "oldest_snapshot_seconds", "lingering_snapshots", "lingering_seconds"),
}


def running(workers: int = 2) -> World:
    world = World(workers=workers)
    world.begin()
    world.settle()
    return world


def status(world: World, **changed: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "now": world.now,
        "wall_offset": 0.0,
        "started": 40.0,
        "pid": 7,
        "directory": "/srv/demo",
        "addresses": ("127.0.0.1:8080",),
        "signing": True,
        "watch_mode": "inotify",
        "last_compare": world.now - 2,
        "figures": {},
    }
    shown = document(world.fleet.board, world.fleet.trying.process, Surroundings(**(facts | changed)))
    assert json.loads(canonical.encode(shown)) == shown, "plain values only"
    return shown


def test_a_fleet_at_rest_has_every_field_of_the_contract() -> None:
    shown = status(running())

    assert shown.keys() >= FIELDS
    assert (shown["version"], shown["digest"], shown["state"]) == (1, content("a"), "ok")
    assert (shown["signing"], shown["isolation"], shown["uptime_seconds"]) == ("on", "same-uid", 60.0)
    assert shown["watch"] == {"mode": "inotify", "last_compare_age_seconds": 2.0}
    assert [shown[key] for key in ("rollout", "pending_restart", "drift", "last_rejection")] == [None] * 4


def test_each_worker_has_every_field_of_the_contract() -> None:
    figures = {("gateway-1", 1): Figures(12, 3, 4096)}

    first, second = status(running(), figures=figures)["workers"]

    assert first.keys() >= WORKER_FIELDS
    assert (first["slot"], first["state"], first["version"], first["oldest_snapshot"]) == ("gateway-0", "ready", 1, 1)
    assert first["active_since"] == MOMENT
    assert (second["requests"], second["errors"], second["rss_bytes"]) == (12, 3, 4096)


def test_a_request_that_still_uses_an_older_version_is_seen() -> None:
    world = running()
    world.faults.pinned = {"gateway-1"}

    world.change("b")
    world.settle()

    assert [(one["version"], one["oldest_snapshot"]) for one in status(world)["workers"]] == [(2, 2), (2, 1)]
    assert [one["oldest_snapshot_seconds"] for one in status(world)["workers"]] == [0.0, 0.0], "not told yet"


def says(world: World, oldest: int, *told: float | None, slot: str = "gateway-0") -> dict[str, Any]:
    """Have a worker tell what is in use and what lingers, and return its row."""
    world.post(events.WorkerSaid(Retired(slot, 1, Version(oldest), *told)))  # type: ignore[arg-type]
    world.settle()
    return next(one for one in status(world)["workers"] if one["slot"] == slot)


def notices(world: World) -> list[tuple[str, Any]]:
    told = [one.notice for one in world.effects if isinstance(one, effects.Announce)]
    return [(one.level, one.fields["snapshots"]) for one in told if one.kind == "lingering"]


def test_the_age_of_an_older_version_in_use_is_since_it_was_replaced() -> None:
    world = running()
    world.faults.pinned = {"gateway-0"}
    world.change("b")
    world.settle()
    replaced_at = world.now
    says(world, 1, replaced_at)

    world.elapse(7)

    older = status(world)["workers"][0]
    assert (older["oldest_snapshot"], older["oldest_snapshot_seconds"]) == (1, 7.0)
    newest = says(world, 2, None)
    assert (newest["oldest_snapshot"], newest["oldest_snapshot_seconds"]) == (2, 0.0)


def test_what_lingers_is_shown_with_its_age_and_told_when_it_begins_and_when_it_is_over() -> None:
    world = running()
    first = says(world, 1, None, 1, world.now - 6)
    assert (first["lingering_snapshots"], first["lingering_seconds"]) == (1, 6.0)

    more = says(world, 1, None, 2, world.now - 6)
    over = says(world, 1, None, 0, None)

    assert more["lingering_snapshots"] == 2
    assert (over["lingering_snapshots"], over["lingering_seconds"]) == (0, 0.0)
    assert notices(world) == [("warning", 1), ("info", 0)]
    assert status(world)["state"] == "ok"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ((None, -3, -5.0), (0.0, 0, 0.0)),
        ((1e300, 1, 1e300), (0.0, 1, 0.0)),
        ((-1e300, 1, -1e300), (100.0, 1, 100.0)),
        ((None, 1, None), (0.0, 1, 0.0)),
        ((None, 0, 50.0), (0.0, 0, 0.0)),
    ],
)
def test_times_that_a_worker_makes_up_are_within_what_can_be(
    told: tuple[float | None, ...], shown: tuple[float, int, float]
) -> None:
    world = running()
    world.faults.pinned = {"gateway-0"}
    world.change("b")
    world.settle()
    assert world.now == 100.0

    row = says(world, 1, *told)

    assert (row["oldest_snapshot_seconds"], row["lingering_snapshots"], row["lingering_seconds"]) == shown


def test_the_current_version_has_no_age_whatever_a_worker_says() -> None:
    assert says(running(), 1, 3.0)["oldest_snapshot_seconds"] == 0.0


def test_a_version_on_its_way_is_shown_with_its_phase() -> None:
    world = running()
    world.change("b")
    phases = []
    while world.step():
        rollout = status(world)["rollout"]
        if rollout is not None and rollout["phase"] not in phases:
            phases.append(rollout["phase"])
            assert (rollout["version"], status(world)["state"]) == (2, "rolling")

    assert phases == ["trial", "staging", "canary", "wave"]


def baking() -> World:
    """Return a world in which version 2 bakes in gateway-0, after a trial."""
    world = World(workers=2, given=settings(2, bake=5, trial=True))
    world.begin()
    world.settle()
    world.elapse(30)
    world.change("b")
    world.settle()
    return world


def test_a_canary_is_shown_with_its_slot_and_its_numbers() -> None:
    world = baking()
    world.elapse(2)

    shown = status(world)

    rollout = shown["rollout"]
    assert (rollout["phase"], rollout["kind"], rollout["canary"]) == ("bake", "push", ["gateway-0"])
    assert (rollout["moved"], rollout["total"], rollout["paused_since"]) == (1, 2, None)
    assert rollout["numbers"]["canary_requests"] > 100
    assert [one["version"] for one in shown["workers"]] == [2, 1]
    assert [one["digest"] for one in shown["workers"]] == [content("b"), content("a")]


def test_a_pause_is_shown_with_its_beginning() -> None:
    world = baking()
    world.steer(1, "pause")

    rollout = status(world)["rollout"]

    assert (rollout["phase"], rollout["paused_since"]) == ("paused", "1970-01-01T00:02:10.000Z")


def test_what_was_left_by_an_abort_is_pinned_and_is_drift() -> None:
    world = baking()
    world.steer(1, "abort")
    world.settle()

    shown = status(world)

    assert shown["pinned"] == content("b")
    assert shown["drift"]["reason"] == "pinned"
    assert shown["quarantined"] == []


def test_the_trial_worker_is_shown_beside_the_workers() -> None:
    shown = status(baking())

    assert shown["trial"] == {"state": "ready", "pid": 1002, "version": 1}
    assert [one["slot"] for one in shown["workers"]] == ["gateway-0", "gateway-1"]
    assert status(running())["trial"] is None


def test_a_way_back_is_shown_as_one() -> None:
    world = running(3)
    world.change("b")
    world.until_somebody_serves(2)

    world.lose("gateway-1")
    world.lose("gateway-2")
    phases = []
    while world.step():
        rollout = status(world)["rollout"]
        phases += [] if rollout is None else [(rollout["version"], rollout["phase"])]

    assert (3, "rolling_back") in phases


def test_a_held_change_is_pending_and_is_drift() -> None:
    world = running()
    world.directory.cold = "2"
    world.push(1)
    world.settle()

    shown = status(world)

    assert shown["pending_restart"] == {"keys": [COLD_KEY], "since": MOMENT, "needs": "restart"}
    assert shown["drift"] == {"since": MOMENT, "reason": "held", "keys": [COLD_KEY]}


def test_a_refused_directory_is_drift_with_every_error() -> None:
    world = running()
    world.directory.problems = SYNTAX
    world.push(1)
    world.settle()

    shown = status(world)

    assert shown["drift"] == {"since": MOMENT, "reason": "rejected", "keys": []}
    assert shown["last_rejection"] == {"at": MOMENT, "reason": "rejected", "errors": [str(SYNTAX[0])]}
    assert shown["state"] == "ok"


def test_content_that_failed_is_drift_for_as_long_as_the_directory_holds_it() -> None:
    world = running()
    world.faults.poison[content("bad")] = "refuse"
    world.change("bad")
    world.settle()
    world.elapse(30)

    shown = status(world)
    assert shown["drift"] == {"since": MOMENT, "reason": "quarantined", "keys": []}
    assert "version 2 was refused" in shown["last_rejection"]["errors"][0]
    assert shown["quarantined"][0]["digest"] == content("bad")

    world.change("a")
    world.settle()
    assert status(world)["drift"] is None
    assert status(world)["last_rejection"] is not None


def test_a_slot_whose_worker_keeps_dying_is_in_backoff_and_the_fleet_degraded() -> None:
    world = running()
    world.faults.poison[content("a")] = "start dies"
    world.kill("gateway-1")
    world.settle()

    shown = status(world)

    assert shown["state"] == "degraded"
    waiting = next(one for one in shown["workers"] if one["slot"] == "gateway-1")
    assert (waiting["state"], waiting["pid"], waiting["last_exit"]) == ("backoff", None, "exit code 1")


def test_without_any_worker_that_serves_the_state_is_failed() -> None:
    world = World(workers=1, committed=Committed(Version(3), content("a")))
    world.begin()

    assert status(world)["state"] == "failed"
    assert status(world)["workers"][0]["state"] == "starting"


@pytest.mark.parametrize("busy", ["gateway-0"])
def test_a_worker_that_finishes_its_requests_is_draining(busy: str) -> None:
    world = running()
    world.faults.busy = {busy}
    world.restart(1)
    world.settle()

    states = {(one["slot"], one["incarnation"]): one["state"] for one in status(world)["workers"]}

    assert states[busy, 1] == "draining"
    assert states[busy, 2] == "ready"


def test_what_only_a_new_start_reads_is_said_to_need_one() -> None:
    world = running()
    world.fleet.board.standing = world.fleet.board.standing.seen(1.0, ("supervisor.name",), quarantined=False)

    assert status(world)["pending_restart"]["needs"] == "start"


def test_each_program_says_how_many_of_its_workers_serve_and_where() -> None:
    world = running(3)

    shown = status(world, listening={"gateway": ("127.0.0.1:8080",)}, preloaded=frozenset({"gateway"}))

    (program,) = shown["programs"]
    assert program.keys() == PROGRAM_FIELDS
    assert (program["name"], program["workers"], program["ready"]) == ("gateway", 3, 3)
    assert (program["addresses"], program["preload"]) == (["127.0.0.1:8080"], True)


def test_isolation_is_what_the_shell_says() -> None:
    assert status(running(), isolation="own-uid")["isolation"] == "own-uid"


def test_a_worker_says_since_when_it_is_there_and_serves() -> None:
    world = running()
    world.elapse(9)

    first = status(world)["workers"][0]

    assert first["age_seconds"] >= 9
    assert first["ready_since"] == MOMENT
    assert (first["program"], first["restarts"], first["last_exit"], first["given_up"]) == ("gateway", 0, "", None)


def test_rates_that_nobody_knows_are_null_and_others_are_shown() -> None:
    figures = {("gateway-1", 1): Figures(12, 3, 4096, 7, 2.5, 0.5, 4.0, 12.5, 2048)}

    first, second = status(running(), figures=figures)["workers"]

    names = ("requests_per_second", "errors_per_second", "p99_ms", "cpu_percent", "pss_bytes")
    assert [first[name] for name in names] == [None] * 5
    assert [second[name] for name in names] == [2.5, 0.5, 4.0, 12.5, 2048]


def test_a_worker_that_took_the_place_of_another_says_how_that_one_ended() -> None:
    world = running()
    world.post(events.WorkerExited("gateway-0", 1, "killed by SIGSEGV", clean=False))
    world.elapse(5)
    world.settle()

    first = next(one for one in status(world)["workers"] if one["slot"] == "gateway-0")

    assert (first["state"], first["incarnation"], first["restarts"]) == ("ready", 2, 1)
    assert (first["last_exit"], first["start_failed"]) == ("killed by SIGSEGV", False)
