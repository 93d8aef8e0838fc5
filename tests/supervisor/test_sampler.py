"""Samples: rates of the last seconds, and sizes that are measured beside the loop."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from nexus_supervisor.core.latency import BUCKETS, NONE, bucket
from nexus_supervisor.core.status import Figures
from nexus_supervisor.supervisor import sampler
from nexus_supervisor.supervisor.rows import Rows
from nexus_supervisor.supervisor.sampler import Counts, Sampler, between, proportional_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = ("gateway-0", 1)


def counts(requests: int = 0, errors: int = 0, version: int = 1, cpu: float | None = 0.0, *slow: float) -> Counts:
    taken = [0] * BUCKETS
    for seconds in slow:
        taken[bucket(seconds)] += 1
    return Counts(requests, errors, version, tuple(taken), cpu)


def test_rates_are_what_came_between_two_looks_for_each_second() -> None:
    rates = between(counts(100, 5, 1, 1.5), counts(300, 15, 1, 2.5), 4.0, Figures(requests=300))

    assert (rates.requests_per_second, rates.errors_per_second, rates.cpu_percent) == (50.0, 2.5, 25.0)
    assert rates.requests == 300


def test_the_slowest_requests_of_the_last_seconds_make_the_p99() -> None:
    before = counts(1, 0, 1, 0.0, 8.0)
    after = counts(101, 0, 1, 0.0, 8.0, *[0.001] * 100)

    p99 = between(before, after, 1.0, Figures()).p99_ms

    assert p99 is not None
    assert 0.7 < p99 < 1.5  # what took 8 s was before


def test_a_version_that_became_active_meanwhile_is_counted_from_its_beginning() -> None:
    before, after = counts(5, 0, 1, 0.0, *[0.001] * 5), counts(6, 0, 2, 0.0, 4.0)

    p99 = between(before, after, 1.0, Figures()).p99_ms

    assert p99 is not None
    assert 2_500 < p99 < 6_000


@pytest.mark.parametrize(
    ("before", "after", "seconds"), [(None, counts(), 1.0), (counts(), None, 1.0), (counts(), counts(9), 0.0)]
)
def test_of_a_process_that_was_seen_once_no_rate_is_known(
    before: Counts | None, after: Counts | None, seconds: float
) -> None:
    assert between(before, after, seconds, Figures(3)) == Figures(3)


def test_where_nothing_was_answered_there_is_no_p99_and_where_nobody_knows_no_processor_time() -> None:
    rates = between(counts(cpu=None), Counts(0, 0, 1, NONE, None), 1.0, Figures())

    assert (rates.p99_ms, rates.cpu_percent, rates.requests_per_second) == (None, None, 0.0)


def test_a_size_is_the_share_of_memory_that_a_process_has_and_is_left_out_where_it_is_gone() -> None:
    if not os.access(f"/proc/{os.getpid()}/smaps_rollup", os.R_OK):
        pytest.skip("this kernel has no smaps_rollup")

    found = proportional_bytes([os.getpid(), 1 << 30])

    assert found.keys() == {os.getpid()}
    assert 0 < found[os.getpid()] <= 1.5 * psutil.Process().memory_info().rss


# --- in the loop ----------------------------------------------------------------------------------------------------


def sampled(test: Callable[[Sampler, Rows], Any]) -> None:
    """Run a test in a loop, with a sampler whose one worker is this process."""

    async def run() -> None:
        with closing(Rows(64, 4)) as rows:
            rows.column(KEY)
            with closing(Sampler(asyncio.get_running_loop(), rows, lambda: {KEY: os.getpid()})) as held:
                await test(held, rows)

    asyncio.run(run())


async def measured(held: Sampler) -> None:
    """Wait until sizes are there, or given up."""
    done = asyncio.Event()
    held.measure(done.set)
    await done.wait()


def test_whoever_asks_again_gets_the_rates_since_the_look_before(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 100.0, 104.0, 104.0, 104.5])
    monkeypatch.setattr(sampler.clock, "monotonic", lambda: next(moments))

    async def test(held: Sampler, rows: Rows) -> None:
        await asyncio.sleep(0)  # the first look is made by the timer
        await asyncio.sleep(0)
        os.pwrite(rows.descriptor, (40).to_bytes(8, "little"), 8 * rows.layout.block(0))
        first = held.figures({KEY: Figures()})[KEY]
        again = held.figures({KEY: Figures()})[KEY]
        assert first.requests_per_second == 10.0
        assert again == first  # not looked at again within a second

    sampled(test)


def test_sizes_are_known_once_somebody_has_asked_for_them() -> None:
    async def test(held: Sampler, _: Rows) -> None:
        assert held.figures({KEY: Figures()})[KEY].pss_bytes is None
        await measured(held)
        found = held.figures({KEY: Figures()})[KEY].pss_bytes
        assert found is None or found > 0
        assert (found is None) == (not proportional_bytes([os.getpid()]))

    sampled(test)


def test_many_who_ask_at_once_are_answered_by_one_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(sampler, "proportional_bytes", lambda pids: calls.append(pids) or {os.getpid(): 7})

    async def test(held: Sampler, _: Rows) -> None:
        await asyncio.gather(*(measured(held) for _ in range(5)))
        await measured(held)
        assert len(calls) == 1
        assert held.figures({KEY: Figures()})[KEY].pss_bytes == 7

    sampled(test)


def test_a_kernel_that_does_not_answer_keeps_nobody_waiting_and_no_more_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released, started = threading.Event(), []
    monkeypatch.setattr(sampler, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(sampler, "proportional_bytes", lambda _: started.append(1) or (released.wait() and {}))

    async def test(held: Sampler, _: Rows) -> None:
        await measured(held)
        await measured(held)
        assert len(started) == 1
        released.set()

    sampled(test)
