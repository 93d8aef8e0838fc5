"""How the directory stands to what runs: what is held, what was refused, since when.

Decided here: what status says about the difference between the directory and the fleet. Not decided here: what is held
or refused (``compiler/``, ``fleet.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nexus_supervisor.core.problems import Problem

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
    """Hold the facts. ``refusing`` are the problems of the directory as it is now; empty where it is valid."""

    held_keys: tuple[str, ...] = ()
    held_since: float = 0.0
    rejection: Rejection | None = None
    refusing: tuple[Problem, ...] = ()
    drift: Drift | None = None

    def seen(self, now: float, held: tuple[str, ...]) -> Standing:
        """Note a valid directory, of which some keys may be held."""
        since = self.held_since if self.held_keys else now
        drift = Drift(since, "held", held) if held else None
        return replace(self, held_keys=held, held_since=since if held else 0.0, refusing=(), drift=drift)

    def rejected(self, now: float, problems: tuple[Problem, ...], reason: str = "rejected") -> Standing:
        """Note that the directory, or a version of it, was refused."""
        if self.refusing == problems and self.drift is not None and self.drift.reason == reason:
            return self
        return replace(self, rejection=Rejection(now, reason, problems), refusing=problems, drift=Drift(now, reason))

    def quarantined(self, now: float) -> Standing:
        """Note that the directory holds content that failed before."""
        if self.drift is not None and self.drift.reason == "quarantined":
            return self
        return replace(self, drift=Drift(now, "quarantined"))

    def restarted(self) -> Standing:
        """Note that nothing is held any more."""
        return replace(self, held_keys=(), held_since=0.0, drift=None)
