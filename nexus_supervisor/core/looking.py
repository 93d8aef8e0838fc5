"""When to look at the directory, and who waits for what is seen.

Decided here: quiet times, retries, grace for names that vanish, and which requests ride on which look. Not decided
here: what a verdict leads to (``directory.py``). One look is in flight at a time; what happens meanwhile leads to
another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_supervisor.core.effects import Look
from nexus_supervisor.core.events import RestartAsked
from nexus_supervisor.core.requests import Rider

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexus_supervisor.core.settings import Settings

__all__ = ["Flight", "Looking"]

_DEBOUNCE_LIMIT = 10
_RETRY_LIMIT_SECONDS = 0.5
_BUSY_SECONDS = 1.0
MAX_HINT_CHARACTERS = 64 * 1024
"""Hints that are longer together are no help: everything is compared then."""

Hints = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Flight:
    """Hold a look and who waits for its verdict; ``urgent`` says that names which vanished get no grace."""

    look: Look
    riders: tuple[Rider, ...]
    urgent: bool


class Looking:
    """Decide when the next look is due."""

    def __init__(self, now: float) -> None:
        self._ticket = 0
        self._flight: Flight | None = None
        self._waiting: list[Rider] = []
        self._hints: Hints = frozenset()
        self._due: float | None = None
        self._quiet: tuple[float, float] | None = None
        self._urgent = False
        self._retries = 0
        self._gone_since: dict[str, float] = {}
        self._compared = now

    def touched(self, hints: Sequence[str] | None, now: float, settings: Settings, *, urgent: bool) -> None:
        """Note that something may have changed: look after a quiet time, at most ten times as late, or at once."""
        self._hint(hints)
        if urgent:
            self._urgent = True
            self._want(now)
            return
        quiet = settings.supervisor.watch.debounce_ms / 1000
        latest = now + quiet * _DEBOUNCE_LIMIT if self._quiet is None else self._quiet[1]
        self._quiet = (min(now + quiet, latest), latest)

    def asked(self, rider: Rider, now: float) -> None:
        """Note a request: look at everything, at once."""
        self._waiting.append(rider)
        self._want(now)

    def again(self, flight: Flight, now: float, settings: Settings) -> bool:
        """Look again soon, later at each time in a row, for the same riders; where patience is over do nothing."""
        limits = settings.supervisor.limits
        if self._retries >= limits.stable_attempts:
            return False
        pause = limits.stable_pause_ms / 1000 * 2.0 ** min(self._retries, 32)
        self._resume(flight, now + min(pause, _RETRY_LIMIT_SECONDS))
        self._retries += 1
        return True

    def stale(self, flight: Flight, now: float) -> None:
        """Look again at once, for the same riders: the verdict was against content that no longer runs."""
        self._resume(flight, now)

    def ride_again(self, riders: Sequence[Rider], now: float) -> None:
        """Look at once for requests whose candidate is no longer the newest."""
        self._waiting[:0] = riders
        self._hint(None)
        self._want(now)

    def later(self, riders: Sequence[Rider], now: float) -> None:
        """Note requests that can't be decided while something is on its way: look again in a while."""
        self._waiting[:0] = riders
        self._want(now + _BUSY_SECONDS)

    def begin(self, now: float, settings: Settings) -> Look | None:
        """Return the look that is due now, if any; it is in flight from here on.

        A restart takes everybody along: it applies whatever the others asked for.
        """
        due = self.deadline(settings)
        if due is None or now < due:
            return None
        if self._waiting or self._overdue(settings) <= now:
            self._hints = None
        riders, self._waiting = tuple(self._waiting), []
        whole = any(isinstance(rider, RestartAsked) for rider in riders)
        self._ticket += 1
        hints = None if self._hints is None else tuple(sorted(self._hints))
        look = Look(self._ticket, hints, whole)
        self._flight = Flight(look, riders, self._urgent or bool(riders))
        self._urgent = False
        self._hints, self._quiet, self._due = frozenset(), None, None
        if hints is None:
            self._compared = now
        return look

    def ended(self, ticket: int) -> Flight | None:
        """Return the look that this ticket names, which is over; None where it is not the one in flight."""
        flight = self._flight
        if flight is None or flight.look.ticket != ticket:
            return None
        self._flight = None
        return flight

    def settled(self) -> None:
        """Note that a verdict was reached: retries start from the beginning."""
        self._retries = 0

    def grace(self, gone: Sequence[str], flight: Flight, now: float, settings: Settings) -> bool:
        """Say whether vanished names may still come back; then it is looked again when that time is over."""
        settle = settings.supervisor.watch.remove_settle_ms / 1000
        self._gone_since = {name: self._gone_since.get(name, now) for name in gone}
        if not gone or flight.urgent:
            return False
        until = min(self._gone_since.values()) + settle
        if now < until:
            self._hint(flight.look.hints)
            self._want(until)
        return now < until

    def deadline(self, settings: Settings) -> float | None:
        """Return when ``begin`` has something to say, if nothing else happens."""
        if self._flight is not None:
            return None
        times = (self._overdue(settings), self._due, None if self._quiet is None else self._quiet[0])
        return min(time for time in times if time is not None)

    @property
    def busy(self) -> bool:
        """Say whether a look is in flight."""
        return self._flight is not None

    @property
    def expected(self) -> bool:
        """Say whether a verdict is to come soon: a look is in flight, or about to be."""
        return self.busy or bool(self._waiting) or self._due is not None

    def forget(self) -> None:
        """Forget every request; the caller has answered them."""
        self._flight, self._waiting = None, []

    def pending(self) -> tuple[Rider, ...]:
        """Return every request that still waits for a verdict."""
        return (*(self._flight.riders if self._flight is not None else ()), *self._waiting)

    def _overdue(self, settings: Settings) -> float:
        """Return when everything is to be compared, whether or not anything was said to have changed."""
        return self._compared + settings.supervisor.watch.reconcile_seconds

    def _resume(self, flight: Flight, due: float) -> None:
        self._waiting[:0] = flight.riders
        self._urgent = self._urgent or flight.urgent
        self._hint(flight.look.hints)
        self._want(due)

    def _hint(self, hints: Sequence[str] | None) -> None:
        joined = None if hints is None or self._hints is None else self._hints | frozenset(hints)
        self._hints = joined if joined is not None and sum(map(len, joined)) <= MAX_HINT_CHARACTERS else None

    def _want(self, due: float) -> None:
        self._due = due if self._due is None else min(self._due, due)
