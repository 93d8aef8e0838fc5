"""Progress: what the serving loop itself says about its work.

Decided here: which numbers these are. Not decided here: where they lie (``core/cells.py``) and what silence means (the
supervisor). Only the serving loop writes them: a thread beside it would prove nothing but its own life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.cells import ERRORS, REQUESTS, TICKS

if TYPE_CHECKING:
    from nexus_supervisor.agent.shared import SharedCounters

__all__ = ["Progress"]


class Progress:
    """Count requests, errors and turns of the loop; each is a function that counts one."""

    __slots__ = ("error", "request", "tick")

    def __init__(self, counters: SharedCounters) -> None:
        self.request = counters.counter(REQUESTS).add
        self.error = counters.counter(ERRORS).add
        self.tick = counters.counter(TICKS).add
