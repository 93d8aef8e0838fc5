"""When to look at the directory, and who waits for what is seen.

Decided here: quiet times, retries, grace for names that vanish, and which requests ride on which look. Not decided
here: what a verdict leads to (``fleet.py``). One look is in flight at a time; what happens meanwhile leads to another.
"""

from __future__ import annotations

from collections.abc import Sequence

from nexus_supervisor.core.effects import Look
from nexus_supervisor.core.events import PushAsked, RestartAsked
from nexus_supervisor.core.settings import Settings

__all__ = ["Looking", "Rider"]

Rider = PushAsked | RestartAsked
"""A request that is answered by a verdict."""

_DEBOUNCE_LIMIT = 10
_RETRY_SECONDS = 0.005
_RETRY_LIMIT_SECONDS = 0.5
_PATIENCE = 9
Hints = frozenset[str] | None


class Looking:
    """Decide when the next look is due."""

    def __init__(self, now: float) -> None:
        self._ticket = 0
        self._in_flight: Look | None = None
        self._riding: tuple[Rider, ...] = ()
        self._waiting: list[Rider] = []
        self._hints: Hints = frozenset()
        self._due: float | None = None
        self._touched_since: float | None = None
        self._retries = 0
        self._gone_since: dict[str, float] = {}
        self._last_look = now

    def touched(self, hints: Sequence[str] | None, now: float, settings: Settings, *, urgent: bool) -> None:
        """Note that something may have changed: look after a quiet time, at most ten times as late, or at once."""
        quiet = 0.0 if urgent else settings.supervisor.watch.debounce_ms / 1000
        if self._touched_since is None:
            self._touched_since = now
        self._want(hints, min(now + quiet, self._touched_since + quiet * _DEBOUNCE_LIMIT))

    def asked(self, rider: Rider, now: float) -> None:
        """Note a request: look at everything, at once."""
        self._waiting.append(rider)
        self._want(None, now)

    def again(self, now: float, *, hints: Sequence[str] | None = None) -> bool:
        """Look again soon, later at each time in a row; say whether patience lasts."""
        self._want(hints, now + min(_RETRY_SECONDS * 2**self._retries, _RETRY_LIMIT_SECONDS))
        self._retries = min(self._retries + 1, _PATIENCE)
        return self._retries < _PATIENCE

    def begin(self, now: float, settings: Settings) -> Look | None:
        """Return the look that is due now, if any; it is in flight from here on."""
        if self._in_flight is not None:
            return None
        if self._due is None or now < self._due:
            if now < self._last_look + settings.supervisor.watch.reconcile_seconds:
                return None
            self._hints = None
        whole = [rider for rider in self._waiting if isinstance(rider, RestartAsked)]
        self._riding = tuple(whole or self._waiting)
        self._waiting = [rider for rider in self._waiting if rider not in self._riding]
        self._ticket += 1
        hints = None if self._hints is None or self._riding else tuple(sorted(self._hints))
        self._in_flight = Look(self._ticket, hints, whole=bool(whole))
        self._hints, self._due, self._touched_since = frozenset(), (now if self._waiting else None), None
        self._last_look = now
        return self._in_flight

    def ended(self, ticket: int) -> tuple[Look, tuple[Rider, ...]] | None:
        """Return the look that this ticket names and its riders; None where it is not the one in flight."""
        look = self._in_flight
        if look is None or look.ticket != ticket:
            return None
        riding, self._in_flight, self._riding = self._riding, None, ()
        return look, riding

    def settled(self) -> None:
        """Note that a verdict was reached: retries start from the beginning."""
        self._retries = 0

    def grace(self, gone: Sequence[str], now: float, settings: Settings) -> float | None:
        """Return until when vanished names may still come back; None where the time is over or nothing vanished."""
        settle = settings.supervisor.watch.remove_settle_ms / 1000
        self._gone_since = {name: self._gone_since.get(name, now) for name in gone}
        if not gone:
            return None
        until = min(self._gone_since.values()) + settle
        return until if now < until else None

    def wait_until(self, due: float, hints: Sequence[str] | None) -> None:
        """Look again at a given time."""
        self._want(hints, due)

    def deadline(self, settings: Settings) -> float | None:
        """Return when ``begin`` has something to say, if nothing else happens."""
        if self._in_flight is not None:
            return None
        reconcile = self._last_look + settings.supervisor.watch.reconcile_seconds
        return reconcile if self._due is None else min(self._due, reconcile)

    def forget(self) -> None:
        """Forget every request; the caller has answered them."""
        self._riding, self._waiting = (), []

    def pending(self) -> tuple[Rider, ...]:
        """Return every request that still waits for a verdict."""
        return (*self._riding, *self._waiting)

    def _want(self, hints: Sequence[str] | None, due: float) -> None:
        if self._due is None or due < self._due or hints is None:
            self._due = due if self._due is None else min(self._due, due)
        self._hints = None if hints is None or self._hints is None else self._hints | frozenset(hints)
