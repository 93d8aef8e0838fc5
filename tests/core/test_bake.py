"""When a bake ends: never while nobody can say whether the canary still serves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexus_supervisor.core.bake import Bake, Course
from nexus_supervisor.core.health import Judgement
from nexus_supervisor.core.options import RolloutSettings
from nexus_supervisor.core.waves import Kind, plan

SETTINGS = RolloutSettings()
PLAN = plan(Kind.PUSH, SETTINGS)
HEALTHY = Judgement("healthy", "errors 0 of 80 against 0 of 300 in the other workers", {})


@pytest.mark.parametrize("verdict", ["healthy", "inconclusive"])
def test_a_bake_does_not_end_while_a_serving_loop_is_silent(verdict: str) -> None:
    bake, silent = Bake(0.0, 2.0), replace(HEALTHY, verdict=verdict, silent=True)  # type: ignore[arg-type]
    assert bake.turn(2.0, silent, PLAN, SETTINGS, paused=False).course is Course.WAIT
    assert bake.deadline(paused=False) is None  # readings come ten times a second, and each one is looked at


def test_a_bake_ends_as_soon_as_the_loop_turns_again() -> None:
    bake = Bake(0.0, 2.0)
    bake.turn(2.0, replace(HEALTHY, silent=True), PLAN, SETTINGS, paused=False)
    assert bake.turn(2.1, HEALTHY, PLAN, SETTINGS, paused=False).course is Course.GO


def test_a_bake_that_waits_for_a_silent_loop_ends() -> None:
    bake = Bake(0.0, 2.0)
    silent = replace(HEALTHY, silent=True)
    assert bake.turn(31.9, silent, PLAN, SETTINGS, paused=False).course is Course.WAIT
    assert bake.turn(32.0, silent, PLAN, SETTINGS, paused=False).course is Course.FAIL


def test_a_bake_fails_when_the_silence_is_too_long() -> None:
    bake = Bake(0.0, 2.0)
    bake.turn(2.0, replace(HEALTHY, silent=True), PLAN, SETTINGS, paused=False)
    unhealthy = Judgement("unhealthy", "its serving loop has been silent for 1.1 s", {}, silent=True)
    assert bake.turn(2.6, unhealthy, PLAN, SETTINGS, paused=False).course is Course.FAIL


def test_a_bake_that_was_made_longer_is_looked_at_when_it_ends() -> None:
    few = Judgement("inconclusive", "0 requests, and a verdict needs 20", {})
    bake = Bake(0.0, 2.0)
    bake.ask_probes(["gateway-0"], 12.0)
    assert bake.deadline(paused=False) == 12.0
    bake.probed("gateway-0", "none", "")
    assert bake.turn(2.0, few, PLAN, SETTINGS, paused=False).course is Course.WAIT
    assert bake.deadline(paused=False) == PLAN.quiet_bake_seconds
    assert bake.turn(PLAN.quiet_bake_seconds, few, PLAN, SETTINGS, paused=False).course is Course.GO_SINGLY


def test_a_probe_is_not_waited_for_where_its_process_was_scaled_away() -> None:
    few = Judgement("inconclusive", "0 requests, and a verdict needs 20", {})
    bake = Bake(0.0, 2.0)
    bake.ask_probes(["gateway-0", "gateway-1"], 12.0)
    bake.probed("gateway-0", "passed", "")

    bake.only(["gateway-0"])

    assert bake.turn(13.0, few, PLAN, SETTINGS, paused=False).course is Course.GO
