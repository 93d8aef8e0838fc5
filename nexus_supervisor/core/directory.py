"""What the directory holds, and what follows from it.

Decided here: when a verdict counts, who is answered at once, and which content is offered. Not decided here: when to
look (``looking.py``) and how an offered content becomes a version (``journeys.py``).
"""

from __future__ import annotations

from typing import assert_never

from nexus_supervisor.core import says
from nexus_supervisor.core.board import Board
from nexus_supervisor.core.events import (
    Candidate,
    CandidateRefused,
    CandidateSeen,
    LookFailed,
    PushAsked,
    RestartAsked,
    Touched,
)
from nexus_supervisor.core.journeys import Journeys
from nexus_supervisor.core.looking import Looking, Rider
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind

__all__ = ["Directory"]

Verdict = Touched | CandidateSeen | CandidateRefused | LookFailed | PushAsked | RestartAsked


class Directory:
    """Turn verdicts into offers."""

    def __init__(self, board: Board, looking: Looking, journeys: Journeys) -> None:
        self._board = board
        self.looking = looking
        self._journeys = journeys

    def note(self, event: Verdict, now: float) -> None:
        """Take one event about the directory."""
        match event:
            case Touched():
                self.looking.touched(event.hints, now, self._board.settings, urgent=event.urgent)
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
        if self._board.stopping is not None:
            self._board.answer(event.ticket, says.stopping())
        elif event.expect is not None and event.expect != self._board.history.version:
            self._board.answer(event.ticket, says.unexpected(event.expect, self._board.history.version))
        else:
            self.looking.asked(event, now)

    def _restart_asked(self, event: RestartAsked, now: float) -> None:
        if self._board.stopping is not None:
            self._board.answer(event.ticket, says.stopping())
        elif any(isinstance(one, RestartAsked) for one in (*self.looking.pending(), *self._board.riders())):
            self._board.answer(event.ticket, says.already_restarting())
        else:
            self.looking.asked(event, now)

    def _seen(self, event: CandidateSeen, now: float) -> None:
        ended = self.looking.ended(event.ticket)
        if ended is None:
            return
        look, riders = ended
        candidate = event.candidate
        if candidate.base != self._board.history.digest and (candidate.held or candidate.blocked):
            self._look_again(riders, now)
            return
        self.looking.settled()
        until = self.looking.grace(candidate.gone, now, self._board.settings)
        if until is not None and not riders:
            self.looking.wait_until(until, look.hints)
            return
        self._note_standing(candidate, now)
        restart = next((one for one in riders if isinstance(one, RestartAsked)), None)
        if restart is not None:
            self._journeys.restart(candidate, restart, now)
        else:
            self._journeys.offer(Kind.PUSH, candidate.digest, candidate.settings, riders, now)

    def _refused(self, event: CandidateRefused, now: float) -> None:
        ended = self.looking.ended(event.ticket)
        if ended is None:
            return
        look, riders = ended
        if event.base != self._board.history.digest:
            self._look_again(riders, now)
            return
        patient = event.unstable and self.looking.again(now, hints=look.hints)
        until = self.looking.grace(event.gone, now, self._board.settings)
        if until is not None and not riders:
            self.looking.wait_until(until, look.hints)
            return
        if patient:
            self._ride_again(riders, now)
            riders = ()
        elif self._board.standing.refusing != event.problems:
            tell = (
                says.unstable(event.problems)
                if event.unstable
                else says.refused(event.problems, committed=self._board.history.version)
            )
            self._board.announce(tell)
            self._board.standing = self._board.standing.rejected(now, event.problems)
        self._revoke(event, riders, now)

    def _revoke(self, event: CandidateRefused, riders: tuple[Rider, ...], now: float) -> None:
        """Let revocations go although the rest is refused; answer those who asked."""
        outcome = says.rejected(event.problems, event.gone)
        if event.revoked is not None and event.settings is not None:
            self._journeys.offer(Kind.REVOCATION, event.revoked, event.settings, riders, now, problems=event.problems)
            return
        if event.gone:
            self._board.announce(says.still_live(event.gone, event.remains))
        for rider in riders:
            self._board.answer(rider.ticket, outcome)

    def _look_failed(self, event: LookFailed, now: float) -> None:
        ended = self.looking.ended(event.ticket)
        if ended is None:
            return
        problems = (Problem(".", 0, "", "internal", event.reason),)
        self.looking.again(now)
        if self._board.standing.refusing != problems:
            self._board.announce(says.compiler_died(event.reason))
            self._board.standing = self._board.standing.rejected(now, problems)
        for rider in ended[1]:
            self._board.answer(rider.ticket, says.rejected(problems, ()))

    def _look_again(self, riders: tuple[Rider, ...], now: float) -> None:
        """Look once more: the verdict was reached against content that no longer runs."""
        self.looking.again(now)
        self._ride_again(riders, now)

    def _ride_again(self, riders: tuple[Rider, ...], now: float) -> None:
        for rider in riders:
            self.looking.asked(rider, now)

    def _note_standing(self, candidate: Candidate, now: float) -> None:
        if candidate.held and candidate.held != self._board.standing.held_keys:
            self._board.announce(says.held(candidate.held, candidate.blocked))
        self._board.standing = self._board.standing.seen(now, candidate.held)
