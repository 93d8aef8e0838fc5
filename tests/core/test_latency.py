"""Buckets of latency: bounds, quantiles, and what is certainly slower."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.latency import BOUNDS, BUCKETS, NONE, above, bucket, less, quantile, total, upper_quantile

TIMES = st.lists(st.floats(1e-7, 400.0), min_size=1, max_size=200)


def counted(times: list[float]) -> list[int]:
    counts = [0] * BUCKETS
    for seconds in times:
        counts[bucket(seconds)] += 1
    return counts


def test_buckets_reach_from_50_microseconds_to_minutes() -> None:
    assert pytest.approx(50e-6) == BOUNDS[0]
    assert 300 < BOUNDS[-1] < 600
    assert all(after / before == pytest.approx(sqrt(2)) for before, after in pairwise(BOUNDS))


@pytest.mark.parametrize(("seconds", "number"), [(0.0, 0), (-1.0, 0), (50e-6, 0), (51e-6, 1), (1e9, BUCKETS - 1)])
def test_what_lies_outside_is_in_the_first_or_the_last_bucket(seconds: float, number: int) -> None:
    assert bucket(seconds) == number


@given(TIMES, st.floats(0.01, 0.999))
def test_a_quantile_is_off_by_no_more_than_its_bucket(times: list[float], share: float) -> None:
    exact = sorted(times)[min(len(times) - 1, max(0, -int(-share * len(times) // 1) - 1))]

    found, bound = quantile(counted(times), share), upper_quantile(counted(times), share)

    assert found is not None
    assert bound is not None
    assert exact <= bound <= max(exact * sqrt(2), BOUNDS[0]) * (1 + 1e-9)
    assert found <= bound
    assert found >= exact / sqrt(2) * (1 - 1e-9) or exact <= BOUNDS[0]


@given(TIMES, st.floats(1e-6, 300.0))
def test_what_is_said_to_be_slower_is_slower(times: list[float], limit: float) -> None:
    slower = sum(seconds > limit for seconds in times)
    much_slower = sum(seconds > limit * sqrt(2) * (1 + 1e-9) and seconds > BOUNDS[0] for seconds in times)

    assert much_slower <= above(counted(times), limit) <= slower


@given(TIMES, TIMES)
def test_counts_are_added_and_subtracted_bucket_by_bucket(first: list[float], second: list[float]) -> None:
    both = total([counted(first), (), counted(second)])

    assert both == tuple(counted([*first, *second]))
    assert less(both, counted(first)) == tuple(counted(second))
    assert less(both, ()) == both


def test_nothing_has_no_quantile() -> None:
    assert total([]) == NONE
    assert quantile(NONE, 0.5) is None
    assert upper_quantile((), 0.99) is None
    assert above((), 1.0) == 0
