"""Cases: what keeps content of the directory from going live.

Decided here: whether a candidate is suspicious, pinned, or failed before, whether what is gone can be revoked by
itself, and that people are told of a suspicion once. Not decided here: what follows (``directory.py``), and which
shapes are suspicious (``guards.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nexus_supervisor.core import directory_says
from nexus_supervisor.core.events import Candidate, CandidateRefused, PushAsked, RestartAsked
from nexus_supervisor.core.guards import Breach, Guards
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.requests import Rider
from nexus_supervisor.core.rollout import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.content import Digest
    from nexus_supervisor.core.looking import Flight
    from nexus_supervisor.core.settings import GuardSettings
    from nexus_supervisor.core.shape import Shape

__all__ = ["Case", "Cases"]


@dataclass(frozen=True, slots=True)
class Case:
    """Hold a valid verdict, who waits for it, and why it can't go as it is.

    ``refusals`` are those of the guards. ``stops`` say why what is gone can't be revoked by itself. ``asleep``: it is
    pinned, and nobody pushes it; ``woken``: what was pinned has changed. ``failed``: it is quarantined, and nobody has
    it tried again.
    """

    candidate: Candidate
    riders: tuple[Rider, ...]
    whole: bool
    asleep: bool
    woken: bool
    failed: bool
    refusals: tuple[Problem, ...]
    stops: tuple[Problem, ...]

    @property
    def free(self) -> bool:
        """Say whether all of it can go now."""
        return not (self.refusals or self.asleep or self.failed or self.candidate.blocked)

    @property
    def bare(self) -> bool:
        """Say whether it is about nothing but entries that are gone."""
        return bool(self.candidate.gone) and not self.whole and self.candidate.digest == self.candidate.revoked


class Cases:
    """Judge verdicts one after the other."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._guards = Guards()

    def learn(self, base: Digest, shape: Shape, now: float) -> None:
        """Learn from a verdict what runs. What a start or a return brings is the measure, whatever its shape."""
        running = self._board.rollout
        if running is not None and running.kind in (Kind.BOOT, Kind.RETURN):
            self._guards.excuse(running.digest)
        self._guards.note(base, shape, now, self._rules)

    def seen(self, candidate: Candidate, flight: Flight) -> Case:
        """Judge a valid directory."""
        riders, history = flight.riders, self._board.history
        self._guards.allow(candidate.wanted, _allowed(riders))
        pinned = history.pinned in (candidate.wanted, *candidate.lessens)
        asleep = pinned and not any(isinstance(one, PushAsked) for one in riders)
        woken = history.pinned is not None and not pinned
        known = self._on_its_way(candidate.digest)
        found = () if asleep or known else self._judged(candidate)
        alone = self._alone(candidate.base, candidate.revoked, _revoked_shape(candidate), self._guards.allowed)
        if not known:
            self._tell((*found, *alone))
        force = _forced(riders)
        failed = candidate.digest in history.quarantined and not force
        case = Case(candidate, riders, flight.look.whole, asleep, woken, failed, _refusals(found), _refusals(alone))
        again = force and (case.bare or bool(candidate.blocked))
        return case if case.stops else replace(case, stops=self._failed_before(candidate.revoked, force=again))

    def refused(self, event: CandidateRefused, riders: Sequence[Rider]) -> tuple[Problem, ...]:
        """Return why what is gone from a directory that is not valid can't be revoked; empty where it can."""
        found = self._alone(event.base, event.revoked, event.shape, _allowed(riders))
        self._tell(found)
        return _refusals(found) or self._failed_before(event.revoked, force=_forced(riders))

    @property
    def _rules(self) -> GuardSettings:
        """Return the guards in force: those of what runs, whatever the candidate says."""
        return self._board.settings.supervisor.guards

    def _judged(self, candidate: Candidate) -> tuple[Breach, ...]:
        facts = candidate.base, candidate.digest, candidate.shape, candidate.widened
        return self._guards.judge(*facts, self._guards.allowed, self._rules)

    def _alone(
        self, base: Digest, revoked: Digest | None, shape: Shape, allowed: Collection[str]
    ) -> tuple[Breach, ...]:
        """Judge the revocation of what is gone, and of nothing else."""
        if revoked is None or self._on_its_way(revoked):
            return ()
        return self._guards.judge(base, revoked, shape, (), allowed, self._rules)

    def _on_its_way(self, digest: Digest) -> bool:
        """Say whether a content was let through already."""
        return any(one is not None and one.digest == digest for one in (self._board.rollout, self._board.waiting))

    def _failed_before(self, digest: Digest | None, *, force: bool) -> tuple[Problem, ...]:
        reason = None if digest is None else self._board.history.quarantined.get(digest)
        return () if reason is None or force else (directory_says.quarantined(reason),)

    def _tell(self, found: Sequence[Breach]) -> None:
        """Tell of what is suspicious, once."""
        board = self._board
        fresh = self._guards.untold(found)
        for refuses in (True, False):
            shapes = [one for one in fresh if one.refuses is refuses and not one.keys]
            if shapes:
                board.announce(directory_says.guarded(shapes, refuses=refuses, committed=board.history.version))
        for one in fresh:
            if one.keys:
                board.announce(directory_says.widened(one))


def _revoked_shape(candidate: Candidate) -> Shape:
    """Return the shape of the content that lacks nothing but what is gone."""
    return candidate.shape if candidate.revoked == candidate.digest else candidate.revoked_shape


def _forced(riders: Sequence[Rider]) -> bool:
    """Say whether somebody has a content tried again that failed before."""
    return any(isinstance(one, PushAsked | RestartAsked) and one.force for one in riders)


def _allowed(riders: Sequence[Rider]) -> frozenset[str]:
    """Return the guards that requests allow to be breached."""
    return frozenset(name for one in riders if isinstance(one, PushAsked) for name in one.allow)


def _refusals(found: Sequence[Breach]) -> tuple[Problem, ...]:
    return tuple(breach.problem for breach in found if breach.refuses)
