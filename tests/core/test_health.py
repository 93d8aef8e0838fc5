"""The judge: no alarm by chance, and each kind of harm found."""

from __future__ import annotations

from math import comb
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.health import LEVEL, Evidence, chance, judge
from nexus_supervisor.core.latency import BUCKETS, bucket
from nexus_supervisor.core.options import GateSettings
from tests.support.baking import GATES, Traffic, baked

OTHERS = "in the other workers"
COUNTS = st.integers(0, 60)
STRICTEST = GateSettings(max_error_ratio=1, max_p99_ratio=1, min_latency_ms=0)


def spans(*times: float, each: int = 10) -> tuple[tuple[int, ...], ...]:
    """Return one span for each time, in which all requests took that long."""
    return tuple(tuple(each * (number == bucket(seconds)) for number in range(BUCKETS)) for seconds in times)


def side(requests: int, errors: int = 0, *times: float, **fields: Any) -> Evidence:
    return Evidence(requests, errors, spans(*times), **fields)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_chance_is_that_of_fishers_exact_test(bad: int, good: int, other_bad: int, other_good: int) -> None:
    count, other_count = bad + good, other_bad + other_good
    everything, all_bad = count + other_count, bad + other_bad
    ways = (comb(count, number) * comb(other_count, all_bad - number) for number in range(bad, min(count, all_bad) + 1))
    exact = sum(ways) / comb(everything, all_bad)

    found = chance(bad, count, other_bad, other_count)

    expected_share = not bad or bad * everything <= all_bad * count
    assert found == (1.0 if expected_share else pytest.approx(exact, rel=1e-6))


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_chance_of_any_counts_is_a_chance(bad: int, count: int, other_bad: int, other_count: int) -> None:
    assert 0.0 <= chance(bad % 100_000, count, other_bad, other_count) <= 1.0


@pytest.mark.parametrize(
    ("traffic", "gates"),
    [
        (Traffic(), GATES),
        (Traffic(errors=0.2), GATES),
        (Traffic(workers=2, errors=0.02, stalls=0.03), GATES),
        (Traffic(spread=1.5, stalls=0.03, errors=0.02), STRICTEST),
    ],
    ids=["quiet", "with errors", "stalls on two workers", "the strictest gates"],
)
def test_500_bakes_of_a_canary_like_the_others_have_no_false_alarm(traffic: Traffic, gates: GateSettings) -> None:
    random = Random(f"no alarm {traffic}")

    verdicts = [baked(random, traffic, gates)[1] for _ in range(500)]

    assert {one.verdict for one in verdicts} == {"healthy"}, [one for one in verdicts if one.verdict == "unhealthy"]


@pytest.mark.parametrize(
    ("traffic", "word"),
    [
        (Traffic(canary_slower=10), "latency"),
        (Traffic(canary_slower=10, per_second=30), "latency"),
        (Traffic(canary_errors=0.2), "errors"),
        (Traffic(canary_errors=0.2, errors=0.02), "errors"),
        (Traffic(canary_errors=1.0, per_second=15), "errors"),
        (Traffic(canary_leak_mb=50), "memory"),
    ],
    ids=["ten times slower", "slower, few requests", "errors", "more errors", "all fail", "leak"],
)
def test_each_of_100_harmful_canaries_is_found_before_the_bake_ends(traffic: Traffic, word: str) -> None:
    random = Random(f"harm {traffic}")

    found = [baked(random, traffic) for _ in range(100)]

    assert {one.verdict for _, one in found} == {"unhealthy"}
    assert all(word in one.reason for _, one in found)
    assert all(at < traffic.seconds for at, _ in found)


def test_a_verdict_says_its_figures() -> None:
    judgement = judge(side(50, 48, 0.002), side(912, 0, 0.002), OTHERS, GATES)

    assert judgement.verdict == "unhealthy"
    assert judgement.reason == "errors 48 of 50 against 0 of 912 in the other workers"
    assert judgement.numbers["canary_errors"] == 48
    assert judgement.numbers["control_requests"] == 912
    assert judgement.numbers["canary_p99_ms"] == pytest.approx(2.0, rel=0.42)


def test_errors_are_found_before_there_are_enough_requests() -> None:
    assert judge(side(4, 4), side(2_000), OTHERS, GATES).verdict == "unhealthy"
    assert judge(side(4, 1), side(2_000), OTHERS, GATES).verdict == "inconclusive"


