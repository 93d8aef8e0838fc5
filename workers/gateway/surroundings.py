"""Surroundings: the outside world of the gateway as a handful of values and functions.

Decided here: what the gateway needs from the process that it runs in, and which part of the agent provides it. Not
decided here: what is done with it (``app.py``). A test provides its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nexus_supervisor.agent.context import current

from .keyring import GatewaySnapshot

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent

    from .models import Source

__all__ = ["Allow", "Surroundings", "surroundings_of"]

Allow = Callable[["Source", int], float | None]
"""Counts one request, of so many bytes, against the limits that the source has in the snapshot of the request; for the
daemon as a whole. Returns None where it is allowed, or the seconds to wait."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Provide the outside world: ``worker`` is ``<slot>/<incarnation>``, ``now_ms`` milliseconds of wall-clock time.

    ``complete`` says whether the daemon's first version is complete on disk.
    """

    worker: str
    pepper: bytes = field(repr=False)
    allow: Allow
    draining: Callable[[], bool]
    complete: Callable[[], bool] = lambda: True
    current: Callable[[], GatewaySnapshot] = current
    pid: int = field(default_factory=os.getpid)
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    random: Callable[[int], bytes] = os.urandom


def surroundings_of(agent: Agent) -> Surroundings:
    """Return what an agent provides."""

    def allow(source: Source, size: int) -> float | None:
        limit = source.rate_limit
        return agent.allow(
            "sources",
            source.name,
            requests_per_minute=limit.requests_per_minute,
            bytes_per_second=limit.bytes_per_second,
            size=size,
        )

    return Surroundings(
        worker=f"{agent.slot}/{agent.incarnation}",
        pepper=agent.pepper,
        allow=allow,
        draining=lambda: agent.draining,
        complete=lambda: agent.counters.complete,
    )
