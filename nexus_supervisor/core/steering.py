"""Steering: what operators do to a running rollout, and how the fleet goes back to older content.

Decided here: when a rollout may be promoted, paused, resumed or aborted, and how a version that was committed is gone
back from, by command or because it is condemned. Not decided here: how a version moves (``moving.py``) and which deaths
condemn one (``probation.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from nexus_supervisor.core import directory_says, says, steering_says
from nexus_supervisor.core.effects import End, Outcome, Recall
from nexus_supervisor.core.events import Recalled, RollbackAsked, SteerAsked
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.requests import NOBODY
from nexus_supervisor.core.rollout import NO_VERSION, Kind, Rollout
from nexus_supervisor.core.roster import NEVER

if TYPE_CHECKING:
    from nexus_supervisor.core.answers import Answers
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.events import Candidate, Verb
    from nexus_supervisor.core.journeys import Journeys
    from nexus_supervisor.core.roster import Process

__all__ = ["Steering"]

_AUTOMATIC = "nexus-supervisor"
_READ_SECONDS = 30.0
"""How long an older version may take to be read from the disk, besides the looks of a compiler before and at it."""


class Steering:
    """Steer rollouts, and go back."""

    def __init__(self, board: Board, answers: Answers, journeys: Journeys) -> None:
        self._board, self._answers, self._journeys = board, answers, journeys
        self._tickets = 0
        self._recalling: int | None = None
        self._recalled_by = NEVER

    def deadline(self) -> float | None:
        """Return when an older version has to have been read; None where none is."""
        return None if self._recalling is None else self._recalled_by

    @property
    def busy(self) -> bool:
        """Say whether an older version is being read."""
        return self._recalling is not None

    def note(self, event: SteerAsked | RollbackAsked | Recalled, now: float) -> None:
        """Take one event."""
        match event:
            case SteerAsked():
                self._steer(event, now)
            case RollbackAsked():
                self._rollback_asked(event)
            case Recalled():
                self._recalled(event, now)
            case _:
                assert_never(event)

    # --- the running rollout -------------------------------------------------------------------------------------

    def _steer(self, event: SteerAsked, now: float) -> None:
        rollout = self._board.rollout
        if rollout is None or not self._may(event.verb, rollout):
            self._board.answer(event.ticket, steering_says.nothing_to(event.verb, rollout))
            return
        match event.verb:
            case "promote":
                rollout.promoted, rollout.paused_since = True, None
                self._board.announce(steering_says.promoted(rollout, event.requester))
            case "pause":
                rollout.paused_since = now if rollout.paused_since is None else rollout.paused_since
                self._board.announce(steering_says.paused(rollout, event.requester))
            case "resume":
                rollout.paused_since = None
                self._board.announce(steering_says.resumed(rollout, event.requester))
            case "abort":
                why = f": {event.reason}" if event.reason else ""
                rollout.fail(f"{event.requester} aborted it{why}", blamed=False, aborted=True)
            case _:
                assert_never(event.verb)
        self._board.answer(event.ticket, steering_says.accepted(event.verb, rollout))

    @staticmethod
    def _may(verb: Verb, rollout: Rollout) -> bool:
        """Say whether a rollout can be steered so: a revocation and a way back never."""
        return rollout.steerable and (verb != "resume" or rollout.paused_since is not None)

    # --- going back ----------------------------------------------------------------------------------------------

    def _rollback_asked(self, event: RollbackAsked) -> None:
        if self._board.ending is not None:
            self._board.answer(event.ticket, says.stopping())
        elif self._board.rollout is not None or self._board.recalls:
            self._board.answer(event.ticket, steering_says.busy(self._board.rollout))
        else:
            self._board.recalls.append(event)

    def condemn(self, process: Process, status: str, now: float) -> None:
        """Note an unwanted death; where it condemns the committed version, go back to the content before it."""
        board = self._board
        settings = board.settings.supervisor.rollout
        reason = board.probation.died(process, status, now, settings)
        committed, previous = board.history.committed, board.history.previous
        if not reason or committed is None or board.ending is not None:
            return
        if previous is None or not board.probation.may_return(now, settings):
            board.probation.end()
            board.announce(steering_says.condemned(committed.version, reason, back=False))
            return
        board.announce(steering_says.condemned(committed.version, reason, back=True))
        board.probation.end()
        board.probation.returned(now)
        verdict = steering_says.verdict(committed.version, reason)
        board.emit(End(committed.version, "condemned", verdict, ""))
        board.condemned = (committed.digest, verdict)
        board.recalls.append(RollbackAsked(NOBODY, previous.version, verdict, _AUTOMATIC))

    def drive(self, now: float) -> None:
        """Have the next older version read, where one is wanted and nothing in the way is as urgent."""
        board = self._board
        if self._recalling is not None and now >= self._recalled_by:
            late = Problem("compiled", 0, "", "internal", "it could not be read in time: look at the disk")
            self._recalled(Recalled(self._recalling, NO_VERSION, None, (late,)), now)
        if self._recalling is None and board.recalls and self._may_begin(board.recalls[0]):
            self._tickets += 1
            self._recalling = self._tickets
            patience = board.settings.supervisor.limits.compile_timeout_seconds
            self._recalled_by = now + 2 * patience + _READ_SECONDS
            board.emit(Recall(self._tickets, board.recalls[0].version))

    def _may_begin(self, asked: RollbackAsked) -> bool:
        """Say whether what is on its way gives way: to who asked what is pushed, to a condemnation all but another."""
        running = self._board.rollout
        if running is None or not running.yields:
            return running is None
        return not running.automatic if self._is_automatic(asked) else running.kind is Kind.PUSH

    @staticmethod
    def _is_automatic(asked: RollbackAsked) -> bool:
        return asked.ticket == NOBODY

    def _recalled(self, event: Recalled, now: float) -> None:
        if self._recalling != event.ticket:
            return
        self._recalling, candidate, recalls = None, event.candidate, self._board.recalls
        if not recalls or (candidate and candidate.base != self._board.base) or not self._may_begin(recalls[0]):
            return  # nobody waits any more, or it has to be read again
        asked = recalls.pop(0)
        if candidate is None:
            self._refused(asked, event.problems)
        elif candidate.digest in self._board.history.quarantined:
            reason = self._board.history.quarantined[candidate.digest]
            self._refused(asked, (directory_says.quarantined(reason),))
        else:
            self._return(asked, event, candidate, now)

    def _return(self, asked: RollbackAsked, event: Recalled, candidate: Candidate, now: float) -> None:
        automatic = self._is_automatic(asked)
        if candidate.digest == self._board.history.digest:
            self._board.condemned = None
            outcome = steering_says.already(event.version, self._board.history.version, candidate.held)
            if self._board.doubt:
                outcome = says.live(self._board.history.version, self._board.active_count(), (), self._board.doubt)
            if automatic:
                self._answer(asked, outcome)
            else:
                self._answers.close(asked, outcome)
            return
        back = Rollout(
            Kind.RETURN,
            candidate.digest,
            candidate.settings,
            candidate.base,
            riders=(asked,),
            reason=asked.reason,
            requester=asked.requester,
            rollback_of=event.version,
            held=candidate.held,
            automatic=automatic,
        )
        self._journeys.go_before(back, f"going back: {asked.reason or 'somebody asked for it'}", now)

    def _refused(self, asked: RollbackAsked, problems: tuple[Problem, ...]) -> None:
        if self._is_automatic(asked):
            self._board.condemned = None
        self._answer(asked, steering_says.refused(asked.version, problems))

    def _answer(self, asked: RollbackAsked, outcome: Outcome) -> None:
        """Answer who asked; where nobody did, what is in the way is announced."""
        if self._is_automatic(asked):
            self._board.announce(steering_says.no_way_back(asked.version, outcome.text))
        else:
            self._board.answer(asked.ticket, outcome)
