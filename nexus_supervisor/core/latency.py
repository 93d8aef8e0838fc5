"""Latencies: how long requests took, as counts in fixed buckets.

Decided here: where one bucket ends and the next begins, and what counts say of a distribution. Not decided here: where
they lie (``cells.py``), who counts (``agent/``) and how slow is too slow (``health.py``).

A bucket's bound is the one before times the square root of two, so a figure read from counts is off by less than that,
whatever its size. 48 buckets reach from 50 microseconds to seven minutes; the first holds what is faster, the last what
is slower. Counts of several workers or moments are added and subtracted bucket by bucket.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import add
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BOUNDS", "BUCKETS", "NONE", "above", "bucket", "less", "quantile", "total", "upper_quantile"]

BUCKETS = 48
_FASTEST_SECONDS = 50e-6

BOUNDS = tuple(_FASTEST_SECONDS * 2 ** (number / 2) for number in range(BUCKETS - 1))
"""Up to how many seconds each bucket goes, its bound included; the last one has none."""

NONE = (0,) * BUCKETS
"""No request at all."""


def bucket(seconds: float) -> int:
    """Return the bucket of a request that took so long."""
    return bisect_left(BOUNDS, seconds)


def total(counts: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the sum of several counts, bucket by bucket; counts of nothing may be empty."""
    summed: Iterable[int] = NONE
    for one in counts:
        if one:
            summed = list(map(add, summed, one))
    return tuple(summed)


def less(counts: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """Return what was counted since ``before``, which may be empty; a count that fell is taken for 0."""
    if not before:
        return tuple(counts)
    return tuple(max(0, after - earlier) for after, earlier in zip(counts, before, strict=False))


def above(counts: Sequence[int], seconds: float) -> int:
    """Return how many certainly took longer: those of the buckets that begin there or later."""
    return sum(counts[bisect_left(BOUNDS, seconds) + 1 :])


def upper_quantile(counts: Sequence[int], share: float) -> float | None:
    """Return a bound that at least this share was not slower than; None where nothing was counted."""
    place = _place(counts, share)
    return None if place is None else BOUNDS[min(place[0], BUCKETS - 2)]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return about how long the fastest ``share`` took at most, in seconds; None where nothing was counted.

    Within a bucket the requests are taken for spread evenly.
    """
    place = _place(counts, share)
    if place is None:
        return None
    number, part = place
    low, high = BOUNDS[number - 1] if number else 0.0, BOUNDS[min(number, BUCKETS - 2)]
    return low + (high - low) * part


def _place(counts: Sequence[int], share: float) -> tuple[int, float] | None:
    """Return the bucket in which the share is reached, and at which part of it."""
    wanted, passed = share * sum(counts), 0
    for number, count in enumerate(counts):
        if count and passed + count >= wanted:
            return number, (wanted - passed) / count
        passed += count
    return None
