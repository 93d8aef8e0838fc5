"""Banks: each request is counted on the version that it began with, or on none."""

from __future__ import annotations

import os
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.agent.holder import Holder
from nexus_supervisor.agent.progress import Progress
from nexus_supervisor.agent.shared import SharedCounters
from nexus_supervisor.core.cells import Layout
from nexus_supervisor.core.latency import bucket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.readings import Reading

LAYOUT = Layout(rows=8, slots=3)


class Memory:
    """Hold the counters of one process, and read them as the supervisor does."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("counters", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, LAYOUT.size_bytes)
        self.counters = SharedCounters(self.descriptor, rows=8, slots=3, slot_number=1)

    def words(self) -> list[int]:
        return memoryview(os.pread(self.descriptor, LAYOUT.size_bytes, 0)).cast("Q").tolist()

    def reading(self) -> Reading:
        return LAYOUT.reading(self.words(), 1)


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory()
    yield made
    os.close(made.descriptor)


def test_a_request_is_counted_by_its_latency_and_whether_it_failed(memory: Memory) -> None:
    memory.counters.activated(5)
    memory.counters.banks.count(5, 0.25, False)
    memory.counters.banks.count(5, 0.25, True)
    memory.counters.banks.count(5, None, True)

    reading = memory.reading()

    assert (reading.version, reading.requests, reading.errors) == (5, 3, 2)
    assert reading.latencies[bucket(0.25)] == sum(reading.latencies) == 2


def test_a_request_that_fails_after_it_was_counted_is_counted_once(memory: Memory) -> None:
    memory.counters.activated(5)
    memory.counters.banks.count(5, 0.25, False)
    memory.counters.banks.fail(5)
    memory.counters.banks.fail(4)

    assert (memory.reading().requests, memory.reading().errors) == (1, 1)


def test_a_request_that_ends_after_the_next_version_came_is_counted_on_its_own(memory: Memory) -> None:
    memory.counters.activated(5)
    memory.counters.activated(6)
    memory.counters.banks.count(5, 0.1, True)

    assert (memory.reading().version, memory.reading().requests) == (6, 0)
    assert sum(memory.words()) == 5 + 6 + 2  # two versions, and one request that failed


def test_a_request_whose_bank_was_given_away_is_counted_on_no_version(memory: Memory) -> None:
    for version in (5, 6, 7):
        memory.counters.activated(version)
    memory.counters.banks.count(5, 0.1, True)

    assert sum(memory.words()) == 6 + 7


def test_a_version_that_is_activated_again_goes_on_counting(memory: Memory) -> None:
    memory.counters.activated(5)
    memory.counters.banks.count(5, 0.1, False)
    memory.counters.activated(5)

    assert memory.reading().requests == 1


def test_a_loop_says_when_it_turned_and_how_late_it_was_at_most(memory: Memory) -> None:
    progress = Progress(memory.counters, Holder(lambda: None))
    memory.counters.activated(5)
    assert memory.reading().beat is None

    for late in (0.0, 0.2, 0.5, 0.1):
        progress.tick(late)

    assert memory.reading().lag_seconds == pytest.approx(0.5)
    assert memory.reading().beat is not None
    assert memory.counters.totals().ticks == 4


def test_a_delay_that_began_on_the_version_before_is_not_the_new_ones(memory: Memory) -> None:
    progress = Progress(memory.counters, Holder(lambda: None))
    memory.counters.activated(5)
    progress.tick()
    memory.counters.activated(6)
    progress.tick(3.0)
    assert memory.reading().lag_seconds == 0.0

    progress.tick(0.25)

    assert memory.reading().lag_seconds == pytest.approx(0.25)


def test_a_loop_that_only_keeps_pace_has_no_beat(memory: Memory) -> None:
    Progress(memory.counters, Holder(lambda: None)).pace()

    assert memory.counters.totals().ticks == 1
    assert memory.reading().beat is None


@given(st.lists(st.tuples(st.sampled_from(["activate", "begin", "end"]), st.integers(0, 5), st.booleans())))
def test_whatever_overlaps_the_newest_bank_counts_its_own_version(steps: list[tuple[str, int, bool]]) -> None:
    memory, newest, running, ended, failed = Memory(), 1, list[int](), [0] * 100, [0] * 100
    memory.counters.activated(newest)
    for step, which, fails in steps:
        if step == "activate":
            newest += 1
            memory.counters.activated(newest)
        elif step == "begin":
            running.append(newest)
        elif running:
            version = running.pop(which % len(running))
            memory.counters.banks.count(version, 0.001 * which, fails)
            ended[version] += 1
            failed[version] += fails
        reading = memory.reading()

        assert (reading.version, reading.requests, reading.errors) == (newest, ended[newest], failed[newest])
    os.close(memory.descriptor)


def test_threads_that_count_while_versions_come_lose_nothing_and_count_nothing_twice(memory: Memory) -> None:
    counters, threads, each = memory.counters, 4, 20_000
    start = Barrier(threads + 1)

    def count(version: int) -> None:
        start.wait()
        for _ in range(each):
            counters.banks.count(version, 0.001, True)

    counters.activated(1)
    counting = [Thread(target=count, args=(1 if number % 2 else 1_000,)) for number in range(threads)]
    for thread in counting:
        thread.start()
    start.wait()
    reading = memory.reading()
    while any(thread.is_alive() for thread in counting):
        reading = memory.reading()
        assert reading.errors <= reading.requests
    for thread in counting:
        thread.join()

    assert memory.reading().requests == memory.reading().errors == 2 * each


def test_a_thread_that_still_counts_an_old_version_never_spoils_a_new_one(memory: Memory) -> None:
    counters, start, over = memory.counters, Barrier(2), list[bool]()

    def count() -> None:
        start.wait()
        while not over:
            counters.banks.count(1, 0.001, True)

    counters.activated(1)
    thread = Thread(target=count)
    thread.start()
    start.wait()
    counters.activated(2)
    for version in range(3, 3_000):
        counters.activated(version)
        reading = memory.reading()

        assert (reading.version, reading.requests, reading.errors) == (version, 0, 0)
    over.append(True)
    thread.join()
