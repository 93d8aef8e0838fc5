"""A storm: things that happen to a simulated world at random, one after the other, until it is calm again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.simulated import Faults, content

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.world import World

__all__ = ["come_through"]

BAD = content("bad")
THINGS = 60


def come_through(world: World, poisons: Sequence[str], one_thing: Callable[[int], None]) -> None:
    """Begin, let things happen of which each has a ticket, with a poisoned content among them, and then calm down."""
    world.begin()
    world.settle()
    world.faults.poison = {BAD: world.random.choice(poisons)}
    world.faults.chance = world.random.choice([0.3, 1.0])

    for ticket in range(THINGS):
        one_thing(ticket)
        for _ in range(world.random.randrange(8)):
            world.step()
    world.settle()
    under_way = world.fleet.board.rollout
    if under_way is not None:
        world.elapse(400)
        assert world.fleet.board.rollout is not under_way, "every rollout ends"

    world.faults = Faults()
    world.bombs.clear()
    world.directory.problems = ()
    world.settle()
    world.elapse(100)  # who died or hangs is not to be blamed on what comes now
