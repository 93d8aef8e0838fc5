"""What status says about the difference between the directory and what runs, and since when."""

from __future__ import annotations

from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.standing import Drift, Rejection, Standing
from tests.support.simulated import COLD_KEY, SYNTAX

OTHER = (Problem("sources/b.toml", 1, "", "syntax", "expected a key"),)
FAILED = Problem(".", 0, "", "value", "version 4 was rolled back: gateway-0 was lost on it")


def test_a_valid_directory_of_which_nothing_is_held_does_not_differ() -> None:
    standing = Standing().rejected(1.0, SYNTAX).seen(2.0, (), quarantined=False)

    assert standing.drift is None
    assert standing.refusing == ()


def test_the_last_rejection_stays_known_after_it_was_mended() -> None:
    standing = Standing().rejected(1.0, SYNTAX).seen(2.0, (), quarantined=False)

    assert standing.rejection == Rejection(1.0, "rejected", SYNTAX)


def test_held_keys_are_held_since_the_first_of_them_was_seen() -> None:
    standing = (
        Standing().seen(1.0, (COLD_KEY,), quarantined=False).seen(9.0, (COLD_KEY, "daemon.port"), quarantined=False)
    )

    assert standing.held_since == 1.0
    assert standing.drift == Drift(1.0, "held", (COLD_KEY, "daemon.port"))


def test_keys_that_are_held_again_later_are_held_since_then() -> None:
    standing = Standing().seen(1.0, (COLD_KEY,), quarantined=False).seen(2.0, (), quarantined=False)

    assert standing.seen(3.0, (COLD_KEY,), quarantined=False).held_since == 3.0


def test_a_refusal_that_is_seen_again_keeps_its_time() -> None:
    standing = Standing().rejected(1.0, SYNTAX).rejected(6.0, SYNTAX)

    assert standing.rejection == Rejection(1.0, "rejected", SYNTAX)
    assert standing.drift == Drift(1.0, "rejected")


def test_other_problems_are_another_rejection_of_the_same_drift() -> None:
    standing = Standing().rejected(1.0, SYNTAX).rejected(6.0, OTHER)

    assert standing.rejection == Rejection(6.0, "rejected", OTHER)
    assert standing.drift == Drift(1.0, "rejected")


def test_content_that_failed_drifts_since_it_failed_however_often_it_is_seen() -> None:
    standing = Standing().failed(1.0, FAILED, "rolled_back", "quarantined")

    for now in (6.0, 11.0):
        standing = standing.seen(now, (), quarantined=True)

    assert standing.drift == Drift(1.0, "quarantined")
    assert standing.rejection == Rejection(1.0, "rolled_back", (FAILED,))


def test_a_failure_that_says_nothing_about_the_directory_leaves_the_drift() -> None:
    standing = Standing().seen(1.0, (COLD_KEY,), quarantined=False)

    assert standing.failed(2.0, FAILED, "rejected", None).drift == standing.drift


def test_what_is_held_stays_so_until_a_restart_has_applied_it() -> None:
    standing = Standing().seen(1.0, (COLD_KEY,), quarantined=False).whole()
    assert standing.held_keys == (COLD_KEY,)

    standing = standing.restarted()

    assert (standing.held_keys, standing.drift) == ((), None)


def test_what_was_left_on_purpose_is_pinned_also_where_it_failed_and_keys_are_held() -> None:
    standing = Standing().seen(1.0, (COLD_KEY,), quarantined=True, pinned=True)

    assert standing.drift == Drift(1.0, "pinned")
    assert (standing.held_keys, standing.held_since) == ((COLD_KEY,), 1.0)
    assert standing.seen(9.0, (COLD_KEY,), quarantined=False, pinned=True).drift == Drift(1.0, "pinned")


def test_a_change_that_a_guard_refuses_is_rejected_since_the_first_look_at_it() -> None:
    standing = Standing().guarded(1.0, (COLD_KEY,), SYNTAX).guarded(6.0, (COLD_KEY,), SYNTAX)

    assert standing.drift == Drift(1.0, "rejected")
    assert standing.rejection == Rejection(1.0, "rejected", SYNTAX)
    assert (standing.held_keys, standing.held_since) == ((COLD_KEY,), 1.0)


def test_a_guard_that_lets_it_go_leaves_nothing_but_the_last_rejection() -> None:
    standing = Standing().guarded(1.0, (), SYNTAX).seen(2.0, (), quarantined=False)

    assert (standing.drift, standing.refusing) == (None, ())
    assert standing.rejection == Rejection(1.0, "rejected", SYNTAX)
