"""How the directory stands to what runs: what is held, what was refused, since when.

Decided here: what status says about the difference between the directory and the fleet. Not decided here: what is held
or refused (``compiler/``, ``directory.py``, ``journeys.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nexus_supervisor.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Drift", "Rejection", "Standing"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Hold the last refusal: when (monotonic seconds), in a word, and every problem."""

    at: float
    reason: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """Hold why the directory differs from what runs: ``held``, ``pinned``, ``rejected`` or ``quarantined``."""

    since: float
    reason: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """Hold the facts.

    ``refusing`` are the problems of the directory as it is now; empty where it can go. ``still_live`` are the entries
    that no file has any more and of which people were told that they could not be revoked.
    """

    held_keys: tuple[str, ...] = ()
    held_since: float = 0.0
    rejection: Rejection | None = None
    refusing: tuple[Problem, ...] = ()
    still_live: tuple[str, ...] = ()
    drift: Drift | None = None

    def seen(self, now: float, held: tuple[str, ...], *, quarantined: bool, pinned: bool = False) -> Standing:
        """Note a valid directory: some keys may be held, it may have failed before, and it may be left on purpose."""
        seen = replace(self._holding(now, held), refusing=())
        if pinned or quarantined:
            return replace(seen, drift=self._drift(now, "pinned" if pinned else "quarantined"))
        return replace(seen, drift=Drift(seen.held_since, "held", held) if held else None)

    def guarded(self, now: float, held: tuple[str, ...], problems: tuple[Problem, ...]) -> Standing:
        """Note a valid directory that is refused for what it would change."""
        return self._holding(now, held).rejected(now, problems)

    def gone(self, names: Collection[str]) -> Standing:
        """Note which entries no file has: of one that is back, people have to be told anew."""
        return replace(self, still_live=tuple(name for name in self.still_live if name in names))

    def whole(self) -> Standing:
        """Note a valid directory that is about to be applied whole; what is held stays so until it is."""
        return replace(self, refusing=())

    def rejected(self, now: float, problems: tuple[Problem, ...]) -> Standing:
        """Note that the directory is not valid."""
        drift = self._drift(now, "rejected")
        if self.refusing == problems:
            return replace(self, drift=drift)
        return replace(self, rejection=Rejection(now, "rejected", problems), refusing=problems, drift=drift)

    def failed(self, now: float, problem: Problem, reason: str, drift: str | None) -> Standing:
        """Note that a version failed; ``drift`` is why the directory differs from now on, None: as before."""
        rejection = Rejection(now, reason, (problem,))
        return replace(self, rejection=rejection, drift=self.drift if drift is None else self._drift(now, drift))

    def restarted(self) -> Standing:
        """Note that nothing is held any more."""
        return replace(self, held_keys=(), held_since=0.0, drift=None)

    def _holding(self, now: float, held: tuple[str, ...]) -> Standing:
        since = self.held_since if self.held_keys else now
        return replace(self, held_keys=held, held_since=since if held else 0.0)

    def _drift(self, now: float, reason: str) -> Drift:
        """Return why the directory differs, since the moment from which this has been the reason."""
        if self.drift is not None and self.drift.reason == reason:
            return self.drift
        return Drift(now, reason)