def test_errors_within_the_ratio_are_healthy_however_certain_they_are() -> None:
    assert chance(1_900, 10_000, 1_000, 10_000) < LEVEL
    assert judge(side(10_000, 1_900), side(10_000, 1_000), OTHERS, GATES).verdict == "healthy"
    assert judge(side(10_000, 2_100), side(10_000, 1_000), OTHERS, GATES).verdict == "unhealthy"


def test_too_few_requests_are_inconclusive() -> None:
    few = judge(side(1), side(900), OTHERS, GATES)
    lonely = judge(side(900), side(3), OTHERS, GATES)

    assert (few.verdict, few.reason) == ("inconclusive", "1 request, and a verdict needs 50")
    assert (lonely.verdict, lonely.reason) == ("inconclusive", "3 requests to compare with 900 requests")


def test_most_requests_failing_is_unhealthy_even_with_nothing_to_compare_with() -> None:
    judgement = judge(side(50, 40), Evidence(), OTHERS, GATES)

    assert judgement.verdict == "unhealthy"
    assert judgement.reason == "errors 40 of 50 against nothing to compare with"


def test_a_moment_in_which_everything_is_slow_is_no_slowness() -> None:
    once = side(100, 0, *[0.002] * 8, 0.5, 0.5)
    always = side(100, 0, *[0.002] * 4, *[0.5] * 6)
    others = side(200, 0, *[0.002] * 20)

    assert judge(once, others, OTHERS, GATES).verdict == "healthy"
    assert judge(always, others, OTHERS, GATES).verdict == "unhealthy"


def test_slower_by_less_than_the_least_that_matters_is_healthy() -> None:
    fast, slower = side(200, 0, *[0.0002] * 20), side(100, 0, *[0.005] * 10)

    assert judge(slower, fast, OTHERS, GATES).verdict == "healthy"
    assert judge(slower, fast, OTHERS, GateSettings(min_latency_ms=1)).verdict == "unhealthy"


def test_requests_without_an_answer_are_held_against_a_canary_where_the_others_answer() -> None:
    waiting, usual = side(60, 0, 0.002, begun=40, late=30), side(100, 0, 0.002, begun=90, late=2)

    assert judge(waiting, usual, OTHERS, GATES).reason == (
        "30 of 40 requests were not answered within 1.0 s against 2 of 90 in the other workers"
    )
    assert judge(waiting, waiting, OTHERS, GATES).verdict == "healthy"


def test_memory_counts_beyond_what_the_others_gained() -> None:
    grown = side(100, 0, 0.002, rss_growth_bytes=100 << 20)

    alone = judge(grown, side(100, 0, 0.002, rss_growth_bytes=-(1 << 30)), OTHERS, GATES)
    likewise = judge(grown, side(100, 0, 0.002, rss_growth_bytes=40 << 20), OTHERS, GATES)

    assert alone.verdict == "unhealthy"
    assert alone.reason == "its memory grew by 100 MiB against 0 elsewhere, and 64 more are allowed"
    assert likewise.verdict == "healthy"


def test_a_loop_that_is_late_is_unhealthy_unless_the_others_are_late_too() -> None:
    late = side(100, 0, 0.002, lag_seconds=1.5)
    silent = side(0, lag_seconds=1.5, silent=True)

    assert judge(late, side(100, 0, 0.002, lag_seconds=0.8), OTHERS, GATES).verdict == "healthy"
    assert judge(late, side(100), OTHERS, GATES).reason == "its serving loop was late by 1.5 s against 0 ms elsewhere"
    assert judge(silent, side(100), OTHERS, GATES).reason == (
        "its serving loop has been silent for 1.5 s against 0 ms elsewhere"
    )


@given(st.data())
def test_any_evidence_is_judged(data: st.DataObject) -> None:
    numbers = st.integers(0, 10**6)
    latencies = st.lists(st.lists(numbers, min_size=BUCKETS, max_size=BUCKETS).map(tuple), max_size=4).map(tuple)
    sides = st.builds(
        Evidence,
        requests=numbers,
        errors=numbers,
        spans=latencies,
        rss_growth_bytes=st.integers(-(2**40), 2**40),
        lag_seconds=st.floats(0, 1e6),
        silent=st.booleans(),
        begun=numbers,
        late=numbers,
    )

    judgement = judge(data.draw(sides), data.draw(sides), OTHERS, GATES)

    assert judgement.verdict in ("healthy", "unhealthy", "inconclusive")
    assert judgement.reason
