"""The only reader of the clock.

Decided here: which two clocks there are. Not decided here: what a moment leads to; the core is given its ``now``.
"""

from __future__ import annotations

import time

__all__ = ["monotonic", "wall"]


def monotonic() -> float:
    """Return seconds that only rise, for deadlines; the zero point means nothing."""
    return time.monotonic()


def wall() -> float:
    """Return unix time in seconds, for people and for what is written down; it may jump."""
    return time.time()
