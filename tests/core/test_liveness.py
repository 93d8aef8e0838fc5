"""Liveness: how often workers are read, and which readings may judge. What follows is in ``tests/simulation``."""

from __future__ import annotations

import pytest

from nexus_supervisor.core import tending_says
from nexus_supervisor.core.liveness import Silence, reading_seconds
from nexus_supervisor.core.meters import Meters
from nexus_supervisor.core.options import LivenessSettings
from nexus_supervisor.core.readings import Reading
from nexus_supervisor.core.roster import Process

KEY = ("web-0", 1)


@pytest.mark.parametrize(
    ("timeout", "longest", "seconds"),
    [
        (10.0, 0.0, 2.5),
        (0.0, 0.0, 5.0),
        (3_600.0, 0.0, 5.0),
        (0.01, 0.0, 0.1),
        (10.0, 2.0, 0.5),
        (0.0, 4.0, 1.0),
    ],
)
def test_workers_are_read_four_times_within_the_shortest_bound(timeout: float, longest: float, seconds: float) -> None:
    assert reading_seconds(LivenessSettings(timeout, longest)) == seconds


def test_readings_are_as_old_as_the_order_to_read() -> None:
    meters = Meters(100.0)
    meters.asked(102.0, 2.5)

    meters.note({KEY: Reading()}, 102.5)

    assert meters.read_at == 102.0
    assert meters.steady_since == 100.0


def test_readings_that_come_in_time_are_steady() -> None:
    meters = Meters(100.0)

    for number in range(1, 100):
        meters.asked(100.0 + 2.5 * number, 2.5)
        meters.note({KEY: Reading()}, 100.1 + 2.5 * number)

    assert meters.steady_since == 100.0


@pytest.mark.parametrize(("asked", "noted"), [(133.0, 133.1), (102.5, 133.0)])
def test_after_a_gap_readings_are_steady_from_then_on(asked: float, noted: float) -> None:
    meters = Meters(100.0)
    meters.asked(102.4, 2.5)
    meters.note({KEY: Reading()}, 102.4)

    meters.asked(asked, 2.5)
    meters.note({KEY: Reading()}, noted)

    assert meters.steady_since == max(asked, 133.0)


def test_a_baking_canary_is_read_more_often() -> None:
    meters = Meters(100.0)

    assert meters.deadline(baking=False, every=2.5) == 102.5
    assert meters.deadline(baking=True, every=2.5) == 100.1


@pytest.mark.parametrize(
    ("silence", "text"),
    [
        (
            Silence("silent", 12.34, 10.0),
            (
                "web-0/1 (pid 7) is taken for dead and replaced: its serving loop did not turn for 12.3 s, and "
                "supervisor.liveness.timeout_seconds is 10. It writes down its stacks, as far as it can."
            ),
        ),
        (
            Silence("stopped", 10.0, 10.0),
            (
                "web-0/1 (pid 7) is taken for dead and replaced: its process was stopped for 10.0 s, and "
                "supervisor.liveness.timeout_seconds is 10. A stopped process can't write down its stacks (state T in "
                "/proc): something sent it SIGSTOP."
            ),
        ),
        (
            Silence("request", 61.0, 60.0),
            (
                "web-0/1 (pid 7) is taken for dead and replaced: a request waited for its answer for 61.0 s, and "
                "supervisor.liveness.max_request_seconds is 60. It writes down its stacks, as far as it can."
            ),
        ),
    ],
)
def test_a_notice_says_how_a_worker_was_found(silence: Silence, text: str) -> None:
    assert tending_says.silent(Process("web-0", 0, 1, 0.0, pid=7), silence, 0).text == text
