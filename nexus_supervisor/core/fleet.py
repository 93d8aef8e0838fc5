"""The fleet: every event comes in here, and every effect goes out.

Decided here: which part of the core hears which event, and in which order facts are compared with what should be. Not
decided here: what the directory leads to (``directory.py``), how content becomes a version (``journeys.py``), what
workers are told (``crew.py``, ``rollout.py``), when an answer is true (``answers.py``), and how anything is done.

``handle`` notes the fact; then ``_drive`` emits what is missing. So the order in which the world reports things decides
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import assert_never

from nexus_supervisor.core import says
from nexus_supervisor.core.answers import Answers
from nexus_supervisor.core.board import Board, slot_names
from nexus_supervisor.core.crew import Crew
from nexus_supervisor.core.directory import Directory
from nexus_supervisor.core.effects import Burn, Effect, Exit
from nexus_supervisor.core.events import (
    Archived,
    BindFailed,
    Bound,
    Candidate,
    CandidateRefused,
    CandidateSeen,
    CommitRecorded,
    Elapsed,
    Event,
    LookFailed,
    PushAsked,
    Recorded,
    RecordFailed,
    RestartAsked,
    Spawned,
    SpawnFailed,
    StopAsked,
    Touched,
    WorkerExited,
    WorkerSaid,
)
from nexus_supervisor.core.history import History
from nexus_supervisor.core.journeys import Journeys
from nexus_supervisor.core.looking import Looking
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind, Phase, Rollout, drain
from nexus_supervisor.core.roster import Roster
from nexus_supervisor.core.settings import Settings

__all__ = ["Fleet"]


class Fleet:
    """Decide everything. One instance, one caller."""

    def __init__(
        self,
        settings: Settings,
        history: History,
        now: float,
        *,
        jitter: Callable[[], float] = lambda: 1.0,
        incarnations: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.board = Board(settings, history, Roster(jitter, incarnations))
        self._answers = Answers(self.board)
        self._journeys = Journeys(self.board, self._answers)
        self._directory = Directory(self.board, Looking(now), self._journeys)
        self._crew = Crew(self.board)

    def begin(self, candidate: Candidate | None, problems: tuple[Problem, ...], now: float) -> list[Effect]:
        """Start on what the directory holds, or on the committed version where that can't be used."""
        board = self.board
        board.roster.resize(slot_names(board.settings))
        if candidate is not None and candidate.digest in board.history.quarantined:
            problems = (says.quarantined(board.history.quarantined[candidate.digest]),)
            candidate = None
        if candidate is None:
            board.announce(says.refused(problems, committed=board.history.version))
            board.standing = board.standing.rejected(now, problems)
            if board.history.committed is None:
                board.emit(Exit(3, "the directory is not valid, and no version was ever committed"))
        elif candidate.digest != board.history.digest:
            first = next(iter(board.roster.slots))
            boot = Rollout(Kind.BOOT, candidate.digest, candidate.settings, slots=(first,), reason="start")
            self._journeys.go(boot, now)
        return self._flush(now)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what to do, in order. Total: every event is legal in every state."""
        self._note(event, now)
        return self._flush(now)

    def deadline(self) -> float | None:
        """Return when to send Elapsed if nothing else happens."""
        times = [self.board.roster.deadline()]
        if self.board.stopping is None:
            times.append(self._directory.looking.deadline(self.board.settings))
        return min((time for time in times if time is not None), default=None)

    def _note(self, event: Event, now: float) -> None:
        match event:
            case Touched() | CandidateSeen() | CandidateRefused() | LookFailed() | PushAsked() | RestartAsked():
                self._directory.note(event, now)
            case Recorded() | CommitRecorded() | RecordFailed() | Bound() | BindFailed():
                self._journeys.note(event)
            case Spawned() | SpawnFailed() | WorkerExited() | WorkerSaid():
                self._crew.note(event, now)
            case Archived():
                self._answers.archived(event)
            case StopAsked():
                self._stop(event, now)
            case Elapsed():
                pass
            case _:
                assert_never(event)

    def _stop(self, event: StopAsked, now: float) -> None:
        """Begin to end, or end now; who still waits is told so."""
        board = self.board
        again, board.stopping = board.stopping is not None, event.requester
        if not again:
            board.announce(says.daemon_stopping(event.requester))
        if again or event.now:
            board.kill(list(board.roster.processes.values()))
        else:
            board.emit(*drain(board.roster, board.roster.live(), now, board.settings))
        for rider in (*self._directory.looking.pending(), *board.riders(), *self._answers.riders()):
            board.answer(rider.ticket, says.stopping())
        self._directory.looking.forget()
        self._answers.clear()
        if board.rollout is not None and board.rollout.recorded and board.rollout.phase is not Phase.COMMITTING:
            board.emit(Burn(board.rollout.version, "stopped"))
        board.rollout = board.waiting = None

    def _flush(self, now: float) -> list[Effect]:
        self._drive(now)
        return self.board.taken()

    def _drive(self, now: float) -> None:
        """Compare facts with what should be, and emit what is missing."""
        board = self.board
        self._crew.fence(now)
        if board.stopping is not None:
            if not board.roster.processes:
                board.emit(Exit(0, board.stopping))
            return
        self._crew.boot(now)
        self._journeys.drive(now)
        self._crew.fill(now)
        self._answers.finish()
        look = self._directory.looking.begin(now, board.settings)
        if look is not None:
            board.emit(look)
