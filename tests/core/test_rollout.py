"""One version's journey: the table, and when a version has failed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.rollout import ENDS, STRIKES, TABLE, Kind, Phase, Step, advance
from tests.support.journeys import NEW, OLD, answer, drive, fleet, journey

if TYPE_CHECKING:
    from nexus_supervisor.core.roster import Process, Roster

# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("step", Step)
def test_every_step_is_answered_in_every_phase(phase: Phase, step: Step) -> None:
    assert advance(phase, step) is TABLE.get((phase, step), phase)


@pytest.mark.parametrize("phase", sorted(ENDS))
@pytest.mark.parametrize("step", Step)
def test_an_end_is_an_end(phase: Phase, step: Step) -> None:
    assert advance(phase, step) is phase


def test_the_way_to_the_end_has_no_short_cut() -> None:
    way = [
        *(Step.RECORDED, Step.PREPARED, Step.TRIED, Step.ALL_STAGED, Step.CANARY_ACTIVE, Step.BAKED, Step.ALL_ACTIVE),
        Step.COMMIT_RECORDED,
    ]

    phases = [Phase.RECORDING]
    for step in way:
        phases.append(advance(phases[-1], step))

    assert phases[-1] is Phase.COMMITTED
    for (phase, following), step in zip(pairwise(phases), way, strict=True):
        forward = {other for other in way if advance(phase, other) is not phase}
        assert forward == {step}, f"{phase} leads to {following} by one step alone"


def test_a_failure_before_the_first_activation_needs_no_way_back() -> None:
    failed = {phase: advance(phase, Step.FAILED) for phase in Phase}
    before = (Phase.RECORDING, Phase.PREPARING, Phase.TRIAL, Phase.STAGING)
    after = (Phase.CANARY, Phase.BAKE, Phase.WAVE)
    assert {phase for phase, then in failed.items() if then is Phase.REJECTED} == {*before, Phase.REJECTED}
    assert {phase for phase, then in failed.items() if then is Phase.ROLLED_BACK} == {*after, Phase.ROLLED_BACK}


def test_what_every_worker_serves_can_no_longer_fail() -> None:
    rollout = journey(phase=Phase.COMMITTING)

    rollout.fail("a worker was lost")

    assert (rollout.phase, rollout.failure) == (Phase.COMMITTING, "")


def test_a_commit_record_that_fails_leaves_what_is_live_live() -> None:
    rollout = journey(phase=Phase.COMMITTING)

    rollout.commit_failed("no space left")

    assert (rollout.phase, rollout.failure) == (Phase.COMMITTED, "no space left")


# --- strikes ---------------------------------------------------------------------------------------------------------


def lost(roster: Roster, slot: str, **facts: object) -> Process:
    answer(roster, slot, **facts)
    return list(roster.of(slot))[-1]


@pytest.mark.parametrize("kind", [Kind.REVOCATION, Kind.ROLLBACK, Kind.RESTART])
def test_one_loss_may_be_anybodys_and_the_second_is_the_versions(kind: Kind) -> None:
    roster, rollout = fleet(), journey(kind, phase=Phase.WAVE)

    rollout.strike(lost(roster, "s0", told=NEW), "s0 was lost")
    assert not rollout.ended

    rollout.strike(lost(roster, "s1", told=NEW), "s1 was lost")
    assert (rollout.phase, rollout.failure, rollout.strikes) == (Phase.ROLLED_BACK, "s1 was lost", STRIKES)


@pytest.mark.parametrize("kind", [Kind.PUSH, Kind.RETURN])
@pytest.mark.parametrize("phase", [Phase.STAGING, Phase.CANARY, Phase.BAKE, Phase.WAVE])
def test_the_loss_of_a_canary_condemns_what_is_pushed_at_once(kind: Kind, phase: Phase) -> None:
    roster, rollout = fleet(), journey(kind, phase=phase)
    rollout.canaries = ("s0",)

    rollout.strike(lost(roster, "s0", told=NEW), "s0 was lost")

    assert (rollout.ended, rollout.blamed, rollout.failure) == (True, True, "s0 was lost")


def test_a_worker_that_dies_after_it_activated_condemns_what_is_pushed_at_once() -> None:
    roster, rollout = fleet(), journey(phase=Phase.WAVE)

    rollout.strike(lost(roster, "s0", told=NEW, active=NEW), "s0 was lost")

    assert rollout.phase is Phase.ROLLED_BACK


def test_a_worker_that_only_holds_what_bakes_elsewhere_says_nothing_about_it() -> None:
    roster, rollout = fleet(), journey(phase=Phase.BAKE)
    rollout.canaries = ("s0",)

    for slot in ("s1", "s2"):
        rollout.strike(lost(roster, slot, told=NEW, staged=NEW), "it was lost")

    assert not rollout.ended


def test_a_worker_that_was_never_sent_the_version_says_nothing_about_it() -> None:
    roster, rollout = fleet(), journey(phase=Phase.WAVE)

    rollout.strike(lost(roster, "s0"), "s0 was lost")

    assert rollout.strikes == 0


def test_a_replacement_that_never_served_ends_a_restart_at_once() -> None:
    roster, rollout = fleet(1), journey(Kind.RESTART, "s0", phase=Phase.CANARY)
    drive(rollout, roster)

    rollout.strike(lost(roster, "s0"), "s0 was lost")

    assert rollout.ended


def test_a_rollback_is_given_up_no_sooner_than_any_other_version() -> None:
    roster, rollout = fleet(1), journey(Kind.ROLLBACK, "s0", phase=Phase.WAVE)
    drive(rollout, roster)

    rollout.strike(lost(roster, "s0"), "s0 was lost")
    assert not rollout.ended

    rollout.strike(lost(roster, "s0"), "s0 was lost again")
    assert rollout.ended


def test_an_old_worker_that_dies_during_a_restart_of_the_same_version_is_not_blamed_on_it() -> None:
    roster, rollout = fleet(), journey(Kind.RESTART, "s0", phase=Phase.WAVE)
    rollout.version, rollout.recorded = OLD, False

    rollout.strike(lost(roster, "s1"), "s1 was lost")
    rollout.strike(lost(roster, "s2"), "s2 was lost")

    assert not rollout.ended


@pytest.mark.parametrize("phase", [Phase.RECORDING, Phase.PREPARING, Phase.TRIAL, Phase.COMMITTING])
def test_losses_before_anybody_is_sent_it_and_after_all_have_moved_don_t_count(phase: Phase) -> None:
    roster, rollout = fleet(), journey(phase=phase)

    for slot in ("s0", "s1", "s2"):
        rollout.strike(lost(roster, slot, told=NEW), "it was lost")

    assert rollout.phase is phase
