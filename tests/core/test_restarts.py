"""How soon a dead worker is started again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.restarts import MAX_BACKOFF_SECONDS, backoff, is_over, recent, too_many, type_of
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


@pytest.mark.parametrize(
    ("restart", "clean", "over"),
    [
        ("permanent", True, False),
        ("permanent", False, False),
        ("transient", True, True),
        ("transient", False, False),
        ("temporary", True, True),
        ("temporary", False, True),
    ],
)
def test_the_type_says_after_which_end_there_is_no_start(restart: str, *, clean: bool, over: bool) -> None:
    assert is_over(restart, clean=clean) is over


def test_a_death_counts_for_as_long_as_the_period() -> None:
    given_settings = settings(restart={"period_seconds": 10})

    assert recent((0.0, 5.0, 9.0), 10.0, given_settings) == (5.0, 9.0)


@pytest.mark.parametrize(("most", "deaths", "fails"), [(0, 1, True), (0, 0, False), (5, 5, False), (5, 6, True)])
def test_more_deaths_than_allowed_are_too_many(most: int, deaths: int, *, fails: bool) -> None:
    assert too_many(deaths, settings(restart={"max_restarts": most})) is fails


def test_a_program_has_its_own_type_and_one_that_is_gone_that_of_all() -> None:
    tables = [{"name": "web"}, {"name": "jobs", "restart": "temporary"}]
    given_settings = settings(program=tables, restart={"type": "transient"})

    assert [type_of(name, given_settings) for name in ("web", "jobs", "gone")] == [
        "transient",
        "temporary",
        "transient",
    ]
