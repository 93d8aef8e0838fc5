"""Several programs with everything at once: edits, restarts, scaling, recycling, silence, deaths and clean ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.simulated import settings
from tests.support.storm import come_through
from tests.support.world import World

if TYPE_CHECKING:
    from nexus_supervisor.core import events
    from nexus_supervisor.core.settings import Settings

POISONS = ["refuse", "activate dies", "active dies", "silent", "bomb", "start dies", "hangs", "errors"]
VERBS: list[events.Verb] = ["promote", "pause", "resume", "abort"]
STRATEGIES = ["one_for_one", "rest_for_one", "one_for_all"]
PROGRAMS = ["web", "jobs", "once"]


def given(seed: int, *, strategy: str = "one_for_all") -> Settings:
    """Return settings with a program of each restart type."""
    tables = [
        {"name": "web", "program": "gateway", "workers": 1 + seed % 3, "strategy": STRATEGIES[seed % 3]},
        {"name": "jobs", "program": "hello", "workers": 2, "restart": "transient", "strategy": strategy},
        {"name": "once", "program": "hello", "workers": 1, "restart": "temporary"},
    ]
    return settings(
        program=tables,
        bake=2.0 if seed % 2 else 0.0,
        trial=seed % 5 == 0,
        rollout={"max_pause_seconds": 30},
        recycle={"max_age_seconds": 20, "max_rss_mb": 400},
        liveness={"timeout_seconds": 5.0, "max_request_seconds": 10.0},
    )


def somebody(world: World) -> str | None:
    """Return the slot of a process, drawn at random."""
    slots = sorted({slot for slot, _ in world.workers})
    return world.random.choice(slots) if slots else None


def one_thing(world: World, ticket: int, seed: int) -> None:  # noqa: C901 - one case for each thing
    """Let one thing happen, drawn at random."""
    dice, slot = world.random, somebody(world)
    match dice.randrange(16):
        case 0 | 1:
            world.change(dice.choice("abc"))
        case 2:
            world.change("bad")
        case 3 | 4:
            world.directory.cold = dice.choice(["", "2"])
            world.directory.settings = given(seed, strategy=dice.choice(STRATEGIES))
            world.restart(ticket, force=dice.random() < 0.5)
        case 5 if slot is not None:
            world.kill(slot)
        case 6 if slot is not None:
            world.finish(slot)
        case 7 if slot is not None:
            world.lose(slot)
        case 8 | 9:
            world.scale(ticket, dice.randrange(4), dice.choice(PROGRAMS))
        case 10 if slot is not None:
            frozen = next(one for key, one in sorted(world.workers.items()) if key[0] == slot)
            frozen.frozen_at, frozen.stopped = world.now, dice.random() < 0.5
        case 11 if slot is not None:
            next(one for key, one in sorted(world.workers.items()) if key[0] == slot).megabytes = 500.0
        case 12:
            world.rollback(ticket, dice.choice([None, 1, 2]))
        case 13:
            world.steer(ticket, dice.choice(VERBS))
        case _:
            world.elapse(dice.choice([0.2, 1.0, 6.0, 25.0]))


@pytest.mark.parametrize("seed", range(60))
def test_several_programs_come_to_rest_whatever_happens_to_them_at_once(seed: int) -> None:
    world = World(seed, given=given(seed))
    come_through(world, POISONS, lambda ticket: one_thing(world, ticket, seed))
    world.restart(1_000, force=True)
    world.settle()
    world.elapse(400)

    if world.exit is None:
        world.check_rest()
        board = world.fleet.board
        assert not [one for one in board.roster.slots.values() if one.failed], "a commit has what failed tried again"
        waiting = {name for name, slot in board.roster.slots.items() if slot.open}
        assert {slot for slot, _ in world.workers} == waiting, "who is to have a process has one"
        leaving = [one for one in board.roster.live() if one.leaving]
        assert len(leaving) <= len(board.settings.programs), "at most one of each program is replaced at a time"
