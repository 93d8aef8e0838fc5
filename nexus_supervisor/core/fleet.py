"""The fleet: every event comes in here, and every effect goes out.

Decided here: which part of the core hears which event, and in which order facts are compared with what should be. Not
decided here: what the directory leads to (``directory.py``), how content becomes a version (``journeys.py``,
``moving.py``, ``endings.py``), what operators do to it (``steering.py``), what workers are told (``crew.py``,
``trying.py``), when an answer is true (``answers.py``), and how anything is done.

``handle`` notes the fact; then ``_drive`` emits what is missing. So the order in which the world reports things decides
nothing.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from nexus_supervisor.core import directory_says, says, upgrading
from nexus_supervisor.core.answers import Answers
from nexus_supervisor.core.board import Board
from nexus_supervisor.core.crew import Crew
from nexus_supervisor.core.directory import Directory
from nexus_supervisor.core.effects import Adopt, Burn, Effect, Exit, Measure
from nexus_supervisor.core.endings import Endings, boot
from nexus_supervisor.core.events import (
    Archived,
    Candidate,
    CandidateRefused,
    CandidateSeen,
    CommitRecorded,
    Elapsed,
    Event,
    GateEnded,
    LookFailed,
    Measured,
    Prepared,
    PrepareFailed,
    PushAsked,
    Recalled,
    Recorded,
    RecordFailed,
    Rehearsed,
    RestartAsked,
    RollbackAsked,
    ScaleAsked,
    Spawned,
    SpawnFailed,
    SteerAsked,
    StopAsked,
    Touched,
    UpgradeAsked,
    UpgradeFailed,
    WorkerExited,
    WorkerSaid,
)
from nexus_supervisor.core.journeys import Journeys
from nexus_supervisor.core.liveness import Liveness, reading_seconds
from nexus_supervisor.core.looking import Looking
from nexus_supervisor.core.meters import Meters
from nexus_supervisor.core.moving import Moving
from nexus_supervisor.core.programs import MAX_WORKERS
from nexus_supervisor.core.recycling import Recycling
from nexus_supervisor.core.rollout import Phase
from nexus_supervisor.core.roster import Roster
from nexus_supervisor.core.scaling import Scaling
from nexus_supervisor.core.steering import Steering
from nexus_supervisor.core.trying import TRIAL_SLOT, Trying
from nexus_supervisor.core.upgrading import Upgrading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nexus_supervisor.core.handover import HandedFleet
    from nexus_supervisor.core.history import History
    from nexus_supervisor.core.problems import Problem
    from nexus_supervisor.core.requests import Answered
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
        answered: Mapping[str, Answered] = MappingProxyType({}),
        room: int = MAX_WORKERS,
    ) -> None:
        self.board = Board(settings, history, Roster(jitter, incarnations), fallback, answered=answered)
        self._looking = Looking(now)
        self._answers = Answers(self.board)
        self._meters = Meters(now)
        self.trying = Trying(self.board, jitter, incarnations)
        moving = Moving(self.board, self.trying, self._meters)
        endings = Endings(self.board, self._answers, self._looking, self.trying)
        self._journeys = Journeys(self.board, self._answers, self._looking, self.trying, moving, endings)
        self._steering = Steering(self.board, self._answers, self._journeys)
        self._scaling = Scaling(self.board, room)
        self._directory = Directory(self.board, self._looking, self._answers, self._journeys)
        self._crew = Crew(self.board, self._steering)
        self._liveness = Liveness(self.board, self._meters, self._crew.strike)
        self._recycling = Recycling(self.board, self._meters, jitter)
        self._upgrading = Upgrading(self.board, self._looking, self._answers, self._steering, self.trying)
        self._left = False

    def begin(
        self,
        candidate: Candidate | None,
        problems: tuple[Problem, ...],
        now: float,
        *,
        rest: Candidate | None = None,
    ) -> list[Effect]:
        """Start on what the directory holds, or on the committed version where that can't be used.

        ``rest`` is the committed content less the entries that no file has any more, where there are any.
        """
        board = self.board
        board.resize(now)
        history = board.history
        if history.version is not None and history.previous is not None and history.proving is not None:
            board.probation.begin(history.version, now - history.proving)
        board.wanted = None if candidate is None else candidate.wanted
        usable = candidate if self._is_usable(candidate, problems, now) else rest
        if board.ending is None and usable is not None and usable.digest != board.history.digest:
            board.rest = rest if usable is candidate else None
            self._journeys.go(boot(usable, board.roster), now)
        elif board.ending is None and usable is not None:
            board.emit(Adopt(usable.digest))
        return self._flush(now)

    def resume(self, handed: HandedFleet, now: float) -> list[Effect]:
        """Go on with the workers of another supervisor: they serve what is committed, and nothing is under way."""
        board, history = self.board, self.board.history
        upgrading.take(handed, board)
        board.resize(now)
        self._answers.resume()
        self._crew.resume()
        if history.digest is not None:
            board.emit(Adopt(history.digest))
        return self._flush(now)

    def _is_usable(self, candidate: Candidate | None, problems: tuple[Problem, ...], now: float) -> bool:
        """Say whether the directory can be started on; where it can't, tell why."""
        board, history = self.board, self.board.history
        if candidate is None:
            board.announce(directory_says.refused(problems, committed=history.version))
            board.standing = board.standing.rejected(now, problems)
            if history.committed is None:
                board.ending = Exit(3, "the directory is not valid, and no version was ever committed")
            return False
        failed = history.quarantined.get(candidate.digest)
        if history.committed is None or (failed is None and candidate.wanted != history.pinned):
            return True
        if failed is None:
            board.announce(directory_says.pinned())
            board.standing = board.standing.seen(now, (), quarantined=False, pinned=True)
        else:
            again = directory_says.quarantined(failed)
            board.announce(directory_says.refused((again,), committed=history.version))
            board.standing = board.standing.failed(now, again, "rejected", "quarantined")
        return False

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what to do, in order. Total: every event is legal in every state."""
        self._note(event, now)
        return self._flush(now)

    @property
    def is_busy(self) -> bool:
        """Say whether a verdict on the directory, a rollout or an answer is under way."""
        board = self.board
        under_way = board.rollout is not None or board.waiting is not None or bool(board.recalls)
        return under_way or self._looking.expected or bool(self._answers.riders())

    def deadline(self) -> float | None:
        """Return when to send Elapsed if nothing else happens."""
        board = self.board
        times = [board.roster.deadline(), self.trying.deadline(), self._liveness.deadline()]
        if board.ending is None:
            times += [board.roster.retry(), self._steering.deadline(), self._upgrading.deadline()]
            times.append(None if self._is_closed else self._looking.deadline(board.settings))
            times.append(self._meters.deadline(baking=self._is_baking, every=self._every))
            if board.rollout is not None:
                times.append(board.rollout.deadline(board.settings))
        return min((time for time in times if time is not None), default=None)

    @property
    def _every(self) -> float:
        """Return how often workers are read, in seconds."""
        return reading_seconds(self.board.settings.supervisor.liveness)

    @property
    def _is_baking(self) -> bool:
        return self.board.rollout is not None and self.board.rollout.phase is Phase.BAKE

    def _note(self, event: Event, now: float) -> None:  # noqa: C901, PLR0912 - one line for each part
        if self._upgrading.pending and isinstance(event, PushAsked | RestartAsked | RollbackAsked | ScaleAsked):
            self._upgrading.turn_away(event)
            return
        if isinstance(event, PushAsked | RestartAsked | RollbackAsked):
            known = self.board.requests.take(event)
            if known is not None:
                self.board.emit(*known)
                return
        match event:
            case Touched() | CandidateSeen() | CandidateRefused() | LookFailed() | PushAsked() | RestartAsked():
                self._directory.note(event, now)
            case Recorded() | CommitRecorded() | RecordFailed() | Prepared() | PrepareFailed() | GateEnded():
                self._journeys.note(event)
            case SteerAsked() | RollbackAsked() | Recalled():
                self._steering.note(event, now)
            case ScaleAsked():
                self._scaling.note(event, now)
            case UpgradeAsked() | Rehearsed() | UpgradeFailed():
                self._upgrading.note(event, now)
            case Measured():
                self._meters.note(event.readings, now)
            case Spawned() | SpawnFailed() | WorkerExited() if event.slot == TRIAL_SLOT:
                self.trying.note(event, now)
            case WorkerSaid() if event.message.slot == TRIAL_SLOT:
                self.trying.note(event, now)
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
        if event.dump:
            board.dump(list(board.roster.processes.values()), now)
        elif again or event.now:
            board.kill(list(board.roster.processes.values()))
        else:
            board.drain(board.roster.live(), now)
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
        self._liveness.drive(now)
        if board.ending is None:
            self._crew.boot(now)
            self._journeys.drive(now)
            self._steering.drive(now)
            self._crew.losses.give_up()
        self.trying.drive(now)
        if board.ending is None:
            if not self._upgrading.pending:
                self._recycling.drive(now)
            self._crew.relieve(now)
            self._crew.fill(now)
            self._answers.finish()
            self._look(now)
            self._measure(now)
        elif not board.roster.processes and self.trying.gone and not self._left:
            self._left = True
            board.emit(board.ending)
        self._upgrading.drive(now)

    @property
    def _is_closed(self) -> bool:
        """Say whether the directory is left alone just now: an upgrade is about to happen, and nobody waits for it."""
        return self._upgrading.pending and not self._looking.pending()

    def _measure(self, now: float) -> None:
        """Have every worker's counters read, if that is due."""
        if now >= self._meters.deadline(baking=self._is_baking, every=self._every):
            self._meters.asked(now, self._every)
            self.board.emit(Measure())

    def _look(self, now: float) -> None:
        """Have the directory looked at, if that is due; content of a verdict that is under way is not forgotten."""
        if self.board.untidy and not self._looking.busy and not self._steering.busy:
            self._journeys.keep()
        look = None if self._is_closed else self._looking.begin(now, self.board.settings)
        if look is not None:
            self.board.emit(look)
