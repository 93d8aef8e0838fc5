"""The poison corpus against a real daemon under load: each kind harms one worker at most, and is taken back at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.supervisor.past import read_past
from tests.support.poison import LIES, WORKERS, Case, Kind, Ward, a_ward, kinds_met_by

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

EXIT_CODES = {"APPLIED": 0, "REJECTED": 3, "ROLLED_BACK": 4}


def in_groups(kinds: list[Kind], size: int) -> list[object]:
    groups = [tuple(kinds[start : start + size]) for start in range(0, len(kinds), size)]
    return [pytest.param(group, id=f"{group[0].name} and {len(group) - 1} more") for group in groups]


# --- what holds of every kind ----------------------------------------------------------------------------------------


def is_told_to_who_pushed(case: Case, kind: Kind) -> bool:
    return (case.ended.outcome, case.ended.exit_code) == (kind.word, EXIT_CODES[kind.word])


def is_the_last_rejection(case: Case, kind: Kind) -> bool:
    last = case.status["last_rejection"]
    return last is not None and last["reason"] == kind.word.lower() and bool(last["errors"])


def runs_what_ran_before(case: Case, digest: str) -> bool:
    """Say whether the content that ran before is committed, and what every worker that serves has."""
    used = {worker["version"] for worker in case.status["workers"] if worker["state"] == "ready"}
    return case.status["digest"] == digest and used == {case.status["version"]}


def check(case: Case, kind: Kind, digest: str) -> None:
    assert is_told_to_who_pushed(case, kind), case
    assert is_the_last_rejection(case, kind), (case.status["last_rejection"], case)
    assert runs_what_ran_before(case, digest), (case.status, case)
    assert len(case.affected) <= 1, (case.affected, case)
    assert case.least_ready >= WORKERS - 1, case
    # an answer that failed came from that worker and version; a lost one came from nobody
    assert {(one.slot, one.version) for one in case.failures if one.status} <= {
        (slot, case.target) for slot in case.affected
    }, case


def check_that_no_worker_met_it(case: Case) -> None:
    assert (case.staged_by, case.affected, case.failures) == (set(), set(), []), case
    assert case.status["version"] == case.before, case


def check_that_it_was_never_used(case: Case) -> None:
    assert (case.staged_by, case.activated_by, case.answered_by) == (set(), set(), set()), case
    assert case.status["version"] == case.before, case


def check_that_it_was_taken_back(case: Case) -> None:
    failed, back = case.first("rollout_failed", version=case.target), case.first("rolled_back")
    assert failed is not None, case
    assert len(case.activated_by) == 1, case
    if back is None:  # nobody has to go back: who had it is gone
        assert case.lost == case.activated_by, case
    else:
        assert failed.number < back.number, case
        assert case.status["version"] > (case.target or 0) > case.before, case


CHECKS = {
    "compiler": check_that_no_worker_met_it,
    "trial": check_that_no_worker_met_it,
    "staging": check_that_it_was_never_used,
    "bake": check_that_it_was_taken_back,
}


def meet_all(ward: Ward, kinds: tuple[Kind, ...]) -> None:
    digest, outcomes = ward.nexus.status()["digest"], {}
    for kind in kinds:
        print(kind.name)
        case = ward.meet(kind)
        check(case, kind, digest)
        CHECKS[kind.met_by](case)
        if kind.name == "raises in a handler":
            assert "the first exception was RuntimeError at " in case.status["last_rejection"]["errors"][0], case
        if case.target is not None:
            outcomes[case.target] = kind.word.lower()
        ward.cure()
    assert ends_in_history(ward, outcomes) == outcomes


def ends_in_history(ward: Ward, versions: Collection[int]) -> dict[int, str]:
    """Stop the daemon, and return what the journal says of versions that ended for a reason."""
    with ward.load.paused():
        assert ward.nexus.stop() == 0
    past = read_past(ward.nexus.directory).versions
    return {one.version: one.outcome for one in past if one.version in versions and one.detail and one.digest}


# --- the kinds -------------------------------------------------------------------------------------------------------


def test_what_fails_in_the_trial_never_meets_a_worker(tmp_path: Path) -> None:
    with a_ward(tmp_path) as ward:
        meet_all(ward, tuple(kinds_met_by("compiler", "trial")))


def test_what_spares_the_trial_and_fails_while_it_is_staged_is_never_used(tmp_path: Path) -> None:
    with a_ward(tmp_path) as ward:
        meet_all(ward, tuple(kinds_met_by("staging")))


@pytest.mark.parametrize("kinds", in_groups(kinds_met_by("bake"), 7))
def test_what_fails_in_use_is_taken_back_from_the_only_worker_that_had_it(
    tmp_path: Path, kinds: tuple[Kind, ...]
) -> None:
    with a_ward(tmp_path) as ward:
        meet_all(ward, kinds)


def test_a_worker_that_acknowledges_and_does_not_apply_is_found_out(tmp_path: Path) -> None:
    with a_ward(tmp_path, program="mutant:run") as ward:
        meet_all(ward, (LIES,))
