"""Meters: when workers are read, which is busy, and what a canary is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.latency import BUCKETS
from nexus_supervisor.core.meters import Meters
from nexus_supervisor.core.readings import Reading
from tests.support.baking import CANARY, GATES, Counting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexus_supervisor.core.meters import Key
    from nexus_supervisor.core.options import GateSettings

OTHER, THIRD = ("w-1", 1), ("w-2", 1)


class Desk:
    """Hold meters, and the counters of three workers whose loops turn."""

    def __init__(self, *, workers: int = 3) -> None:
        self.now = 1_000.0
        self.meters = Meters(self.now)
        self.workers: dict[Key, Counting] = {(f"w-{number}", 1): Counting() for number in range(workers)}

    def read(self, seconds: float = 0.1, hung: tuple[Key, ...] = ()) -> None:
        """Let time pass, and read."""
        self.now += seconds
        for key, one in self.workers.items():
            if key not in hung:
                one.beat = self.now
        self.meters.note({key: one.reading() for key, one in self.workers.items()}, self.now)

    def begin(self, version: int = 2) -> None:
        """Let the canary's bake begin."""
        self.workers[CANARY].activate(version)
        self.meters.begin([CANARY], version, self.now)
        self.read()

    def verdict(self, gates: GateSettings = GATES) -> str:
        judgement = self.meters.judge([key for key in self.workers if key != CANARY], gates, self.now)
        return f"{judgement.verdict}: {judgement.reason}"


def test_workers_are_read_every_five_seconds_and_often_while_a_canary_bakes() -> None:
    meters = Meters(100.0)
    meters.asked(200.0)

    assert meters.deadline(baking=False) == pytest.approx(205.0)
    assert meters.deadline(baking=True) == pytest.approx(200.1)


def test_the_busiest_is_the_one_with_the_most_requests_in_the_last_seconds() -> None:
    desk = Desk()
    desk.workers[THIRD].serve(0.001, 10_000)
    for _ in range(4):
        desk.read(5)
    desk.workers[OTHER].serve(0.001, 20)
    desk.workers[CANARY].serve(0.001, 10)
    desk.read(5)

    assert desk.meters.busiest([CANARY, OTHER, THIRD]) == [OTHER, CANARY, THIRD]
    assert desk.meters.busiest([THIRD, ("new", 1), OTHER]) == [OTHER, THIRD, ("new", 1)]


def test_requests_that_are_long_ago_make_no_one_busy() -> None:
    desk = Desk()
    desk.read()
    desk.workers[OTHER].serve(0.001, 50)
    for _ in range(4):
        desk.read(5)

    assert desk.meters.busiest([CANARY, OTHER]) == [CANARY, OTHER]


def test_without_a_bake_nothing_is_known() -> None:
    assert Desk().verdict() == "inconclusive: no canary is watched"


def test_before_anything_was_read_nothing_is_known() -> None:
    desk = Desk()
    desk.meters.begin([CANARY], 2, desk.now)

    assert desk.verdict().startswith("inconclusive: 0 requests")


def test_a_canary_is_compared_with_what_the_others_do_since_the_bake_began() -> None:
    desk = Desk()
    desk.workers[OTHER].serve(0.001, 500, failed=True)
    desk.begin()
    desk.workers[OTHER].serve(0.001, 200)
    desk.workers[CANARY].serve(0.001, 60, failed=True)
    desk.read()

    assert desk.verdict() == "unhealthy: errors 60 of 60 against 0 of 200 in the other workers"


def test_what_the_canary_did_on_another_version_is_not_held_against_it() -> None:
    desk = Desk()
    desk.workers[CANARY].serve(0.001, 100, failed=True)
    desk.read(5)
    desk.meters.begin([CANARY], 2, desk.now)
    desk.read()
    desk.workers[OTHER].serve(0.001, 100)
    desk.read()

    assert desk.verdict() == "inconclusive: 0 requests, and a verdict needs 50"


@pytest.mark.parametrize(("workers", "served"), [(1, 0), (3, 4)], ids=["alone", "others without requests"])
def test_where_the_others_say_nothing_its_own_last_minute_does(workers: int, served: int) -> None:
    desk = Desk(workers=workers)
    desk.read()
    for _ in range(3):
        desk.workers[CANARY].serve(0.001, 40)
        desk.read(5)
    desk.begin()
    for key in desk.workers.keys() - {CANARY}:
        desk.workers[key].serve(0.001, served)
    desk.workers[CANARY].serve(0.001, 60, failed=True)
    desk.read()

    assert desk.verdict() == "unhealthy: errors 60 of 60 against 0 of 120 in its own last minute before"


def test_the_last_minute_is_no_longer_than_that() -> None:
    desk = Desk(workers=1)
    desk.read()
    desk.workers[CANARY].serve(0.001, 500)
    for _ in range(14):
        desk.read(5)
    desk.begin()
    desk.workers[CANARY].serve(0.001, 60)
    desk.read()

    assert desk.verdict() == "inconclusive: 0 requests to compare with 60 requests"


def test_a_canary_whose_loop_is_silent_while_the_others_turn_is_unhealthy() -> None:
    desk = Desk()
    desk.begin()
    verdicts = []
    for _ in range(13):
        desk.read(hung=(CANARY,))
        verdicts.append(desk.verdict().split(":")[0])

    assert verdicts == [*["inconclusive"] * 11, "unhealthy", "unhealthy"]
    assert desk.verdict().startswith("unhealthy: its serving loop has been silent for 1.2 s")


