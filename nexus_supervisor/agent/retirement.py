"""Retirement: what becomes of a snapshot that no request uses any more.

Decided here: that the application's hook is called once for it, and when something counts as still referring to it. Not
decided here: when it is retired (``holder.py``) and who is told (``parent.py``).

What was retired is known by a weak reference only. Where it is still alive after a few seconds, something beside our
requests keeps it: that is counted and logged, and again counted when it is gone. A circle, such as of something derived
that knows its snapshot, keeps nothing by itself: it is collected first. Only one thread asks.
"""

from __future__ import annotations

import gc
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from weakref import ref

from nexus_supervisor.agent.hooked import attempted
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["LINGER_SECONDS", "Lingering", "Retirement"]

_logger = logging.getLogger(__name__)

LINGER_SECONDS = 5.0
"""How long after its retirement a snapshot may be referred to: a response is written, a task is being cancelled."""

_LOOK_SECONDS = 1.0


class Lingering(NamedTuple):
    """Count the retired snapshots that something refers to, and say since when the first of them is retired."""

    snapshots: int
    since: float | None


@dataclass(slots=True)
class _Retired:
    """Hold one retired snapshot weakly; ``told`` says whether it was logged."""

    version: Version
    snapshot: ref[Snapshot]
    at: float
    told: bool = False


class Retirement:
    """Hold what was retired and isn't known to be gone."""

    def __init__(self, hook: Callable[[Snapshot], object] | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._hook, self._clock = hook, clock
        self._retired: list[_Retired] = []

    def retire(self, snapshots: Iterable[Snapshot]) -> None:
        """Call the application's hook for each snapshot, and keep a weak reference to it."""
        for snapshot in snapshots:
            if self._hook is not None:
                attempted("the hook retired", self._hook, snapshot)
            self._retired.append(_Retired(snapshot.version, ref(snapshot), self._clock()))

    def look(self) -> Lingering:
        """Return what lingers now; log each version once."""
        if self._untold():
            self._collect()
        for one in self._untold():
            one.told = True
            _logger.warning(_STILL_THERE, one.version, self._clock() - one.at)
        lingering = self._lingering()
        return Lingering(len(lingering), lingering[0].at if lingering else None)

    def _lingering(self) -> list[_Retired]:
        """Return what has been there for too long, and forget what is gone."""
        now = self._clock()
        self._retired = [one for one in self._retired if one.snapshot() is not None]
        return [one for one in self._retired if now - one.at >= LINGER_SECONDS]

    def _untold(self) -> list[_Retired]:
        return [one for one in self._lingering() if not one.told]

    def _collect(self) -> None:
        """Free circles: among what is new, which costs next to nothing, and only then among all that there is.

        While something lingers all the same, everything stays open to collections: it may be a circle when it ends.
        """
        gc.collect()
        if self._untold():
            gc.unfreeze()
            gc.collect()
            if not self._lingering():
                gc.freeze()

    def look_in(self) -> float | None:
        """Return after how many seconds to look again; None where nothing is left that could linger."""
        if not self._retired:
            return None
        first = self._retired[0]
        return _LOOK_SECONDS if first.told else max(0.0, first.at + LINGER_SECONDS - self._clock())


_STILL_THERE = (
    "the snapshot of version %d was retired %.0f s ago and something still refers to it, which costs memory: usually a "
    "cache, a variable of a module, a task that never ends, or a kept exception with its traceback; keep what you need "
    "of a snapshot instead of the snapshot"
)
