"""Rates: whether one more fits into a sliding window, and when it will.

Decided here: the arithmetic. Not decided here: where the counts come from (``cells.py``) and what the answer leads to.

A sliding window is estimated from two fixed ones: all of the present window, and of the one before the share that the
sliding window still covers.
"""

from __future__ import annotations

__all__ = ["wait_seconds"]


def wait_seconds(
    limit: int, need: int, *, present: int, before: int, elapsed_seconds: float, period_seconds: float
) -> float | None:
    """Return how long to wait until ``need`` more fit under ``limit`` a period; None where they fit now.

    ``present`` and ``before`` are the counts of the present fixed window and the one before; ``elapsed_seconds`` is the
    age of the present one. What is larger than the limit fits into an empty window.
    """
    room = limit - min(need, limit)
    used = present + before * (1 - elapsed_seconds / period_seconds)
    if used <= room:
        return None
    if present <= room:
        return period_seconds * (1 - (room - present) / before) - elapsed_seconds
    return period_seconds - elapsed_seconds + period_seconds * (1 - room / present)
