"""How soon a dead worker is started again.

Decided here: the backoff. Not decided here: when a death counts as one in a row (``roster.py``). Restart intensity,
which gives a slot up, comes on top of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexus_supervisor.core.settings import Settings

__all__ = ["MAX_BACKOFF_SECONDS", "backoff"]

MAX_BACKOFF_SECONDS = 30.0


def backoff(deaths: int, settings: Settings, jitter: float) -> float:
    """Return the seconds to wait after so many deaths in a row; the first restart is at once.

    ``jitter`` is a factor, 0.5 to 1.5, so that workers that died together don't start together.
    """
    if deaths <= 1:
        return 0.0
    first = settings.supervisor.restart.backoff_seconds
    return min(first * 2.0 ** min(deaths - 2, 16), MAX_BACKOFF_SECONDS) * jitter
