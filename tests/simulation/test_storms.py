"""Storms: edits, deaths, requests and steering at random, with bakes, trials and gates; everything ends, and well."""

from __future__ import annotations

import pytest

from nexus_supervisor.core import events
from tests.support.simulated import SYNTAX, Faults, content, settings
from tests.support.storm import come_through
from tests.support.world import World

POISONS = [
    *("refuse", "stage dies", "activate dies", "activate hangs", "active dies", "silent", "bomb", "slow bomb"),
    *("errors", "hangs", "leaks", "slow", "trial refuses", "trial hangs", "trial dies", "probe fails", "start dies"),
]
VERBS: list[events.Verb] = ["promote", "pause", "resume", "abort"]


def careful(seed: int) -> World:
    """Return a world whose versions are tried, baked and gated; how many workers there are depends on the seed."""
    workers = 1 + seed % 4
    rollout = {"max_pause_seconds": 30, "on_inconclusive": "rollback" if seed % 5 == 0 else "continue"}
    gate = {"command": "true"} if seed % 3 == 0 else {}
    given = settings(workers, bake=2.0, trial=seed % 7 != 0, rollout=rollout, external_gate=gate)
    world = World(seed, workers=workers, given=given)
    world.directory.live["x"] = "1"
    return world


def one_thing(world: World, ticket: int) -> None:  # noqa: C901 - one case for each thing
    """Let one thing happen, drawn at random."""
    dice = world.random
    match dice.randrange(16):
        case 0 | 1 | 2:
            world.change(dice.choice("abcdef"))
        case 3 | 4:
            world.change("bad")
        case 5:
            world.kill(dice.choice(["gateway-0", "gateway-1", "gateway-2", "trial"]))
        case 6:
            world.push(ticket, now=dice.random() < 0.3, force=dice.random() < 0.3, push_id=dice.choice(["", "p"]))
        case 7:
            world.restart(ticket)
        case 8:
            world.rollback(ticket, dice.choice([None, 1, 2, 3]))
        case 9 | 10:
            world.steer(ticket, dice.choice(VERBS))
        case 11:
            world.directory.live.pop("x", None)
            world.touch()
        case 12:
            world.directory.live["x"] = "1"
            world.touch()
        case 13:
            world.directory.problems = SYNTAX
            world.touch()
        case 14:
            world.faults.gate = dice.choice(["", "", "refuses", "silent"])
            world.faults.quiet = dice.random() < 0.3
        case _:
            world.elapse(dice.choice([0.2, 1.0, 3.0, 12.0]))


@pytest.mark.parametrize("seed", range(80))
def test_a_careful_fleet_comes_to_rest_on_what_the_directory_holds_whatever_happens(seed: int) -> None:
    world = careful(seed)
    come_through(world, POISONS, lambda ticket: one_thing(world, ticket))
    world.change("z")
    world.settle()
    world.elapse(400)

    if world.exit is None:
        world.check_rest()
        assert world.digests() == {content("z+x" if "x" in world.directory.live else "z")}
        assert len(world.workers) == len(world.fleet.board.roster.slots)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_gone_is_revoked_at_once_whatever_bakes_is_paused_pinned_or_held(seed: int) -> None:
    world = careful(seed)
    world.begin()
    world.settle()
    for ticket in range(30):
        if world.random.random() < 0.1:
            world.directory.cold = world.random.choice(["", "2"])
        one_thing(world, ticket)
        for _ in range(world.random.randrange(8)):
            world.step()
    world.faults = Faults()
    world.settle()
    world.elapse(100)
    world.directory.problems = ()
    world.directory.live["x"] = "1"
    world.change("y")
    world.settle()
    world.elapse(20)
    assert world.exit is not None or world.digests() <= {content("y+x"), content("y+x!2")}
    world.change("w")
    world.settle()
    chosen: list[events.Verb | None] = [None, "pause", "abort"]
    verb = world.random.choice(chosen)
    if verb is not None:
        world.steer(1_000, verb)
    world.settle()
    before = world.now

    world.directory.live.pop("x")
    if world.random.random() < 0.5:
        world.directory.problems = SYNTAX
    world.post(events.Touched(None, urgent=True))
    world.settle()

    assert world.now == before
    assert not [one for one in world.digests() if "+x" in one], "no time passes before what is gone is revoked"
