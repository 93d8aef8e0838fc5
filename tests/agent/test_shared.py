"""Counters in shared memory: layout, limits, several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.agent.holder import Holder
from nexus_supervisor.agent.progress import Progress
from nexus_supervisor.agent.shared import SharedCounters
from nexus_supervisor.core.cells import Layout, Totals, count_in, counted
from nexus_supervisor.core.rates import wait_seconds
from nexus_supervisor.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYOUT = Layout(rows=8, slots=3)


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("counters", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, LAYOUT.size_bytes)
    yield descriptor
    os.close(descriptor)


def counters(memory: int, slot: int = 0) -> SharedCounters:
    return SharedCounters(memory, rows=8, slots=3, slot_number=slot)


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**33))
def test_a_word_speaks_of_its_own_window_only(window: int, other: int, count: int) -> None:
    word = counted(window, count)

    assert 0 <= word < 2**64
    assert count_in(window, word) == min(count, 2**32 - 1)
    assert count_in(other, word) == (min(count, 2**32 - 1) if (other - window) % 2**32 == 0 else 0)


@given(
    st.integers(1, 10_000), st.integers(1, 20_000), st.integers(0, 20_000), st.integers(0, 20_000), st.floats(0, 59.999)
)
def test_after_the_wait_it_fits(limit: int, need: int, present: int, before: int, elapsed: float) -> None:
    def wait(present: int, before: int, elapsed: float) -> float | None:
        return wait_seconds(limit, need, present=present, before=before, elapsed_seconds=elapsed, period_seconds=60.0)

    first = wait(present, before, elapsed)
    if first is None:
        return

    assert 0 < first <= 120
    later = elapsed + first + 1e-6
    assert (wait(present, before, later) if later < 60 else wait(0, present, later - 60)) is None


def test_a_limit_holds_for_all_slots_together(memory: int) -> None:
    slots = [counters(memory, slot) for slot in range(3)]

    waits = [
        slots[turn % 3].allow(0, requests_per_minute=10, bytes_per_second=0, size=0, now=600.0) for turn in range(15)
    ]

    assert waits[:10] == [None] * 10
    assert all(wait is not None and 60 < wait <= 66 for wait in waits[10:])


def test_a_limit_slides_from_one_minute_to_the_next(memory: int) -> None:
    mine = counters(memory)

    def allow(now: float) -> float | None:
        return mine.allow(0, requests_per_minute=60, bytes_per_second=0, size=0, now=now)

    assert [allow(599.0) for _ in range(60)] == [None] * 60
    assert allow(600.0) is not None
    assert [allow(630.0) for _ in range(30)] == [None] * 30
    assert allow(630.0) is not None
    assert allow(900.0) is None


def test_bytes_are_limited_by_the_second_and_a_large_one_passes_alone(memory: int) -> None:
    mine = counters(memory)

    def allow(size: int, now: float) -> float | None:
        return mine.allow(0, requests_per_minute=0, bytes_per_second=100, size=size, now=now)

    assert allow(60, 10.0) is None
    assert allow(60, 10.0) is not None
    assert allow(40, 10.0) is None
    assert allow(500, 20.0) is None
    assert allow(1, 20.5) is not None


def test_a_refusal_counts_nothing(memory: int) -> None:
    mine = counters(memory)

    refused = mine.allow(0, requests_per_minute=2, bytes_per_second=10, size=10, now=60.0)
    refused_again = mine.allow(0, requests_per_minute=2, bytes_per_second=10, size=10, now=60.0)

    assert refused is None
    assert refused_again is not None
    assert mine.allow(0, requests_per_minute=2, bytes_per_second=0, size=0, now=60.0) is None
    assert mine.allow(0, requests_per_minute=2, bytes_per_second=0, size=0, now=60.0) is not None


def test_no_limit_counts_nothing_and_rows_are_apart(memory: int) -> None:
    mine = counters(memory)

    assert [mine.allow(0, requests_per_minute=0, bytes_per_second=0, size=9, now=1.0) for _ in range(99)] == [None] * 99
    assert mine.allow(1, requests_per_minute=1, bytes_per_second=0, size=0, now=1.0) is None
    assert mine.allow(2, requests_per_minute=1, bytes_per_second=0, size=0, now=1.0) is None
    assert mine.allow(1, requests_per_minute=1, bytes_per_second=0, size=0, now=1.0) is not None


def test_totals_go_on_in_the_next_process_of_a_slot(memory: int) -> None:
    first = Progress(counters(memory, 1), Holder(lambda: None))
    first.request()
    first.request()
    first.error()

    later = Progress(counters(memory, 1), Holder(lambda: None))
    later.request()
    later.tick()

    assert counters(memory, 1).totals() == Totals(requests=3, errors=1, ticks=1)
    assert counters(memory, 0).totals() == Totals(0, 0, 0)


def test_memory_of_another_size_is_refused(memory: int) -> None:
    with pytest.raises(ProtocolError, match="don't fit"):
        SharedCounters(memory, rows=9, slots=3, slot_number=0)
    with pytest.raises(ProtocolError, match="don't fit"):
        SharedCounters(memory, rows=8, slots=3, slot_number=3)


def test_several_processes_at_once_never_allow_more_than_the_limit(memory: int) -> None:
    code = (
        "import sys\n"
        "from nexus_supervisor.agent.shared import SharedCounters\n"
        "mine = SharedCounters(int(sys.argv[1]), rows=8, slots=3, slot_number=int(sys.argv[2]))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "given = dict(requests_per_minute=500, bytes_per_second=0, size=0, now=60.0)\n"
        "print(sum(mine.allow(3, **given) is None for _ in range(1000)))\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(memory), str(slot)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[memory],
        )
        for slot in range(3)
    ]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"

    for one in running:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    allowed = [int(one.communicate()[0]) for one in running]

    assert sum(allowed) == 500
