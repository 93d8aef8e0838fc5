"""What the directory holds, and what follows from it.

Decided here: when a verdict counts, who is answered at once, which content is offered, and what is revoked without the
rest. Not decided here: when to look (``looking.py``), what keeps content from going live (``cases.py``) and how an
offered content becomes a version (``journeys.py``).

What is gone from the files is revoked by itself, ahead of everything else that changed, where the rest has to be
watched first or can't go at all. The rest then waits behind it and is judged anew once that is committed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from nexus_supervisor.core import directory_says, says
from nexus_supervisor.core.cases import Case, Cases
from nexus_supervisor.core.events import (
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
    from nexus_supervisor.core.answers import Answers
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.content import Digest
    from nexus_supervisor.core.events import Candidate
    from nexus_supervisor.core.journeys import Journeys
    from nexus_supervisor.core.looking import Flight, Looking
    from nexus_supervisor.core.requests import Rider
    from nexus_supervisor.core.shape import Shape

__all__ = ["Directory"]

_MOST_DIGESTS = 64
"""Of so many contents of the directory it is remembered what of them could go live."""

Verdict = Touched | CandidateSeen | CandidateRefused | LookFailed | PushAsked | RestartAsked


class Directory:
    """Turn verdicts into offers."""

    def __init__(self, board: Board, looking: Looking, answers: Answers, journeys: Journeys) -> None:
        self._board = board
        self._looking = looking
        self._answers = answers
        self._journeys = journeys
        self._cases = Cases(board)
        self._digests: dict[Digest, Digest] = {}
        self._pin_told = board.history.pinned  # a start tells of the one that it finds

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

    # --- requests ----------------------------------------------------------------------------------------------------

    def _push_asked(self, event: PushAsked, now: float) -> None:
        version = self._board.history.version
        if self._board.ending is not None:
            self._board.answer(event.ticket, says.stopping())
        elif event.expect is not None and event.expect != version:
            self._board.answer(event.ticket, directory_says.unexpected(event.expect, version))
        else:
            self._looking.asked(event, now)

    def _restart_asked(self, event: RestartAsked, now: float) -> None:
        if self._board.ending is not None:
            self._board.answer(event.ticket, says.stopping())
        elif any(isinstance(one, RestartAsked) for one in (*self._looking.pending(), *self._board.riders())):
            self._board.answer(event.ticket, directory_says.already_restarting())
        else:
            self._looking.asked(event, now)

    # --- a valid directory -------------------------------------------------------------------------------------------

    def _ended(self, ticket: int, base: Digest, shape: Shape, now: float) -> Flight | None:
        """Return the look whose verdict this is; None where it doesn't count: late, or against what no longer runs."""
        flight = self._looking.ended(ticket)
        if flight is None:
            return None
        if base != self._board.base:
            self._looking.stale(flight, now)
            return None
        if self._board.rollout is not None and self._board.rollout.kind is Kind.BOOT:
            self._looking.later(flight.riders, now)  # what a start brings is not yet what is compared with
            return None
        self._cases.learn(base, shape, now)
        return flight

    def _seen(self, event: CandidateSeen, now: float) -> None:
        candidate = event.candidate
        flight = self._ended(event.ticket, candidate.base, candidate.shape, now)
        if flight is None:
            return
        self._looking.settled()
        if self._looking.grace(candidate.gone, flight, now, self._board.settings):
            return
        self._board.wanted = candidate.wanted
        self._board.standing = self._board.standing.gone(candidate.gone)
        self._remember_failure(candidate)
        case = self._cases.seen(candidate, flight)
        self._note_pin(case)
        self._note_standing(case, now)
        self._apply(case, now)

    def _remember_failure(self, candidate: Candidate) -> None:
        """Quarantine what failed before also where nothing but an entry that runs was taken away from it since."""
        history = self._board.history
        before = (self._digests[one] for one in candidate.lessens if one in self._digests)
        failed = next((one for one in before if one in history.quarantined), None)
        if failed is not None and candidate.digest not in (*history.quarantined, self._board.base):
            self._board.quarantine(candidate.digest, history.quarantined[failed])
        self._digests.pop(candidate.wanted, None)
        self._digests[candidate.wanted] = candidate.digest
        while len(self._digests) > _MOST_DIGESTS:
            del self._digests[next(iter(self._digests))]

    def _note_pin(self, case: Case) -> None:
        """Have the directory applied by itself again where it changed or somebody pushes it, or tell that it is not."""
        history, wanted = self._board.history, case.candidate.wanted
        if history.pinned is None:
            return
        if case.woken or not (case.asleep or case.refusals or case.failed):
            self._board.announce(directory_says.unpinned(pushed=not case.woken))
            self._board.pin(None)
            self._pin_told = None
        elif history.pinned != wanted:  # an entry was taken away: who does that says nothing about the rest
            self._board.pin(wanted)
            self._pin_told = wanted
        elif self._pin_told != wanted:
            self._pin_told = wanted
            self._board.announce(directory_says.pinned())

    def _note_standing(self, case: Case, now: float) -> None:
        board, candidate = self._board, case.candidate
        held = board.standing.held_keys if case.whole else candidate.held
        if held and held != board.standing.held_keys:
            board.announce(directory_says.held(held, candidate.blocked))
        if case.refusals:
            board.standing = board.standing.guarded(now, held, case.refusals)
        elif case.whole and not case.asleep:
            board.standing = board.standing.whole()
        else:
            board.standing = board.standing.seen(now, held, quarantined=case.failed, pinned=case.asleep)

    def _apply(self, case: Case, now: float) -> None:
        """Revoke what is gone, and offer the rest or answer that it can't go."""
        revocation, rest = self._revocation(case), None
        if case.refusals:
            self._turn_away(case, revoked=revocation is not None, now=now)
        elif case.asleep:
            rest = self._same_again(case, revocation, now)
        elif case.failed:
            self._journeys.offer(self._offer(case), now)
        elif revocation is not None and (case.bare or case.candidate.blocked):
            revocation.riders, revocation.wanted = case.riders, case.candidate.wanted
        else:
            rest = self._offer(case)
        if revocation is not None and not self._is_early(revocation, rest):
            self._journeys.revoke(revocation, now)
        if rest is not None:
            self._journeys.offer(rest, now)

    def _is_early(self, revocation: Rollout, rest: Rollout | None) -> bool:
        """Say whether a revocation is under way already, or would have to wait in the place of the rest.

        The rest is judged anew when its turn comes, and the revocation with it.
        """
        if rest is not None:
            return not self._journeys.may_give_way
        running = self._board.rollout
        same = running is not None and (running.kind, running.digest) == (Kind.REVOCATION, revocation.digest)
        return same and not revocation.riders

    def _revocation(self, case: Case) -> Rollout | None:
        """Return what is gone as a candidate of its own; None where nothing is, or where it goes with the rest."""
        candidate, board = case.candidate, self._board
        watched = board.settings.supervisor.rollout.bake_seconds or self._is_held_up(candidate)
        if not candidate.gone or not (watched or case.woken or case.bare or not case.free):
            return None
        if candidate.revoked is None or case.stops:
            self._answers.still_live(candidate.gone, case.stops or candidate.remains or candidate.blocked)
            return None
        settings = candidate.revoked_settings or board.settings
        return Rollout(Kind.REVOCATION, candidate.revoked, settings, candidate.base, gone=candidate.gone)

    def _is_held_up(self, candidate: Candidate) -> bool:
        """Say whether a candidate would wait for another rollout, or for the end of a pause."""
        running = self._board.rollout
        return running is not None and (running.digest != candidate.digest or running.paused_since is not None)

    def _turn_away(self, case: Case, *, revoked: bool, now: float) -> None:
        """Answer that a guard refuses it; who only came along with a restart is judged without what it would apply."""
        riders = case.riders
        along = [one for one in riders if case.whole and not isinstance(one, RestartAsked)]
        if along:
            self._looking.ride_again(along, now)
            riders = tuple(one for one in riders if isinstance(one, RestartAsked))
        stay = () if revoked else case.candidate.gone
        self._journeys.refuse(riders, directory_says.rejected(case.refusals, stay), now)

    def _same_again(self, case: Case, revocation: Rollout | None, now: float) -> Rollout | None:
        """Return a restart of what runs: what is pinned isn't applied by a restart.

        What runs is not known while something is on its way, or about to be; it is asked for again afterwards.
        """
        board = self._board
        if case.whole and (revocation is not None or board.rollout is not None):
            self._looking.later(case.riders, now)
        elif case.whole:
            return Rollout(Kind.RESTART, board.base, board.settings, board.base, riders=case.riders)
        return None

    def _offer(self, case: Case) -> Rollout:
        candidate, kind = case.candidate, Kind.RESTART if case.whole else Kind.PUSH
        offered = Rollout(kind, candidate.digest, candidate.settings, candidate.base, riders=case.riders)
        return replace(offered, gone=candidate.gone, wanted=candidate.wanted)

    # --- a directory that is not valid -------------------------------------------------------------------------------

    def _refused(self, event: CandidateRefused, now: float) -> None:
        flight = self._ended(event.ticket, event.base, event.shape, now)
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
        why = self._cases.refused(event, flight.riders)
        if event.revoked is not None and event.settings is not None and not why:
            known = replace(event, doubtful=doubtful)
            self._revoke_beside(known, Rollout(Kind.REVOCATION, event.revoked, event.settings, event.base), riders, now)
            return
        stay = (*event.gone, *doubtful)
        self._answers.still_live(stay, why or event.remains)
        if not patient:
            self._journeys.refuse(riders, directory_says.rejected((*event.problems, *why), stay), now)

    def _revoke_beside(
        self, event: CandidateRefused, revocation: Rollout, riders: tuple[Rider, ...], now: float
    ) -> None:
        """Revoke what is gone from a directory that is not valid; tell of what nobody can know to be gone."""
        board = self._board
        board.standing = board.standing.gone((*event.gone, *event.doubtful))
        known = board.standing.still_live
        if not set(event.doubtful) <= set(known):
            self._answers.still_live((*known, *event.doubtful), ())
        facts = replace(revocation, riders=riders, gone=event.gone, problems=event.problems)
        if not self._is_early(facts, None):
            self._journeys.revoke(facts, now)

    def _note_refusal(self, event: CandidateRefused, now: float) -> None:
        """Tell people, once for each set of problems."""
        problems = event.problems
        if self._board.standing.refusing != problems:
            refused = directory_says.refused(problems, committed=self._board.history.version)
            self._board.announce(directory_says.unstable(problems) if event.unstable else refused)
        self._board.standing = self._board.standing.rejected(now, problems)

    def _look_failed(self, event: LookFailed, now: float) -> None:
        flight = self._looking.ended(event.ticket)
        if flight is None:
            return
        problems = (Problem(".", 0, "", "internal", event.reason),)
        self._looking.again(replace(flight, riders=()), now, self._board.settings)
        if self._board.standing.refusing != problems:
            self._board.announce(directory_says.compiler_died(event.reason))
            self._board.standing = self._board.standing.rejected(now, problems)
        for rider in flight.riders:
            self._board.answer(rider.ticket, directory_says.undecided(event.reason))