def test_a_machine_that_stops_everybody_condemns_nobody() -> None:
    desk = Desk()
    desk.begin()
    desk.read(3.0, hung=(CANARY, OTHER, THIRD))

    assert desk.verdict().startswith("inconclusive")


def test_readings_that_come_late_themselves_condemn_nobody() -> None:
    desk = Desk(workers=1)
    desk.begin()
    desk.read(3.0, hung=(CANARY,))

    assert desk.verdict().startswith("inconclusive")


def test_the_lag_of_a_control_long_ago_excuses_nothing() -> None:
    desk = Desk()
    for key in (OTHER, THIRD):
        desk.workers[key].lag_seconds = 60.0
    desk.begin()
    desk.workers[CANARY].lag_seconds = 2.0
    desk.read()

    assert desk.verdict() == "unhealthy: its serving loop was late by 2.0 s against 0 ms elsewhere"


def test_a_program_that_never_says_that_its_loop_turns_is_not_judged_by_it() -> None:
    desk = Desk()
    desk.begin()
    for key, one in desk.workers.items():
        if key != CANARY:
            one.beat = desk.now
    desk.workers[CANARY].beat = None
    for _ in range(50):
        desk.read(hung=(CANARY,))

    assert desk.verdict().startswith("inconclusive")


def test_requests_that_wait_for_ever_while_the_loop_turns_are_found() -> None:
    desk = Desk()
    desk.begin()
    for _ in range(12):
        desk.workers[CANARY].total += 10
        desk.workers[OTHER].serve(0.001, 10)
        desk.read()

    assert desk.verdict() == (
        "unhealthy: 20 of 20 requests were not answered within 1.0 s against 0 of 20 in the other workers"
    )


@pytest.mark.parametrize("before", [0, 40], ids=["none in hand", "some in hand before"])
def test_where_the_others_answer_as_late_nothing_is_late(before: int) -> None:
    desk = Desk(workers=2)
    desk.workers[OTHER].total += before
    desk.begin()
    for step in range(60):
        for one in desk.workers.values():
            one.total += 4
        desk.workers[OTHER].serve(3.0, 4 if before or step > 30 else 0)
        desk.workers[CANARY].serve(3.0, 4 if step > 30 else 0)
        desk.workers[OTHER].total -= 4 if before or step > 30 else 0
        desk.workers[CANARY].total -= 4 if step > 30 else 0
        desk.read()

        assert not desk.verdict().startswith("unhealthy")


def test_memory_is_counted_from_the_first_reading_of_the_bake() -> None:
    desk = Desk()
    desk.read()
    desk.workers[CANARY].rss_bytes += 500 << 20
    desk.begin()
    desk.workers[CANARY].rss_bytes += 65 << 20
    desk.read()

    assert desk.verdict().startswith("unhealthy: its memory grew by 65 MiB")


def test_a_control_that_ends_and_one_that_comes_change_nothing() -> None:
    desk = Desk()
    desk.begin()
    desk.workers[OTHER].serve(0.001, 100)
    desk.read()
    del desk.workers[OTHER]
    desk.workers["w-1", 2] = Counting()
    desk.workers["w-1", 2].serve(0.001, 1_000, failed=True)
    desk.workers[THIRD].serve(0.001, 100)
    desk.workers[CANARY].serve(0.001, 100)
    desk.read()

    assert desk.verdict().startswith("healthy: errors 0 of 100 against 0 of 100 in the other workers")


def test_a_long_bake_keeps_no_more_than_a_short_one() -> None:
    desk = Desk()
    desk.begin()
    for _ in range(1_000):
        desk.workers[CANARY].serve(0.001, 3)
        desk.workers[OTHER].serve(0.001, 3)
        desk.read()
    sample = desk.meters._sample
    assert sample is not None

    assert len(sample.canary().spans) <= 64
    assert sum(sample.canary().latencies) == 3_000
    assert desk.verdict().startswith("healthy: errors 0 of 3000 against 0 of 3000")


COUNTS = st.integers(0, 2**40)
READINGS = st.builds(
    Reading,
    version=st.integers(0, 3),
    requests=COUNTS,
    errors=COUNTS,
    latencies=st.one_of(st.just(()), st.lists(COUNTS, min_size=BUCKETS, max_size=BUCKETS).map(tuple)),
    lag_seconds=st.floats(0, 1e6),
    beat=st.none() | st.floats(0, 1e6),
    rss_bytes=COUNTS,
    total=COUNTS,
)
KEYS = st.tuples(st.sampled_from(["w-0", "w-1", "w-2"]), st.integers(1, 2))


@given(
    st.lists(st.tuples(st.dictionaries(KEYS, READINGS, max_size=4), st.booleans()), max_size=6),
    st.lists(KEYS, max_size=4),
)
def test_any_readings_in_any_order_are_judged(
    steps: list[tuple[Mapping[Key, Reading], bool]], controls: list[Key]
) -> None:
    meters, now = Meters(0.0), 0.0
    for readings, begins in steps:
        now += 3.0
        meters.note(readings, now)
        if begins:
            meters.begin(controls[:1] or [CANARY], 2, now)

        assert meters.judge(controls, GATES, now).verdict in ("healthy", "unhealthy", "inconclusive")
        assert sorted(meters.busiest(controls)) == sorted(controls)
