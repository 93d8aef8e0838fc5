"""Who moves to a version, in which order, and what each is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexus_supervisor.core import effects
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.messages import Activate, Drain
from nexus_supervisor.core.rollout import Kind, Phase, Rollout
from nexus_supervisor.core.roster import Roster
from tests.support.journeys import NEW, OLD, SETTINGS, answer, drive, fleet, journey
from tests.support.simulated import content


def at(rollout: Rollout) -> Phase:
    return rollout.phase


def stage_all(roster: Roster) -> None:
    for process in roster.live():
        roster.put(replace(process, staged=NEW))


# --- in place --------------------------------------------------------------------------------------------------------


def sent_to(sent: list[effects.Effect]) -> list[str]:
    return [one.slot for one in sent if isinstance(one, effects.Send | effects.SendStage)]


def test_the_canary_is_staged_first_and_then_the_others_with_what_each_holds() -> None:
    roster, rollout = fleet(3), journey()

    assert drive(rollout, roster) == [effects.SendStage("s0", 1, 1, NEW, (content("a"),))]
    assert roster.deadline() == 10
    answer(roster, "s0", staged=NEW)

    assert drive(rollout, roster) == [
        effects.SendStage("s1", 1, 2, NEW, (content("a"),)),
        effects.SendStage("s2", 1, 3, NEW, (content("a"),)),
    ]


@pytest.mark.parametrize("kind", [Kind.ROLLBACK])
def test_what_goes_back_is_staged_everywhere_at_once(kind: Kind) -> None:
    roster, rollout = fleet(3), journey(kind)

    assert sent_to(drive(rollout, roster)) == ["s0", "s1", "s2"]


def test_nothing_is_sent_twice_however_often_the_facts_are_looked_at() -> None:
    roster, rollout = fleet(), journey()
    drive(rollout, roster)

    assert drive(rollout, roster) == []


def staged(rollout: Rollout, roster: Roster) -> list[effects.Effect]:
    """Have the version staged everywhere; return what is sent then."""
    drive(rollout, roster)
    answer(roster, rollout.canaries[0], staged=NEW)
    drive(rollout, roster)
    stage_all(roster)
    return drive(rollout, roster)


def test_nobody_activates_before_everybody_has_staged_and_then_one_does() -> None:
    roster, rollout = fleet(3), journey()
    drive(rollout, roster)
    answer(roster, "s0", staged=NEW)
    drive(rollout, roster)
    answer(roster, "s1", staged=NEW)
    assert drive(rollout, roster) == []
    assert at(rollout) is Phase.STAGING

    answer(roster, "s2", staged=NEW)

    assert drive(rollout, roster) == [effects.Send("s0", 1, Activate(1, NEW))]
    assert at(rollout) is Phase.CANARY


def test_without_a_bake_the_others_follow_when_the_canary_is_active() -> None:
    roster, rollout = fleet(3), journey()
    staged(rollout, roster)

    answer(roster, "s0", active=NEW, staged=None, activating=False)

    assert sent_to(drive(rollout, roster)) == ["s1", "s2"]
    assert at(rollout) is Phase.WAVE


def test_the_next_group_moves_when_the_one_before_has() -> None:
    roster, rollout = fleet(6), journey()
    staged(rollout, roster)
    answer(roster, "s0", active=NEW, staged=None, activating=False)
    assert sent_to(drive(rollout, roster)) == ["s1", "s2"]

    answer(roster, "s1", active=NEW, staged=None, activating=False)
    assert drive(rollout, roster) == []
    answer(roster, "s2", active=NEW, staged=None, activating=False)

    assert sent_to(drive(rollout, roster)) == ["s3", "s4"]


def test_a_version_is_about_to_be_committed_when_everybody_has_it_active() -> None:
    roster, rollout = fleet(2), journey()
    staged(rollout, roster)
    answer(roster, "s0", active=NEW, staged=None, activating=False)
    drive(rollout, roster)
    assert at(rollout) is Phase.WAVE

    answer(roster, "s1", active=NEW, staged=None, activating=False)
    drive(rollout, roster)

    assert at(rollout) is Phase.COMMITTING


def test_a_worker_that_still_boots_another_version_does_not_hold_up_staging_and_joins_later() -> None:
    roster, rollout = fleet(2), journey()
    answer(roster, "s1", active=None, life=Life.STARTING)
    staged_alone = drive(rollout, roster)
    answer(roster, "s0", staged=NEW)
    assert sent_to(staged_alone) == ["s0"]

    drive(rollout, roster)
    assert at(rollout) is Phase.CANARY
    answer(roster, "s0", active=NEW, staged=None, activating=False)
    drive(rollout, roster)
    assert at(rollout) is Phase.WAVE

    answer(roster, "s1", active=OLD)
    assert [type(one) for one in drive(rollout, roster)] == [effects.SendStage]


def test_without_any_worker_a_version_waits_as_long_as_a_start_may_take_and_blames_nobody() -> None:
    roster, rollout = Roster(lambda: 1.0, {}), journey()
    drive(rollout, roster, 10.0)
    assert rollout.alone_until == 10 + SETTINGS.supervisor.rollout.start_timeout_seconds

    drive(rollout, roster, 70.0)

    assert rollout.ended
    assert not rollout.blamed


def test_what_is_paused_for_too_long_is_left_and_nobody_is_blamed() -> None:
    roster, rollout = fleet(3), journey()
    rollout.paused_since = 10.0
    limit = SETTINGS.supervisor.rollout.max_pause_seconds
    assert rollout.deadline(SETTINGS) == 10 + limit

    drive(rollout, roster, 10 + limit)

    assert (rollout.phase, rollout.blamed, rollout.aborted) == (Phase.REJECTED, False, True)


# --- by replacement --------------------------------------------------------------------------------------------------


def spawned(sent: list[effects.Effect]) -> list[str]:
    return [one.slot for one in sent if isinstance(one, effects.Spawn)]


def test_a_restart_replaces_one_first_and_then_as_many_at_a_time_as_settings_allow() -> None:
    roster, rollout = fleet(4), journey(Kind.RESTART, "s0", "s1", "s2", "s3")

    first = drive(rollout, roster)
    assert [one for one in first if isinstance(one, effects.Spawn)] == [
        effects.Spawn("s0", 0, 2, content("b"), 1, fresh=True)
    ]
    answer(roster, "s0", life=Life.READY, active=NEW)

    sent = drive(rollout, roster)

    assert spawned(sent) == ["s1", "s2"]
    assert effects.Send("s0", 1, Drain(30.0)) in sent


def test_the_old_worker_is_drained_when_the_new_one_serves() -> None:
    roster, rollout = fleet(1), journey(Kind.RESTART, "s0")
    assert not [one for one in drive(rollout, roster) if isinstance(one, effects.Send)]

    answer(roster, "s0", life=Life.READY, active=NEW)

    assert drive(rollout, roster) == [effects.Send("s0", 1, Drain(30.0))]
    assert at(rollout) is Phase.COMMITTING


def test_a_restart_moves_nobody_in_place() -> None:
    roster, rollout = fleet(2), journey(Kind.RESTART, "s0")

    sent = drive(rollout, roster)

    assert not [one for one in sent if isinstance(one, effects.SendStage)]
