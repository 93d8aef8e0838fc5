"""How soon a dead worker is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.restarts import MAX_BACKOFF_SECONDS, backoff
from tests.support.simulated import settings

SETTINGS = settings(restart={"backoff_seconds": 0.5})


def test_the_first_restart_is_at_once() -> None:
    assert backoff(0, SETTINGS, 1.0) == 0
    assert backoff(1, SETTINGS, 1.5) == 0


def test_the_pause_begins_as_set_and_doubles_with_each_death() -> None:
    assert [backoff(deaths, SETTINGS, 1.0) for deaths in (2, 3, 4, 5)] == [0.5, 1.0, 2.0, 4.0]


def test_jitter_spreads_workers_that_died_together() -> None:
    assert [backoff(3, SETTINGS, jitter) for jitter in (0.5, 1.0, 1.5)] == [0.5, 1.0, 1.5]


@given(st.integers(0, 10**9), st.floats(0.5, 1.5))
def test_a_pause_is_never_negative_and_never_without_bound(deaths: int, jitter: float) -> None:
    assert 0 <= backoff(deaths, SETTINGS, jitter) <= MAX_BACKOFF_SECONDS * 1.5


@given(st.integers(0, 40))
def test_another_death_never_shortens_the_pause(deaths: int) -> None:
    assert backoff(deaths + 1, SETTINGS, 1.0) >= backoff(deaths, SETTINGS, 1.0)
