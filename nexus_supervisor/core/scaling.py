"""Scaling: more or fewer workers of a program, at once.

Decided here: which numbers are taken, and when. Not decided here: when a slot gets a process (``crew.py``), and how
long a number holds (``board.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core import says, scaling_says
from nexus_supervisor.core.board import Scaled
from nexus_supervisor.core.programs import named

if TYPE_CHECKING:
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.effects import Outcome
    from nexus_supervisor.core.events import ScaleAsked
    from nexus_supervisor.core.programs import Program

__all__ = ["Scaling"]


class Scaling:
    """Change numbers of workers; ``room`` is how many there can be in all, for as long as this supervisor runs."""

    def __init__(self, board: Board, room: int) -> None:
        self._board, self._room = board, room

    def note(self, event: ScaleAsked, now: float) -> None:
        """Take one request, and answer it at once; who is missing is started later, who is too many drains."""
        board = self._board
        program = named(board.settings.programs, event.program)
        wanted = 0 if program is None else self._wanted(event, program)
        refusal = self._refusal(event, program, wanted)
        if refusal is not None or program is None:
            outcome = refusal or scaling_says.unknown(event.program, board.settings.programs)
            board.announce(scaling_says.refused(outcome, event.requester))
            board.answer(event.ticket, outcome)
            return
        before = board.workers(program)
        board.counts[program.name] = Scaled(wanted, program.workers)
        board.resize(now)
        board.roster.try_again(program.name)
        board.announce(scaling_says.scaled(program, before, wanted, event))
        board.answer(event.ticket, scaling_says.accepted(program, before, wanted))

    def _wanted(self, event: ScaleAsked, program: Program) -> int:
        return self._board.workers(program) + event.by if event.workers is None else event.workers

    def _refusal(self, event: ScaleAsked, program: Program | None, wanted: int) -> Outcome | None:
        """Return why a number can't be taken now, or at all; None where it can."""
        board, rollout = self._board, self._board.rollout
        if board.ending is not None:
            return says.stopping()
        if program is None:
            return scaling_says.unknown(event.program, board.settings.programs)
        if rollout is not None and rollout.slots:
            return scaling_says.busy(rollout)
        others = sum(board.workers(one) for one in board.settings.programs if one.name != program.name)
        least = 1 if program.addresses or not others else 0  # nobody would answer who connects: the socket stays open
        if wanted < least:
            return scaling_says.too_few(program, wanted, least)
        if wanted + others > self._room:
            return scaling_says.too_many(program, wanted, others, self._room)
        return None
