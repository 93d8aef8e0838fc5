"""A canary meets a version first: the others follow when it has baked, or never."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Activate, Erred, Probe
from nexus_supervisor.core.rollout import Kind, Phase
from tests.support.simulated import content, settings
from tests.support.world import World, recorded, running

BAD = content("bad")


def baking(workers: int = 3, **more: Any) -> World:
    """Return a world in which version 1 runs, and everything pushed bakes for 2 s."""
    world = running(workers=workers, given=settings(workers, bake=2.0, **more))
    world.elapse(30)
    return world


def moved(world: World, version: int) -> list[str]:
    """Return the slots that were told to activate a version, in order."""
    sent = [one for one in world.effects if isinstance(one, effects.Send) and isinstance(one.message, Activate)]
    return [one.slot for one in sent if isinstance(one.message, Activate) and one.message.version == version]


def phase(world: World) -> Phase | None:
    return None if world.fleet.board.rollout is None else world.fleet.board.rollout.phase


def test_the_busiest_worker_moves_first_and_the_others_follow_when_it_has_baked() -> None:
    world = running(given=settings(bake=2.0))
    world.rates["gateway-1"] = 900.0
    world.elapse(30)
    world.change("b")
    world.push(1)
    world.settle()
    world.elapse(1.9)
    assert world.live() == {"gateway-0": 1, "gateway-1": 2, "gateway-2": 1}
    assert 1 not in world.answers

    world.elapse(0.2)

    assert set(world.live().values()) == {2}
    assert world.answers[1].exit_code == 0
    assert world.answers[1].numbers["canary_requests"]
    assert moved(world, 2)[0] == "gateway-1"


def test_everybody_has_staged_before_the_first_one_moves_and_the_first_one_stages_first() -> None:
    world = baking()
    world.change("b")

    while not moved(world, 2):
        assert world.step()

    staged = [one.slot for one in world.effects if isinstance(one, effects.SendStage) and one.version == 2]
    assert staged[0] == moved(world, 2)[0]
    assert sorted(staged) == ["gateway-0", "gateway-1", "gateway-2"]
    assert all(one.staged or one.current == (2, content("b")) for one in world.workers.values())


@pytest.mark.parametrize("illness", ["errors", "slow", "hangs", "leaks"])
def test_a_canary_that_falls_ill_goes_back_before_anybody_else_moves(illness: str) -> None:
    world = baking()
    world.faults.poison[BAD] = illness
    world.change("bad")
    world.push(1)
    world.settle()

    world.elapse(3)

    assert len(moved(world, 2)) == 1
    assert world.digests() == {content("a")}
    assert (world.answers[1].exit_code, world.answers[1].word) == (4, "ROLLED_BACK")
    assert world.answers[1].numbers["canary_requests"] is not None
    assert BAD in world.fleet.board.history.quarantined
    ends = [one for one in world.effects if isinstance(one, effects.End) and one.version == 2]
    assert [one.outcome for one in ends] == ["rolled_back"]
    world.check_rest()


@pytest.mark.parametrize("poison", ["activate dies", "active dies", "bomb", "activate hangs"])
def test_a_canary_that_is_lost_condemns_the_version_at_once(poison: str) -> None:
    world = baking(rollout={"bake_seconds": 20})
    world.faults.poison[BAD] = poison
    world.change("bad")
    world.push(1)

    world.settle()
    world.elapse(6)

    assert len(moved(world, 2)) == 1
    assert world.answers[1].exit_code == 4
    assert BAD in world.fleet.board.history.quarantined
    world.elapse(60)
    world.check_rest()


def test_a_quiet_canary_bakes_longer_and_then_the_others_follow_one_by_one() -> None:
    world = baking(5, rollout={"max_parallel": 2})
    world.faults.quiet = True
    world.elapse(70)
    world.change("b")
    world.push(1)
    world.settle()
    world.elapse(4.5)
    assert len(moved(world, 2)) == 1

    world.elapse(1)

    assert world.answers[1].exit_code == 0
    assert len(moved(world, 2)) == 5
    ways = [one for one in world.notices if one.kind == "rollout_phase" and one.fields["phase"] == "wave"]
    assert [one.fields["moved"] for one in ways] == [2, 3, 4, 5]


def test_a_quiet_canary_goes_back_where_the_settings_say_so() -> None:
    world = baking(rollout={"on_inconclusive": "rollback"})
    world.faults.quiet = True
    world.elapse(70)
    world.change("b")
    world.push(1)
    world.settle()

    world.elapse(6)

    assert len(moved(world, 2)) == 1
    assert world.answers[1].exit_code in (4, 5)
    assert world.digests() == {content("a")}
    world.check_rest()


def test_a_quiet_canary_that_passes_its_probe_needs_no_longer_bake() -> None:
    world = baking()
    world.faults.quiet, world.faults.probe = True, "passed"
    world.elapse(70)
    world.change("b")
    world.push(1)
    world.settle()

    world.elapse(2.2)

    assert world.answers[1].exit_code == 0


@pytest.mark.parametrize("poison", ["probe fails", "probe hangs"])
def test_a_quiet_canary_that_fails_its_probe_goes_back(poison: str) -> None:
    world = baking()
    world.faults.quiet = True
    world.faults.poison[BAD] = poison
    world.elapse(70)
    world.change("bad")
    world.push(1)
    world.settle()

    world.elapse(10)

    probed = [one for one in world.effects if isinstance(one, effects.Send) and isinstance(one.message, Probe)]
    assert len(probed) == 1
    assert len(moved(world, 2)) == 1
    assert world.answers[1].exit_code == 4
    world.check_rest()


@pytest.mark.parametrize("gate", ["refuses", "silent"])
def test_an_external_gate_that_does_not_pass_it_has_a_version_go_back(gate: str) -> None:
    world = baking(external_gate={"command": "true"})
    world.faults.gate = gate
    world.change("b")
    world.push(1)
    world.settle()

    world.elapse(50)

    assert len(moved(world, 2)) == 1
    assert world.answers[1].exit_code == 4
    assert "gate" in world.answers[1].text
    world.check_rest()


def test_an_external_gate_is_asked_once_and_lets_the_others_follow() -> None:
    world = baking(external_gate={"command": "true"})
    world.change("b")
    world.push(1)
    world.settle()

    world.elapse(3)

    assert world.answers[1].exit_code == 0
    assert world.performed(effects.RunGate) == [effects.RunGate(2, 1, "push")]  # type: ignore[arg-type]


def test_the_others_follow_in_groups_with_a_pause_between() -> None:
    world = baking(5, rollout={"max_parallel": 2, "wave_pause_seconds": 10})
    world.change("b")
    world.settle()
    world.elapse(2.1)
    assert len(moved(world, 2)) == 3

    world.elapse(9)
    assert len(moved(world, 2)) == 3
    world.elapse(1)

    assert len(moved(world, 2)) == 5
    world.check_rest()


def test_a_single_worker_is_compared_with_its_own_last_minute() -> None:
    world = baking(1)
    world.faults.poison[BAD] = "errors"
    world.change("bad")
    world.push(1)
    world.settle()

    world.elapse(3)

    assert world.answers[1].exit_code == 4
    assert world.live() == {"gateway-0": 3}
    assert world.digests() == {content("a")}


def test_a_push_in_a_hurry_does_not_bake() -> None:
    world = baking()
    world.change("b")

    world.push(1, now=True)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert set(world.live().values()) == {2}


def test_somebody_in_a_hurry_ends_a_bake_that_is_under_way() -> None:
    world = baking()
    world.change("b")
    world.settle()
    assert phase(world) is Phase.BAKE

    world.push(1, now=True)
    world.settle()

    assert world.answers[1].exit_code == 0


@pytest.mark.parametrize("strategy", ["rolling", "all_at_once"])
def test_another_strategy_has_no_canary(strategy: str) -> None:
    world = baking()
    world.change("b")

    world.push(1, strategy=strategy)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert not world.performed(effects.RunGate)


def test_more_than_one_canary_may_move_first() -> None:
    world = baking(4, rollout={"canary": 2})
    world.change("b")
    world.settle()
    world.elapse(1)

    assert len(moved(world, 2)) == 2


def test_what_changes_while_a_canary_bakes_waits_and_only_the_newest_goes() -> None:
    world = baking()
    for name in "bcdef":
        world.change(name)
        world.settle()

    world.elapse(10)

    assert recorded(world) == [(1, "a"), (2, "b"), (3, "f")]
    world.check_rest()


def test_a_minute_of_edits_makes_at_most_seventy_versions_and_ends_on_the_last() -> None:
    world = running(given=settings(bake=2.0, watch={"debounce_ms": 1, "remove_settle_ms": 0}))
    for number in range(1_200):
        world.change(f"e{number}x")
        world.settle()
        world.elapse(0.05)

    world.elapse(10)

    assert len(recorded(world)) <= 70
    assert world.digests() == {content("e1199x")}
    world.check_rest()


def test_a_worker_that_starts_while_a_canary_bakes_gets_what_is_committed() -> None:
    world = baking()
    world.change("b")
    world.settle()
    other = next(slot for slot, version in world.live().items() if version == 1)

    world.lose(other)
    world.settle()
    world.elapse(0.5)

    assert world.live()[other] == 1
    world.elapse(5)
    assert set(world.live().values()) == {2}
    world.check_rest()


def test_a_canary_that_answers_late_owes_nothing_to_what_took_the_place_of_its_version() -> None:
    world = running(given=settings(bake=2.0, trial=True), x="1")
    world.elapse(30)
    world.change("b")
    while not moved(world, 2):
        assert world.step()
    world.faults.poison[content("a")] = "trial hangs"
    late = [event for event in world.pending if getattr(getattr(event, "message", None), "version", 0) == 2]
    world.pending = [event for event in world.pending if event not in late]
    world.remove("x")
    world.settle()
    assert world.fleet.board.rollout is not None
    assert world.fleet.board.rollout.kind is Kind.REVOCATION
    world.pending += late
    world.settle()

    world.elapse(7)

    assert "slot_fenced" not in world.kinds()
    assert {incarnation for _, incarnation in world.workers} == {1}


def test_a_canary_goes_back_although_another_worker_does_not_answer() -> None:
    world = baking()
    world.faults.poison[BAD] = "errors"
    world.change("bad")
    world.settle()
    first = moved(world, 2)[0]
    other = next(slot for slot, version in world.live().items() if version == 1)
    world.faults.poison[content("a")], world.faults.victims = "silent", {other}

    world.elapse(1)

    assert world.live()[first] == 3, "what is bad is left at once"
    world.elapse(60)
    world.faults.poison.clear()
    world.elapse(60)
    world.check_rest()


def test_the_first_exception_of_a_canary_is_told_beside_the_figures() -> None:
    world = baking()
    world.faults.poison[BAD] = "errors"
    world.change("bad")
    world.push(1)
    world.settle()
    first = moved(world, 2)[0]
    other = next(slot for slot, version in world.live().items() if version == 1)
    for slot, what in ((other, "OSError"), (first, "ZeroDivisionError at app.py:12"), (first, "KeyError")):
        world.post(events.WorkerSaid(Erred(slot, 1, Version(2), what)))

    world.elapse(3)

    assert "the first exception was ZeroDivisionError at app.py:12" in world.answers[1].text
