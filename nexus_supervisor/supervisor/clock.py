"""The only reader of the clock.

Decided here: which two clocks there are. Not decided here: what a moment leads to; the core is given its ``now``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

__all__ = ["monotonic", "stamp", "wall"]


def monotonic() -> float:
    """Return seconds that only rise, for deadlines; the zero point means nothing."""
    return time.monotonic()


def wall() -> float:
    """Return unix time in seconds, for people and for what is written down; it may jump."""
    return time.time()


def stamp() -> str:
    """Return the time in UTC to the microsecond (RFC 3339), as manifests state it."""
    return datetime.fromtimestamp(wall(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
