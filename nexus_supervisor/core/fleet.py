"""The fleet: every event comes in here, and every effect goes out.

Decided here: which part of the core hears which event, and in which order facts are compared with what should be. Not
decided here: what the directory leads to (``directory.py``), how content becomes a version (``journeys.py``), what
workers are told (``crew.py``, ``rollout.py``), when an answer is true (``answers.py``), and how anything is done.

``handle`` notes the fact; then ``_drive`` emits what is missing. So the order in which the world reports things decides
nothing.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from nexus_supervisor.core import says
from nexus_supervisor.core.answers import Answers
from nexus_supervisor.core.board import Board, slot_names
from nexus_supervisor.core.crew import Crew
from nexus_supervisor.core.directory import Directory
from nexus_supervisor.core.effects import Adopt, Burn, Effect, Exit
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
from nexus_supervisor.core.journeys import Journeys
from nexus_supervisor.core.looking import Looking
from nexus_supervisor.core.rollout import Kind, Phase, Rollout, drain
from nexus_supervisor.core.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nexus_supervisor.core.history import History
    from nexus_supervisor.core.problems import Problem
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
        fallback: Settings | None = None,
    ) -> None:
        self.board = Board(settings, history, Roster(jitter, incarnations), fallback)
        self._looking = Looking(now)
        self._answers = Answers(self.board)
        self._journeys = Journeys(self.board, self._answers, self._looking)
        self._directory = Directory(self.board, self._looking, self._journeys)
        self._crew = Crew(self.board)
        self._left = False

    def begin(self, candidate: Candidate | None, problems: tuple[Problem, ...], now: float) -> list[Effect]:
        """Start on what the directory holds, or on the committed version where that can't be used."""
        board = self.board
        board.roster.resize(slot_names(board.settings))
        failed = None if candidate is None else board.history.quarantined.get(candidate.digest)
        if failed is not None and board.history.committed is not None:
            again = says.quarantined(failed)
            board.announce(says.refused((again,), committed=board.history.version))
            board.standing = board.standing.failed(now, again, "rejected", "quarantined")
        elif candidate is None:
            board.announce(says.refused(problems, committed=board.history.version))
            board.standing = board.standing.rejected(now, problems)
            if board.history.committed is None:
                board.ending = Exit(3, "the directory is not valid, and no version was ever committed")
        elif candidate.digest == board.history.digest:
            board.emit(Adopt(candidate.digest))
        else:
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
        board = self.board
        times = [board.roster.deadline()]
        if board.ending is None:
            alone = None if board.rollout is None else board.rollout.alone_until
            times += [board.roster.retry(), alone, self._looking.deadline(board.settings)]
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
        again = board.ending is not None
        if not again:
            board.ending = Exit(0, event.requester)
            board.announce(says.daemon_stopping(event.requester))
        if again or event.now:
            board.kill(list(board.roster.processes.values()))
        else:
            board.emit(*drain(board.roster, board.roster.live(), now, board.settings))
        if board.rollout is not None and board.rollout.recorded and board.rollout.phase is not Phase.COMMITTING:
            board.emit(Burn(board.rollout.version, "stopped"))
        self._journeys.end(says.stopping())

    def _flush(self, now: float) -> list[Effect]:
        self._drive(now)
        return self.board.taken()

    def _drive(self, now: float) -> None:
        """Compare facts with what should be, and emit what is missing."""
        board = self.board
        self._crew.fence(now)
        if board.ending is None:
            self._crew.boot(now)
            self._journeys.drive(now)
        if board.ending is None:
            self._crew.fill(now)
            self._answers.finish()
            self._look(now)
        elif not board.roster.processes and not self._left:
            self._left = True
            board.emit(board.ending)

    def _look(self, now: float) -> None:
        """Have the directory looked at, if that is due; content of a verdict that is under way is not forgotten."""
        if self.board.untidy and not self._looking.busy:
            self._journeys.keep()
        look = self._looking.begin(now, self.board.settings)
        if look is not None:
            self.board.emit(look)
