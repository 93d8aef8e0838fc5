"""Upgrading: when the supervisor may hand itself over to newer code, and what waits meanwhile.

Decided here: the moment at which nothing is under way that could not be handed over, and how long that is waited for.
Not decided here: what crosses (``handover.py``), how the new code is tried and takes over (``supervisor/upgrade.py``).

While it waits nothing new begins: who asks for a change is told to ask again, the directory is looked at afterwards,
and no healthy worker is replaced. A worker that dies is started again as always.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, assert_never

from nexus_supervisor.core import says, upgrade_says
from nexus_supervisor.core.board import Scaled
from nexus_supervisor.core.effects import Answer, HandOver, Outcome, Rehearse
from nexus_supervisor.core.events import Rehearsed, UpgradeAsked, UpgradeFailed
from nexus_supervisor.core.handover import HandedCount, HandedFleet
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.roster import NEVER
from nexus_supervisor.errors import ConflictError

if TYPE_CHECKING:
    from nexus_supervisor.core.answers import Answers
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.events import PushAsked, RestartAsked, RollbackAsked, ScaleAsked
    from nexus_supervisor.core.looking import Looking
    from nexus_supervisor.core.steering import Steering
    from nexus_supervisor.core.trying import Trying

__all__ = ["Upgrading", "give", "take"]


class _Step(Enum):
    NONE = 0
    WAITING = 1
    REHEARSING = 2
    REHEARSED = 3
    LEAVING = 4


class Upgrading:
    """Wait for the moment, have the new code tried, then leave to it."""

    def __init__(self, board: Board, looking: Looking, answers: Answers, steering: Steering, trying: Trying) -> None:
        self._board, self._looking, self._answers = board, looking, answers
        self._steering, self._trying = steering, trying
        self._step = _Step.NONE
        self._tickets: list[int] = []
        self._until = NEVER

    @property
    def pending(self) -> bool:
        """Say whether the supervisor is about to be handed over: nothing new begins then."""
        return self._step is not _Step.NONE

    def deadline(self) -> float | None:
        """Return when waiting is over."""
        return self._until if self._step in (_Step.WAITING, _Step.REHEARSED) else None

    def note(self, event: UpgradeAsked | Rehearsed | UpgradeFailed, now: float) -> None:
        """Take one event."""
        match event:
            case UpgradeAsked():
                self._ask(event, now)
            case Rehearsed(failure=failure) if self._step is _Step.REHEARSING:
                if failure:
                    self._fail(upgrade_says.failed(failure))
                else:
                    self._step = _Step.REHEARSED
            case Rehearsed():
                pass
            case UpgradeFailed():
                self._fail(upgrade_says.failed(event.reason))
            case _:
                assert_never(event)

    def turn_away(self, event: PushAsked | RestartAsked | RollbackAsked | ScaleAsked) -> None:
        """Answer who asks for a change meanwhile; nothing of that is remembered, so the same may be asked again."""
        self._board.emit(Answer(event.ticket, upgrade_says.about_to()))

    def drive(self, now: float) -> None:
        """Go on where nothing is in the way any more; give up where that takes too long."""
        if not self.pending:
            return
        if self._board.ending is not None:
            self._fail(says.stopping())
            return
        if self._step in (_Step.REHEARSING, _Step.LEAVING):
            return
        hindrance = self._hindrance()
        if hindrance and now >= self._until:
            self._fail(upgrade_says.late(hindrance))
        elif hindrance:
            return
        elif self._step is _Step.WAITING:
            self._step = _Step.REHEARSING
            self._board.emit(Rehearse())
        else:
            self._step = _Step.LEAVING
            self._board.announce(upgrade_says.leaving())
            self._trying.renew()
            self._board.emit(HandOver())

    def _ask(self, event: UpgradeAsked, now: float) -> None:
        if self._board.ending is not None:
            self._board.answer(event.ticket, says.stopping())
            return
        self._tickets.append(event.ticket)
        if not self.pending:
            self._step = _Step.WAITING
            self._until = now + self._board.settings.supervisor.limits.upgrade_timeout_seconds
            self._board.announce(upgrade_says.asked(event))

    def _fail(self, outcome: Outcome) -> None:
        """Go on as if nothing had been."""
        self._step, self._until = _Step.NONE, NEVER
        tickets, self._tickets = self._tickets, []
        self._board.announce(upgrade_says.went_on(outcome))
        for ticket in tickets:
            self._board.answer(ticket, outcome)

    def _hindrance(self) -> str:
        """Return what is under way that can't be handed over, "" where nothing is."""
        board, trial = self._board, self._trying.process
        running = board.rollout or board.waiting
        written = board.history.committed is not None and board.archived == board.history.version
        hindrances = {
            upgrade_says.rollout(running): running is not None,
            "an older version is being read": bool(board.recalls) or self._steering.busy,
            "the directory is being looked at": self._looking.busy or bool(self._looking.pending()),
            "the committed version is being written to compiled/": not written,
            f"the committed version may be unknown to a new start ({board.doubt})": bool(board.doubt),
            "somebody waits until no request uses an older version": bool(self._answers.riders()),
            "the trial worker is being started": trial is not None and trial.pid is None,
        }
        return next((text for text, there in hindrances.items() if there), "") or self._restless()

    def _restless(self) -> str:
        """Return which process is about to become something else, "" where all just serve."""
        for process in self._board.roster.processes.values():
            if process.life is not Life.READY or process.leaving or process.activating or process.deadline != NEVER:
                return f"{process.slot} is {'leaving' if process.leaving else process.life.value}"
        return ""


def give(board: Board) -> HandedFleet:
    """Return what another fleet needs to go on: every process serves, and nothing is under way."""
    roster, history = board.roster, board.history
    if history.version is None or history.digest is None:
        message = "nothing is committed"
        raise ConflictError(message)
    incarnations, pushes = roster.counted
    return HandedFleet(
        version=history.version,
        digest=history.digest,
        slots=tuple(roster.slots.values()),
        processes=tuple(replace(one, purpose=None, deadline=0.0) for one in roster.processes.values()),
        incarnations=incarnations,
        pushes=pushes,
        counts=tuple(HandedCount(name, one.workers, one.instead_of) for name, one in board.counts.items()),
        standing=board.standing,
        wanted=board.wanted,
        probation=board.probation.handed(),
    )


def take(handed: HandedFleet, board: Board) -> None:
    """Go on where another fleet was. No process was started by a rollout of this one, and none owes an answer."""
    processes = [replace(one, deadline=NEVER) for one in handed.processes]
    board.roster.resume(handed.slots, processes, handed.incarnations, handed.pushes)
    board.counts = {one.program: Scaled(one.workers, one.instead_of) for one in handed.counts}
    board.standing, board.wanted = handed.standing, handed.wanted
    board.probation.resume(handed.probation)
