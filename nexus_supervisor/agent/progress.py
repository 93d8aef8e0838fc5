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
    """Count requests and errors, each by a function that counts one, and say that the loop turns.

    ``ended(version, seconds, failed)`` counts an answered request on its version, ``failed(version)`` says later that
    one of these failed after all.
    """

    __slots__ = ("_turn", "_turned", "ended", "error", "failed", "request")

    def __init__(self, counters: SharedCounters) -> None:
        self.request = counters.counter(REQUESTS).add
        self.error = counters.counter(ERRORS).add
        self.ended, self.failed = counters.banks.count, counters.banks.fail
        self._turned, self._turn = counters.counter(TICKS).add, counters.banks.turn

    def tick(self, late_seconds: float = 0.0) -> None:
        """Say that the loop turns, and so much later than it meant to.

        A loop that has said so and then doesn't for longer than ``supervisor.rollout.gates.max_lag_seconds``, while
        others do, condemns the version that bakes.
        """
        self._turned()
        self._turn(late_seconds)

    def pace(self) -> None:
        """Count a turn of a loop that may rest or work as long as it likes between two of them."""
        self._turned()
