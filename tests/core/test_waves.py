"""How a version moves: by its kind, the settings, and what somebody asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.core.waves import Kind, Plan, plan
from tests.support.simulated import settings

if TYPE_CHECKING:
    from nexus_supervisor.core.settings import RolloutSettings


def chosen(**rollout: Any) -> RolloutSettings:
    return settings(4, bake=2.0, trial=True, rollout=rollout).supervisor.rollout


def shown(made: Plan) -> tuple[bool, int | None, float, int | None]:
    """Show whether it is tried, how many of 4 move first, how long they bake, and how many follow at a time."""
    first = None if made.canary is None else made.canary.of(4)
    return made.trial, first, made.bake_seconds, None if made.group is None else made.group.of(4)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.BOOT, (False, 1, 0.0, None)),
        (Kind.PUSH, (True, 1, 2.0, 2)),
        (Kind.RETURN, (True, 1, 2.0, 2)),
        (Kind.REVOCATION, (True, 1, 0.0, None)),
        (Kind.RESTART, (False, 1, 2.0, 2)),
        (Kind.ROLLBACK, (False, 1, 0.0, None)),
    ],
)
def test_each_kind_moves_as_carefully_as_its_haste_allows(kind: Kind, expected: tuple[object, ...]) -> None:
    assert shown(plan(kind, chosen())) == expected


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("", (True, 1, 2.0, 2)),
        ("canary", (True, 1, 2.0, 2)),
        ("rolling", (True, None, 0.0, 2)),
        ("all_at_once", (True, None, 0.0, None)),
    ],
)
def test_a_strategy_that_is_asked_for_replaces_that_of_the_settings(
    strategy: str, expected: tuple[object, ...]
) -> None:
    assert shown(plan(Kind.PUSH, chosen(), strategy=strategy)) == expected
    if strategy:
        assert shown(plan(Kind.PUSH, chosen(strategy=strategy))) == expected
        assert shown(plan(Kind.PUSH, chosen(strategy="rolling"), strategy=strategy)) == expected


@pytest.mark.parametrize("strategy", ["canary", "rolling", "all_at_once"])
def test_what_is_urgent_or_goes_back_asks_for_no_strategy(strategy: str) -> None:
    for kind in (Kind.REVOCATION, Kind.ROLLBACK, Kind.BOOT):
        assert shown(plan(kind, chosen(strategy=strategy)))[1] == 1


def test_a_push_in_a_hurry_keeps_its_trial_and_its_canary_and_nothing_else() -> None:
    assert shown(plan(Kind.PUSH, chosen(), short=True)) == (True, 1, 0.0, None)


def test_no_bake_means_no_quiet_bake() -> None:
    made = plan(Kind.PUSH, chosen(bake_seconds=0, quiet_bake_seconds=30))

    assert (made.bake_seconds, made.quiet_bake_seconds) == (0.0, 0.0)


def test_a_quiet_bake_is_never_shorter_than_a_bake() -> None:
    assert plan(Kind.PUSH, chosen(bake_seconds=9, quiet_bake_seconds=5)).quiet_bake_seconds == 9


def test_without_a_trial_worker_nothing_is_tried() -> None:
    untried = chosen(trial={"enabled": False})

    assert not any(plan(kind, untried).trial for kind in Kind)


@pytest.mark.parametrize(("canary", "expected"), [(1, 1), (3, 3), ("25%", 1), ("50%", 2), (9, 4)])
def test_how_many_move_first_is_a_count_or_a_part(canary: object, expected: int) -> None:
    assert shown(plan(Kind.PUSH, chosen(canary=canary)))[1] == expected
