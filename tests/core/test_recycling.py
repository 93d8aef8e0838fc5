"""Recycling: who is due, who goes when, and when it would help nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.programs import ProgramSpec
from tests.support.simulated import settings
from tests.support.world import World, running

if TYPE_CHECKING:
    from nexus_supervisor.core.notices import Notice


def recycling(workers: int = 3, *, quiet: bool = True, more: dict[str, Any] | None = None, **bounds: float) -> World:
    """Return a fleet at rest; the random numbers of a simulated fleet are all 1, so half of the jitter counts."""
    world = running(given=settings(workers, recycle={"jitter": 0, **bounds}, **(more or {})))
    world.faults.quiet = quiet
    return world


def told(world: World, kind: str) -> list[Notice]:
    return [notice for notice in world.notices if notice.kind == kind]


def incarnations(world: World) -> list[int]:
    return [one.incarnation for one in sorted(world.workers.values(), key=lambda one: one.slot)]


def test_nobody_is_recycled_without_a_bound() -> None:
    world = recycling()

    world.elapse(100_000)

    assert incarnations(world) == [1, 1, 1]


def test_old_workers_go_one_after_the_other_and_each_has_its_replacement_first() -> None:
    world = recycling(max_age_seconds=600)
    serving: list[int] = []
    world.heard = lambda _: serving.append(sum(1 for one in world.workers.values() if one.serving))

    world.elapse(599)
    assert told(world, "slot_recycled") == []
    world.elapse(2)
    assert incarnations(world) in ([1, 1, 2], [1, 2, 1], [2, 1, 1])
    world.elapse(20)

    assert incarnations(world) == [2, 2, 2]
    assert [notice.fields["reason"] for notice in told(world, "slot_recycled")] == ["max_age_seconds"] * 3
    assert min(serving) == 3
    world.check_rest()


def test_requests_wear_a_worker_out() -> None:
    world = recycling(max_requests=10_000, quiet=False)
    world.rates = {"gateway-0": 0.0, "gateway-2": 0.0}

    world.elapse(106)

    assert incarnations(world) == [1, 2, 1]
    assert "max_requests is 10000" in told(world, "slot_recycled")[0].text


def test_memory_wears_a_worker_out() -> None:
    world = recycling(max_rss_mb=300)
    world.elapse(100)
    world.workers["gateway-1", 1].megabytes = 301

    world.elapse(10)

    assert incarnations(world) == [1, 2, 1]
    assert "it has 301 MB of memory, and supervisor.recycle.max_rss_mb is 300" in told(world, "slot_recycled")[0].text


def test_jitter_lowers_a_bound() -> None:
    world = recycling(max_age_seconds=1_000, jitter=0.4)

    world.elapse(799)
    assert told(world, "slot_recycled") == []
    world.elapse(2)

    assert len(told(world, "slot_recycled")) == 1


def test_nobody_is_recycled_while_a_version_is_on_its_way() -> None:
    world = recycling(max_age_seconds=60, more={"rollout": {"bake_seconds": 100, "quiet_bake_seconds": 100}})
    world.elapse(50)
    world.change("b")
    world.settle()

    world.elapse(90)
    assert told(world, "slot_recycled") == []
    world.elapse(120)

    assert len(told(world, "slot_recycled")) >= 3
    world.check_rest()


def test_nobody_is_recycled_where_fewer_are_ready_than_should_be() -> None:
    world = recycling(max_age_seconds=60, more={"min_ready": 3, "restart": {"max_restarts": 10_000}})
    world.elapse(50)
    world.faults.spawns = True
    world.lose("gateway-1")
    world.settle()

    world.elapse(5)
    assert len(world.workers) == 2
    world.elapse(300)
    assert told(world, "slot_recycled") == []
    world.faults.spawns = False
    world.elapse(120)

    assert len(told(world, "slot_recycled")) >= 2


def test_one_worker_alone_is_recycled_too() -> None:
    world = recycling(1, max_age_seconds=60)

    world.elapse(66)

    assert incarnations(world) == [2]


def test_a_replacement_that_can_not_be_started_leaves_the_worker_serving() -> None:
    world = recycling(max_age_seconds=60)
    world.faults.spawns = True

    world.elapse(100)
    assert incarnations(world) == [1, 1, 1]
    assert all(one.serving for one in world.workers.values())
    world.faults.spawns = False
    world.elapse(200)

    assert min(incarnations(world)) > 1


def test_each_program_has_one_on_the_way() -> None:
    programs = tuple(ProgramSpec(name, "hello", workers=2) for name in ("web", "work"))
    given = settings(recycle={"jitter": 0, "max_age_seconds": 60})
    world = running(given=replace(given, supervisor=replace(given.supervisor, declared=programs)))

    world.elapse(61)

    assert sorted(str(notice.fields["slot"])[:-2] for notice in told(world, "slot_recycled")) == ["web", "work"]


def test_a_bound_that_a_fresh_worker_is_over_is_told_once_and_passed_over() -> None:
    world = recycling(max_rss_mb=50)

    world.elapse(10_000)

    assert incarnations(world) == [1, 1, 1]
    assert [notice.fields["program"] for notice in told(world, "recycling_off")] == ["gateway"]
    assert "Set supervisor.recycle.max_rss_mb above what a fresh worker has" in told(world, "recycling_off")[0].text


@pytest.mark.parametrize("soon", [True, False])
def test_a_bound_that_workers_come_to_right_after_their_start_ends_after_a_few(soon: bool) -> None:
    world = recycling(1, max_rss_mb=300)

    for _ in range(20):
        world.elapse(10 if soon else 100)
        for worker in world.workers.values():
            worker.megabytes = 301
    world.elapse(20)

    assert len(told(world, "recycling_off")) == soon
    assert len(told(world, "slot_recycled")) == (2 if soon else 20)


def test_a_bound_that_was_passed_over_counts_again_when_it_is_changed() -> None:
    world = recycling(max_rss_mb=50)
    world.elapse(20)
    assert len(told(world, "recycling_off")) == 1

    world.settings = world.directory.settings = settings(recycle={"jitter": 0, "max_rss_mb": 200})
    world.change("b")
    world.settle()
    world.workers["gateway-2", 1].megabytes = 201
    world.elapse(10)

    assert incarnations(world) == [1, 1, 2]
    assert len(told(world, "recycling_off")) == 1


def test_a_stop_ends_what_is_on_the_way() -> None:
    world = recycling(max_age_seconds=60)
    world.elapse(61)

    world.post(events.StopAsked("me", now=False))
    world.settle()

    assert world.exit == 0
    assert not any(isinstance(one, effects.Kill) and one.slot != "trial" for one in world.effects)
