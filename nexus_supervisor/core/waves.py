"""Waves: in which order and how carefully the processes of a fleet move to a version.

Decided here: from the kind of a rollout, the settings and what was asked, whether it is tried first, how many move
first, whether they are watched, and how many follow at a time. Not decided here: which processes these are and when
each moves (``moving.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from nexus_supervisor.core.settings import Share

if TYPE_CHECKING:
    from nexus_supervisor.core.settings import RolloutSettings

__all__ = ["Kind", "Plan", "plan"]


class Kind(StrEnum):
    """Why a version is on its way."""

    BOOT = "boot"
    PUSH = "push"
    REVOCATION = "revocation"
    RESTART = "restart"
    ROLLBACK = "rollback"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold how a version moves.

    ``trial``: a trial worker meets it first. ``canary`` is how many move first, None: nobody does. ``bake_seconds`` is
    how long these are watched, ``quiet_bake_seconds`` the same where there are few requests; 0: not at all. ``group``
    is how many follow at a time, None: all at once.
    """

    trial: bool
    canary: Share | None
    bake_seconds: float
    quiet_bake_seconds: float
    group: Share | None


_ONE = Share(1)
_UNWATCHED = Plan(trial=False, canary=None, bake_seconds=0.0, quiet_bake_seconds=0.0, group=None)


def plan(kind: Kind, settings: RolloutSettings, *, strategy: str = "", short: bool = False) -> Plan:
    """Return how a version of this kind moves.

    ``strategy`` replaces that of the settings, ``short`` leaves out the bake.
    No kind is without a gate: where nobody bakes, a first one has to survive its activation, but for a strategy that
    says otherwise.
    """
    tried = settings.trial.enabled
    match kind:
        case Kind.BOOT:
            return replace(_UNWATCHED, canary=_ONE)
        case Kind.RESTART:
            return _of_restart(settings, short=short)
        case Kind.ROLLBACK:
            return replace(_UNWATCHED, canary=_ONE)
        case Kind.REVOCATION:
            return replace(_UNWATCHED, canary=_ONE, trial=tried)
        case Kind.PUSH | Kind.RETURN:
            return _of_push(settings, strategy or settings.strategy, tried=tried, short=short)


def _of_restart(settings: RolloutSettings, *, short: bool) -> Plan:
    """Return how new processes take the place of the old ones: never all at once, which takes twice the memory.

    There is no trial: the trial worker has the code from before, and a new process without traffic is a trial.
    """
    if short or settings.strategy != "canary":
        return replace(_UNWATCHED, canary=_ONE, group=settings.max_parallel)
    bake, quiet = _bake(settings)
    return Plan(
        trial=False, canary=settings.canary, bake_seconds=bake, quiet_bake_seconds=quiet, group=settings.max_parallel
    )


def _bake(settings: RolloutSettings) -> tuple[float, float]:
    """Return how long the first ones are watched, and how long where there are few requests."""
    bake = settings.bake_seconds
    return bake, max(bake, settings.quiet_bake_seconds) if bake else 0.0


def _of_push(settings: RolloutSettings, strategy: str, *, tried: bool, short: bool) -> Plan:
    if strategy == "all_at_once":
        return replace(_UNWATCHED, trial=tried)
    if strategy == "rolling":
        return replace(_UNWATCHED, trial=tried, group=settings.max_parallel)
    bake, quiet = (0.0, 0.0) if short else _bake(settings)
    return Plan(tried, settings.canary, bake, quiet, None if short else settings.max_parallel)
