"""Progress: what the serving loop itself says about its work.

Decided here: which numbers these are. Not decided here: where they lie (``core/cells.py``) and what silence means (the
supervisor, ``core/liveness.py``). Only the serving loop writes them: a thread beside it would prove nothing but its own
life.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from nexus_supervisor.core.cells import ALIVE, ERRORS, REQUESTS, TICKS, WAITING

if TYPE_CHECKING:
    from nexus_supervisor.agent.holder import Holder
    from nexus_supervisor.agent.shared import SharedCounters

__all__ = ["Progress"]

_LOOK_SECONDS = 0.5
"""How often a loop that turns looks for the oldest request in hand."""


class Progress:
    """Count requests and errors, each by a function that counts one, and say that the loop turns.

    ``ended(version, seconds, failed)`` counts an answered request on its version, ``failed(version)`` says later that
    one of these failed after all. ``holder`` knows the requests in hand.
    """

    __slots__ = ("_alive", "_holder", "_look_at", "_turn", "_turned", "_waiting", "ended", "error", "failed", "request")

    def __init__(self, counters: SharedCounters, holder: Holder) -> None:
        self.request = counters.counter(REQUESTS).add
        self.error = counters.counter(ERRORS).add
        self.ended, self.failed = counters.banks.count, counters.banks.fail
        self._turned, self._turn = counters.counter(TICKS).add, counters.banks.turn
        self._alive, self._waiting = counters.moment(ALIVE), counters.moment(WAITING)
        self._holder, self._look_at = holder, 0.0

    def tick(self, late_seconds: float = 0.0) -> None:
        """Say that the loop turns, and so much later than it meant to.

        A loop that has said so and then doesn't for longer than ``supervisor.liveness.timeout_seconds`` is taken for
        dead and replaced; one that doesn't for longer than ``supervisor.rollout.gates.max_lag_seconds``, while others
        do, condemns the version that bakes.
        """
        now = monotonic()
        self._turned()
        self._turn(late_seconds)
        self._alive.set(now)
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._waiting.set(self._holder.waiting_since())

    def pace(self) -> None:
        """Say that a loop turns that promises nothing about its pace: it is no measure of a version that bakes.

        One that has said so and then doesn't for longer than ``supervisor.liveness.timeout_seconds`` is taken for dead
        all the same, unless it works().
        """
        self._turned()
        self._alive.set(monotonic())

    def works(self) -> None:
        """Say that the loop begins one piece of work, and doesn't turn until it rests().

        Its silence means nothing meanwhile; ``supervisor.liveness.max_request_seconds`` bounds the work.
        """
        self.holds()
        self._alive.set(None)

    def holds(self) -> None:
        """Say that a loop that goes on turning holds one piece of work from now on, until it rests()."""
        self._waiting.set(monotonic())

    def rests(self) -> None:
        """Say that the work in hand is done and that the loop turns."""
        self._waiting.set(None)
        self._alive.set(monotonic())
