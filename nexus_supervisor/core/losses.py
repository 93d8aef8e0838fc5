"""What follows in the slots when a process is gone.

Decided here: what is told of it, who is replaced with a worker that died, and when a start is given up. Not decided
here: whether a slot gets another process (``roster.py``, ``restarts.py``), and what a loss says about a version
(``rollout.py``, ``probation.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core import crew_says, restarts
from nexus_supervisor.core.effects import Exit
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.programs import named

if TYPE_CHECKING:
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.roster import Process, Slot
    from nexus_supervisor.core.steering import Steering

__all__ = ["Losses"]


class Losses:
    """Take processes that are gone off the roster."""

    def __init__(self, board: Board, steering: Steering) -> None:
        self._board, self._steering = board, steering
        self._served = False

    def served(self) -> None:
        """Note that a process serves: from now on the last slot of a program is never given up."""
        if not self._served:
            self._served = True
            self._spare()

    def lost(self, process: Process, status: str, now: float, *, clean: bool) -> None:
        """Note that a process is gone; ``clean``: as one that was told to end."""
        board = self._board
        settings = board.settings_of(process)
        slot = board.roster.gone(process, status, now, settings, clean=clean, spare=self._served)
        if slot is None or board.ending is not None:
            return
        if slot.stopped and board.rollout is not None and board.rollout.started(process):
            board.rollout.done |= {slot.name}
        self._tell(slot, restarts.type_of(slot.program, settings), now)
        self._follow(process, slot)

    def _tell(self, slot: Slot, restart: str, now: float) -> None:
        """Tell what comes next in a slot whose process is gone, where that is no new one at once."""
        if slot.failed:
            self._board.announce(crew_says.failed(slot))
        elif slot.stopped:
            self._board.announce(crew_says.stopped(slot, restart))
        elif slot.retry_at is not None and slot.retry_at > now:
            self._board.announce(crew_says.backoff(slot, slot.retry_at - now))

    def _follow(self, dead: Process, slot: Slot) -> None:
        """Have the siblings replaced that go with a worker which died by itself and is started again."""
        rollout = self._board.rollout
        if not dead.live or dead.leaving or not slot.open or (rollout is not None and rollout.slots):
            return
        program = named(self._board.settings.programs, slot.program)
        strategy = "one_for_one" if program is None else program.strategy
        if strategy == "one_for_one":
            return
        for one in self._board.roster.live():
            sibling = one.program == slot.program and one.slot != slot.name and one.slot in self._board.roster.slots
            later = strategy == "one_for_all" or self._board.roster.slots[one.slot].number > slot.number
            if sibling and later and one.life is Life.READY and not one.leaving:
                self._board.roster.leave(one)
                self._board.announce(crew_says.leaves(one, f"{slot.name} died ({strategy})"))

    def give_up(self) -> None:
        """End where nothing has ever served, every slot is given up, and nothing is under way that could mend it."""
        board, slots = self._board, list(self._board.roster.slots.values())
        failed = [one for one in slots if one.failed]
        busy = board.rollout is not None or board.recalls or self._steering.busy
        if self._served or busy or not failed or any(one.open for one in slots):
            return
        last = failed[-1]
        why = f"{last.name} {last.failed.removeprefix('it ')}, and the last time: {last.last_exit}"
        board.ending = Exit(1, f"no worker could be started: {why}")

    def _spare(self) -> None:
        """Try programs again that were given up before anything served."""
        roster = self._board.roster
        for program in {one.program for one in roster.slots.values()}:
            if not any(one.open for one in roster.slots.values() if one.program == program):
                roster.try_again(program)
