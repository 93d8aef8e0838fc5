"""One version's journey: the table, what each process is sent, and when a version has failed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from nexus_supervisor.core import effects
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.messages import Activate, Drain
from nexus_supervisor.core.rollout import ENDS, STRIKES, TABLE, Kind, Phase, Rollout, Step, advance
from nexus_supervisor.core.roster import Process, Roster
from tests.support.simulated import content, settings

SETTINGS = settings(rollout={"max_parallel": 2, "stage_timeout_seconds": 10, "activate_timeout_seconds": 5})
OLD, NEW = Version(1), Version(2)


def fleet(count: int = 3) -> Roster:
    """Return processes that serve version 1."""
    roster = Roster(lambda: 1.0, {})
    roster.resize([f"s{number}" for number in range(count)])
    for number in range(count):
        process = roster.add(f"s{number}", number, 0.0, SETTINGS, None)
        known = replace(process, life=Life.READY, booted=True, told=OLD, active=OLD, ready_since=0.0)
        roster.put(replace(known, digest=content("a")))
    return roster


def journey(kind: Kind = Kind.PUSH, *slots: str, phase: Phase = Phase.STAGING) -> Rollout:
    return Rollout(kind, content("b"), SETTINGS, slots=slots, version=NEW, serial=7, phase=phase)


def drive(rollout: Rollout, roster: Roster, now: float = 0.0) -> list[effects.Effect]:
    return rollout.drive(roster, now, SETTINGS, OLD)


def answer(roster: Roster, slot: str, **facts: object) -> None:
    newest = list(roster.of(slot))[-1]
    roster.put(replace(newest, **facts))  # type: ignore[arg-type]


def stage_all(roster: Roster) -> None:
    for process in roster.live():
        roster.put(replace(process, staged=NEW))


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
    way = [Step.RECORDED, Step.BOUND, Step.ALL_STAGED, Step.ALL_ACTIVE, Step.COMMIT_RECORDED]

    phases = [Phase.RECORDING]
    for step in way:
        phases.append(advance(phases[-1], step))

    assert phases[-1] is Phase.COMMITTED
    for (phase, following), step in zip(pairwise(phases), way, strict=True):
        forward = {other for other in way if advance(phase, other) is not phase}
        assert forward == {step}, f"{phase} leads to {following} by one step alone"


def test_a_failure_before_the_first_activation_needs_no_way_back() -> None:
    assert {phase for phase in Phase if advance(phase, Step.FAILED) is Phase.REJECTED} >= {
        Phase.RECORDING,
        Phase.BINDING,
        Phase.STAGING,
    }
    assert advance(Phase.WAVE, Step.FAILED) is Phase.ROLLED_BACK


def test_what_every_worker_serves_can_no_longer_fail() -> None:
    rollout = journey(phase=Phase.COMMITTING)

    rollout.fail("a worker was lost")

    assert (rollout.phase, rollout.failure) == (Phase.COMMITTING, "")


def test_a_commit_record_that_fails_leaves_what_is_live_live() -> None:
    rollout = journey(phase=Phase.COMMITTING)

    rollout.commit_failed("no space left")

    assert (rollout.phase, rollout.failure) == (Phase.COMMITTED, "no space left")


# --- in place --------------------------------------------------------------------------------------------------------


def test_a_push_is_staged_everywhere_with_what_each_worker_holds() -> None:
    roster, rollout = fleet(2), journey()

    sent = drive(rollout, roster)

    assert sent == [
        effects.SendStage("s0", 1, 1, NEW, (content("a"),)),
        effects.SendStage("s1", 1, 2, NEW, (content("a"),)),
    ]
    assert roster.deadline() == 10


def test_nothing_is_sent_twice_however_often_the_facts_are_looked_at() -> None:
    roster, rollout = fleet(), journey()
    drive(rollout, roster)

    assert drive(rollout, roster) == []


def test_nobody_activates_before_everybody_has_staged() -> None:
    roster, rollout = fleet(2), journey()
    drive(rollout, roster)
    answer(roster, "s0", staged=NEW)
    assert drive(rollout, roster) == []
    assert rollout.phase is Phase.STAGING

    answer(roster, "s1", staged=NEW)

    assert [type(one.message) for one in drive(rollout, roster) if isinstance(one, effects.Send)] == [
        Activate,
        Activate,
    ]
    assert rollout.phase is Phase.WAVE


def test_a_version_is_about_to_be_committed_when_everybody_has_it_active() -> None:
    roster, rollout = fleet(2), journey()
    drive(rollout, roster)
    stage_all(roster)
    drive(rollout, roster)
    answer(roster, "s0", active=NEW)
    drive(rollout, roster)
    assert rollout.phase is Phase.WAVE

    answer(roster, "s1", active=NEW)
    drive(rollout, roster)

    assert rollout.phase is Phase.COMMITTING


def test_a_worker_that_still_boots_another_version_does_not_hold_up_staging_and_joins_later() -> None:
    roster, rollout = fleet(2), journey()
    answer(roster, "s1", active=None, life=Life.STARTING)
    drive(rollout, roster)

    answer(roster, "s0", staged=NEW)
    drive(rollout, roster)
    assert rollout.phase is Phase.WAVE

    answer(roster, "s0", active=NEW)
    drive(rollout, roster)
    assert rollout.phase is Phase.WAVE
    answer(roster, "s1", active=OLD)
    assert [type(one) for one in drive(rollout, roster)] == [effects.SendStage]


def test_without_any_worker_a_version_waits_as_long_as_a_start_may_take_and_blames_nobody() -> None:
    roster, rollout = Roster(lambda: 1.0, {}), journey()
    drive(rollout, roster, 10.0)
    assert rollout.alone_until == 10 + SETTINGS.supervisor.rollout.start_timeout_seconds

    drive(rollout, roster, 70.0)

    assert rollout.ended
    assert not rollout.blamed


# --- by replacement --------------------------------------------------------------------------------------------------


def test_a_restart_starts_as_many_at_a_time_as_settings_allow() -> None:
    roster, rollout = fleet(3), journey(Kind.RESTART, "s0", "s1", "s2")

    spawned = [one for one in drive(rollout, roster) if isinstance(one, effects.Spawn)]

    assert [(one.slot, one.incarnation, one.digest, one.floor) for one in spawned] == [
        ("s0", 2, content("b"), 1),
        ("s1", 2, content("b"), 1),
    ]


def test_the_old_worker_is_drained_when_the_new_one_serves() -> None:
    roster, rollout = fleet(1), journey(Kind.RESTART, "s0")
    assert not [one for one in drive(rollout, roster) if isinstance(one, effects.Send)]

    answer(roster, "s0", life=Life.READY, active=NEW)

    assert drive(rollout, roster) == [effects.Send("s0", 1, Drain(30.0))]
    assert rollout.phase is Phase.COMMITTING


def test_a_restart_moves_nobody_in_place() -> None:
    roster, rollout = fleet(2), journey(Kind.RESTART, "s0")

    sent = drive(rollout, roster)

    assert not [one for one in sent if isinstance(one, effects.SendStage)]


# --- strikes ---------------------------------------------------------------------------------------------------------


def lost(roster: Roster, slot: str, **facts: object) -> Process:
    answer(roster, slot, **facts)
    return list(roster.of(slot))[-1]


def test_one_loss_may_be_anybodys_and_the_second_is_the_versions() -> None:
    roster, rollout = fleet(), journey(phase=Phase.WAVE)

    rollout.strike(lost(roster, "s0", told=NEW), "s0 was lost")
    assert not rollout.ended

    rollout.strike(lost(roster, "s1", told=NEW), "s1 was lost")
    assert (rollout.phase, rollout.failure, rollout.strikes) == (Phase.ROLLED_BACK, "s1 was lost", STRIKES)


def test_a_worker_that_dies_after_it_activated_counts_as_lost_on_the_version() -> None:
    roster, rollout = fleet(), journey(phase=Phase.WAVE)

    rollout.strike(lost(roster, "s0", told=NEW, active=NEW), "s0 was lost")

    assert rollout.strikes == 1


def test_a_worker_that_was_never_sent_the_version_says_nothing_about_it() -> None:
    roster, rollout = fleet(), journey(phase=Phase.WAVE)

    rollout.strike(lost(roster, "s0"), "s0 was lost")

    assert rollout.strikes == 0


def test_a_replacement_that_never_served_ends_a_restart_at_once() -> None:
    roster, rollout = fleet(1), journey(Kind.RESTART, "s0", phase=Phase.WAVE)
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


@pytest.mark.parametrize("phase", [Phase.RECORDING, Phase.BINDING, Phase.COMMITTING])
def test_losses_outside_staging_and_wave_don_t_count(phase: Phase) -> None:
    roster, rollout = fleet(), journey(phase=phase)

    for slot in ("s0", "s1", "s2"):
        rollout.strike(lost(roster, slot, told=NEW), "it was lost")

    assert rollout.phase is phase
