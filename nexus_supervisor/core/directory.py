"""What the directory holds, and what follows from it.

Decided here: when a verdict counts, who is answered at once, and which content is offered. Not decided here: when to
look (``looking.py``) and how an offered content becomes a version (``journeys.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from nexus_supervisor.core import says
from nexus_supervisor.core.events import (
    Candidate,
    CandidateRefused,
    CandidateSeen,
    LookFailed,
    PushAsked,
    RestartAsked,
    Touched,
)
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind, Rollout

if TYPE_CHECKING:
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.content import Digest
    from nexus_supervisor.core.journeys import Journeys
    from nexus_supervisor.core.looking import Flight, Looking, Rider

__all__ = ["Directory"]

Verdict = Touched | CandidateSeen | CandidateRefused | LookFailed | PushAsked | RestartAsked


class Directory:
    """Turn verdicts into offers."""

    def __init__(self, board: Board, looking: Looking, journeys: Journeys) -> None:
        self._board = board
        self._looking = looking
        self._journeys = journeys

    def note(self, event: Verdict, now: float) -> None:
        """Take one event about the directory."""
        match event:
            case Touched():
                self._looking.touched(event.hints, now, self._board.settings, urgent=event.urgent)
            case PushAsked():
                self._push_asked(event, now)
            case RestartAsked():
                self._restart_asked(event, now)
            case CandidateSeen():
                self._seen(event, now)
            case CandidateRefused():
                self._refused(event, now)
            case LookFailed():
                self._look_failed(event, now)
            case _:
                assert_never(event)

    def _push_asked(self, event: PushAsked, now: float) -> None:
        if self._board.ending is not None:
            self._board.answer(event.ticket, says.stopping())
        elif event.expect is not None and event.expect != self._board.history.version:
            self._board.answer(event.ticket, says.unexpected(event.expect, self._board.history.version))
        else:
            self._looking.asked(event, now)

    def _restart_asked(self, event: RestartAsked, now: float) -> None:
        if self._board.ending is not None:
            self._board.answer(event.ticket, says.stopping())
        elif any(isinstance(one, RestartAsked) for one in (*self._looking.pending(), *self._board.riders())):
            self._board.answer(event.ticket, says.already_restarting())
        else:
            self._looking.asked(event, now)

    def _ended(self, ticket: int, base: Digest, now: float) -> Flight | None:
        """Return the look whose verdict this is; None where it doesn't count: late, or against what no longer runs."""
        flight = self._looking.ended(ticket)
        if flight is None or base == self._board.base:
            return flight
        self._looking.stale(flight, now)
        return None

    def _seen(self, event: CandidateSeen, now: float) -> None:
        candidate = event.candidate
        flight = self._ended(event.ticket, candidate.base, now)
        if flight is None:
            return
        self._looking.settled()
        if self._looking.grace(candidate.gone, flight, now, self._board.settings):
            return
        if not flight.look.bare:
            self._board.standing = self._board.standing.gone(candidate.gone)
        if flight.look.whole:
            self._board.standing = self._board.standing.whole()
        elif not flight.look.bare:
            self._note_standing(candidate, now)
        if candidate.gone and candidate.digest == self._board.base:
            self._journeys.still_live(candidate.gone, candidate.blocked)
        kind = Kind.REVOCATION if flight.look.bare or (candidate.blocked and candidate.gone) else Kind.PUSH
        self._offer(Kind.RESTART if flight.look.whole else kind, candidate, flight.riders, now)

    def _offer(self, kind: Kind, candidate: Candidate, riders: tuple[Rider, ...], now: float) -> None:
        offered = Rollout(
            kind, candidate.digest, candidate.settings, candidate.base, riders=riders, gone=candidate.gone
        )
        self._journeys.offer(offered, now)

    def _refused(self, event: CandidateRefused, now: float) -> None:
        flight = self._ended(event.ticket, event.base, now)
        if flight is None:
            return
        patient = event.unstable and self._looking.again(flight, now, self._board.settings)
        if not event.unstable:
            self._looking.settled()
        if self._looking.grace(event.gone, flight, now, self._board.settings):
            return
        if not patient:
            self._note_refusal(event, now)
        riders, doubtful = ((), ()) if patient else (flight.riders, event.doubtful)
        if event.revoked is not None and event.settings is not None:
            self._board.standing = self._board.standing.gone((*event.gone, *doubtful))
            known = self._board.standing.still_live
            if not set(doubtful) <= set(known):
                self._journeys.still_live((*known, *doubtful), ())
            revocation = Rollout(Kind.REVOCATION, event.revoked, event.settings, event.base)
            self._journeys.offer(replace(revocation, riders=riders, gone=event.gone, problems=event.problems), now)
            return
        stay = (*event.gone, *doubtful)
        self._journeys.still_live(stay, event.remains)
        if not patient:
            self._journeys.refuse(riders, says.rejected(event.problems, stay), now)

    def _note_refusal(self, event: CandidateRefused, now: float) -> None:
        """Tell people, once for each set of problems."""
        problems = event.problems
        if self._board.standing.refusing != problems:
            refused = says.refused(problems, committed=self._board.history.version)
            self._board.announce(says.unstable(problems) if event.unstable else refused)
        self._board.standing = self._board.standing.rejected(now, problems)

    def _look_failed(self, event: LookFailed, now: float) -> None:
        flight = self._looking.ended(event.ticket)
        if flight is None:
            return
        problems = (Problem(".", 0, "", "internal", event.reason),)
        self._looking.again(replace(flight, riders=()), now, self._board.settings)
        if self._board.standing.refusing != problems:
            self._board.announce(says.compiler_died(event.reason))
            self._board.standing = self._board.standing.rejected(now, problems)
        for rider in flight.riders:
            self._board.answer(rider.ticket, says.undecided(event.reason))

    def _note_standing(self, candidate: Candidate, now: float) -> None:
        board = self._board
        if candidate.held and candidate.held != board.standing.held_keys:
            board.announce(says.held(candidate.held, candidate.blocked))
        failed = candidate.digest in board.history.quarantined
        board.standing = board.standing.seen(now, candidate.held, quarantined=failed)
