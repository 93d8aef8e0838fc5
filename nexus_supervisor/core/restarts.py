"""Whether and how soon a dead worker is started again.

Decided here: which ends have a worker started again, how many deaths are too many, and the backoff. Not decided here:
which end is a death (``roster.py``) and who is replaced with a worker that died (``crew.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.programs import named

if TYPE_CHECKING:
    from nexus_supervisor.core.settings import Settings

__all__ = ["MAX_BACKOFF_SECONDS", "backoff", "is_over", "recent", "too_many", "type_of"]

MAX_BACKOFF_SECONDS = 30.0


def backoff(deaths: int, settings: Settings, jitter: float) -> float:
    """Return the seconds to wait after so many deaths in a row; the first restart is at once.

    ``jitter`` is a factor, 0.5 to 1.5, so that workers that died together don't start together.
    """
    if deaths <= 1:
        return 0.0
    first = settings.supervisor.restart.backoff_seconds
    return min(first * 2.0 ** min(deaths - 2, 16), MAX_BACKOFF_SECONDS) * jitter


def type_of(program: str, settings: Settings) -> str:
    """Return the restart type of a program; a program that is gone from the settings has that of all."""
    found = named(settings.programs, program)
    return settings.supervisor.restart.type if found is None else found.restart


def is_over(restart: str, *, clean: bool) -> bool:
    """Say whether a process that ended so is not started again: "temporary" never is, "transient" after a failure."""
    return restart == "temporary" or (restart == "transient" and clean)


def recent(died: tuple[float, ...], now: float, settings: Settings) -> tuple[float, ...]:
    """Return the deaths that still count."""
    period = settings.supervisor.restart.period_seconds
    return tuple(at for at in died if now - at < period)


def too_many(deaths: int, settings: Settings) -> bool:
    """Say whether so many deaths fail a slot."""
    return deaths > settings.supervisor.restart.max_restarts
