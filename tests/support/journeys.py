"""A roster whose workers serve version 1, and a journey to version 2, for the parts of the core on their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nexus_supervisor.core.board import Board
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.history import Committed, History
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.meters import Meters
from nexus_supervisor.core.moving import Moving
from nexus_supervisor.core.rollout import Kind, Phase, Rollout
from nexus_supervisor.core.roster import Roster
from nexus_supervisor.core.trying import Trying
from tests.support.simulated import content, settings

if TYPE_CHECKING:
    from nexus_supervisor.core.effects import Effect

__all__ = ["NEW", "OLD", "SETTINGS", "answer", "drive", "fleet", "journey"]

SETTINGS = settings(rollout={"max_parallel": 2, "stage_timeout_seconds": 10, "activate_timeout_seconds": 5})
OLD, NEW = Version(1), Version(2)


def fleet(count: int = 3) -> Roster:
    """Return processes that serve version 1."""
    roster = Roster(lambda: 1.0, {})
    roster.resize([f"s{number}" for number in range(count)])
    for number in range(count):
        process = roster.add(f"s{number}", number, 0.0, SETTINGS, None)
        known = replace(process, life=Life.READY, booted=True, told=OLD, active=OLD, ready_since=0.0)
        roster.put(replace(known, digest=content("a")))
    return roster


def journey(kind: Kind = Kind.PUSH, *slots: str, phase: Phase = Phase.STAGING) -> Rollout:
    """Return a journey to version 2."""
    return Rollout(kind, content("b"), SETTINGS, slots=slots, version=NEW, serial=7, phase=phase)


def answer(roster: Roster, slot: str, **facts: object) -> None:
    """Note something of the newest process of a slot."""
    newest = list(roster.of(slot))[-1]
    roster.put(replace(newest, **facts))  # type: ignore[arg-type]


def drive(rollout: Rollout, roster: Roster, now: float = 0.0) -> list[Effect]:
    """Let the processes move; return what they are sent."""
    board = Board(SETTINGS, History(OLD, Committed(OLD, content("a"))), roster)
    Moving(board, Trying(board, lambda: 1.0, {}), Meters(now)).drive(rollout, now)
    return board.taken()
