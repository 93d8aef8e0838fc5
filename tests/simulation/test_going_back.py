"""Going back: by command, and by itself where a committed version turns out to be poison."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.history import Committed
from tests.support.simulated import SYNTAX, content, settings
from tests.support.simulated_workers import TRIAL
from tests.support.world import World, recorded, running

BAD = content("bad")


def after(*names: str, **more: Any) -> World:
    """Return a world in which these contents were committed one after the other, the last a while ago."""
    world = running(given=settings(**more))
    for name in names:
        world.change(name)
        world.settle()
        world.elapse(3)
    world.elapse(30)
    return world


def test_a_rollback_brings_the_previous_content_as_a_new_version_and_pins_the_directory() -> None:
    world = after("b")

    world.rollback(1)
    world.settle()
    world.elapse(30)

    assert (world.answers[1].exit_code, world.answers[1].version) == (0, 3)
    assert recorded(world) == [(1, "a"), (2, "b"), (3, "a")]
    assert world.digests() == {content("a")}
    assert world.fleet.board.history.pinned == content("b")
    record = world.performed(effects.Record)[-1]
    assert isinstance(record, effects.Record)
    assert (record.rollback_of, record.kind, record.requester) == (1, "return", "me")
    world.check_rest()


def test_a_rollback_may_name_its_version() -> None:
    world = after("b", "c")

    world.rollback(1, 1)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert world.digests() == {content("a")}


@pytest.mark.parametrize("version", [9, 0])
def test_a_version_that_is_not_there_can_not_be_gone_back_to(version: int) -> None:
    world = after("b")

    world.rollback(1, version)
    world.settle()

    assert world.answers[1].exit_code == 3
    assert world.digests() == {content("b")}


def test_what_runs_is_not_gone_back_to() -> None:
    world = after("b")

    world.rollback(1, 2)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert len(recorded(world)) == 2


def test_a_rollback_is_tried_and_baked_like_any_other_version() -> None:
    world = after("b", bake=2.0, trial=True)

    world.rollback(1)
    world.settle()
    assert list(world.live().values()).count(3) == 1
    assert 3 in world.invariants.tried
    world.elapse(3)

    assert world.answers[1].exit_code == 0
    world.check_rest()


def test_a_rollback_whose_target_is_bad_stops_at_one_worker_and_all_serve_what_they_served() -> None:
    world = after("b", bake=2.0)
    world.faults.poison[content("a")] = "errors"

    world.rollback(1)
    world.settle()
    world.elapse(10)

    assert world.answers[1].exit_code == 4
    assert world.digests() == {content("b")}
    world.check_rest()


def test_a_rollback_leaves_out_what_no_file_has_any_more() -> None:
    world = running(x="1")
    world.change("b")
    world.settle()
    world.remove("x")
    world.settle()

    world.rollback(1, 1)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert world.digests() == {content("a")}


def test_an_entry_that_vanishes_after_a_rollback_is_revoked_although_the_directory_is_pinned() -> None:
    world = running(x="1")
    world.change("b")
    world.settle()
    world.rollback(1)
    world.settle()
    assert world.digests() == {content("a+x")}

    world.remove("x")
    world.settle()
    world.elapse(30)

    assert world.digests() == {content("a")}
    assert world.fleet.board.history.pinned == content("b"), "the pin moves to what remains"
    world.check_rest()


def test_an_entry_that_vanished_from_a_pinned_directory_goes_and_what_was_left_stays_pinned() -> None:
    world = running(given=settings(bake=2.0), x="1")
    world.change("b")
    world.settle()
    world.elapse(3)
    world.rollback(1)
    world.settle()
    world.elapse(3)
    assert world.digests() == {content("a+x")}

    world.remove("x")
    world.settle()

    assert world.digests() == {content("a")}
    world.elapse(3)
    assert world.digests() == {content("a")}
    world.change("c")
    world.settle()
    world.elapse(3)
    assert world.digests() == {content("c")}
    world.check_rest()


def test_two_rollbacks_at_a_time_are_a_conflict() -> None:
    world = after("b", "c")

    world.rollback(1)
    world.rollback(2)
    world.settle()

    assert world.answers[1].exit_code == 0
    assert world.answers[2].exit_code == 6


def test_a_rollback_is_a_conflict_while_something_is_under_way() -> None:
    world = after("b", bake=20)
    world.change("c")
    world.settle()

    world.rollback(1)

    assert world.answers[1].exit_code == 6


def test_a_rollback_that_was_asked_for_twice_under_one_id_is_one() -> None:
    world = after("b")

    world.rollback(1, push_id="p")
    world.rollback(2, push_id="p")
    world.settle()
    world.rollback(3, push_id="p")
    world.settle()

    assert world.answers[1] == world.answers[2] == world.answers[3]
    assert len(recorded(world)) == 3
    assert len(world.performed(effects.Note)) == 1


def test_a_rollback_survives_the_loss_of_the_compiler_as_a_refusal() -> None:
    world = after("b")
    world.faults.recalls = True

    world.rollback(1)
    world.settle()

    assert world.answers[1].exit_code in (1, 3, 5)
    world.check_rest()


# --- by itself -------------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_soon_after_the_commit_has_the_version_go_back() -> None:
    world = running(given=settings(bake=2.0))
    world.faults.poison[BAD] = "bomb"
    world.elapse(30)
    world.change("bad")
    world.push(1)
    world.settle()

    world.elapse(4)
    assert world.answers[1].exit_code == 0
    world.elapse(60)

    assert world.digests() == {content("a")}
    assert BAD in world.fleet.board.history.quarantined
    assert [one for one in world.kinds() if one in ("version_condemned", "rolled_back")]
    world.check_rest()


def test_a_crash_loop_on_a_committed_version_has_it_go_back() -> None:
    world = running()
    world.change("bad")
    world.settle()
    world.elapse(60)
    world.faults.poison[BAD] = "start dies"

    world.lose("gateway-1")
    world.settle()
    world.elapse(60)

    assert world.digests() == {content("a")}
    assert BAD in world.fleet.board.history.quarantined
    world.check_rest()


def test_a_crash_loop_of_a_version_that_has_proved_itself_is_nobodys_fault() -> None:
    world = running()
    world.change("b")
    world.settle()
    world.elapse(700)
    world.faults.poison[content("b")] = "start dies"

    world.lose("gateway-1")
    world.settle()
    world.elapse(60)

    assert world.digests() == {content("b")}
    assert len(recorded(world)) == 2


def test_a_committed_version_goes_back_by_itself_once_in_a_while_only() -> None:
    world = after("b", "c")
    for name in ("c", "b"):
        world.faults.poison[content(name)] = "start dies"
        world.lose("gateway-1")
        world.settle()
        world.elapse(60)

    assert recorded(world) == [(1, "a"), (2, "b"), (3, "c"), (4, "b")]
    assert world.kinds().count("version_condemned") <= 2


def test_what_goes_back_by_itself_leaves_out_what_no_file_has_any_more() -> None:
    world = running(x="1")
    world.change("bad")
    world.settle()
    world.remove("x")
    world.settle()
    world.faults.poison[BAD] = "start dies"

    world.lose("gateway-1")
    world.settle()
    world.elapse(60)

    assert not [one for one in world.digests() if "+x" in one]


def test_a_condemned_version_takes_the_place_of_what_is_pushed_on_top() -> None:
    world = running(given=settings(bake=50))
    world.elapse(30)
    world.change("bad")
    world.push(1, now=True)
    world.settle()
    world.faults.poison[BAD] = "start dies"
    world.change("c")
    world.push(2)
    world.settle()
    other = next(slot for slot, version in world.live().items() if version == 2)

    world.lose(other)
    world.settle()
    world.elapse(400)

    assert 2 in world.answers
    assert BAD in world.fleet.board.history.quarantined
    world.check_rest()
    assert world.digests() <= {content("a"), content("c")}


def test_a_broken_directory_does_not_keep_a_condemned_version_alive() -> None:
    world = running()
    world.change("bad")
    world.settle()
    world.directory.problems = SYNTAX
    world.touch()
    world.settle()
    world.faults.poison[BAD] = "start dies"

    world.lose("gateway-1")
    world.settle()
    world.elapse(60)

    assert world.digests() == {content("a")}


def test_what_goes_back_by_itself_pins_nothing_that_was_not_at_fault() -> None:
    world = running(given=settings(bake=20))
    world.elapse(30)
    world.change("bad")
    world.push(1, now=True)
    world.settle()
    world.faults.poison[BAD] = "start dies"
    world.change("c")
    world.settle()
    other = next(slot for slot, version in world.live().items() if version == 2)
    world.lose(other)

    world.settle()
    world.elapse(100)

    assert BAD in world.fleet.board.history.quarantined
    assert world.digests() == {content("c")}
    world.check_rest()


def test_what_was_committed_meanwhile_is_not_gone_back_from() -> None:
    world = running(given=settings(bake=20))
    world.elapse(30)
    world.change("bad")
    world.push(1, now=True)
    world.settle()
    world.change("c")
    world.settle()
    world.lose(next(slot for slot, version in world.live().items() if version == 2))
    assert "version_condemned" in world.kinds()

    world.steer(2, "promote")
    world.settle_but(events.Recalled)
    assert world.digests() == {content("c")}
    world.settle()
    world.elapse(60)

    assert world.digests() == {content("c")}
    assert BAD in world.fleet.board.history.quarantined
    world.check_rest()


def dies_when_it_is_sent(world: World, version: int) -> None:
    """Have the first worker that serves and is sent a version die of what it serves before it has answered."""

    def heard(what: events.Event | effects.Effect) -> None:
        if isinstance(what, effects.SendStage) and what.version == version and what.slot != TRIAL:
            key = (what.slot, what.incarnation)
            if world.workers[key].current:
                world.heard = lambda _: None
                world.die(key, "killed by SIGKILL")

    world.heard = heard


def test_a_worker_that_dies_of_the_condemned_version_says_nothing_about_what_is_gone_back_to() -> None:
    world = running()
    world.change("bad")
    world.settle()
    world.elapse(60)
    world.faults.poison[BAD] = "start dies"
    dies_when_it_is_sent(world, 3)

    world.lose("gateway-1")
    world.settle()
    world.elapse(60)

    assert world.digests() == {content("a")}
    assert set(world.fleet.board.history.quarantined) == {BAD}
    world.check_rest()


def test_workers_that_die_over_and_over_of_what_runs_say_nothing_about_what_mends_it() -> None:
    world = after("bad")
    world.elapse(700)
    world.faults.poison[BAD] = "start dies"
    world.lose("gateway-0")
    world.settle()
    world.elapse(5)
    world.faults.poison.clear()
    world.scale(9, 3)  # a slot that was given up is tried again
    world.elapse(40)
    world.lose("gateway-0")
    world.lose("gateway-0")
    world.settle()
    world.elapse(0.5)
    world.rates = {"gateway-0": 1_000.0, "gateway-1": 0.0, "gateway-2": 0.0}
    world.elapse(15)
    dies_when_it_is_sent(world, 3)

    world.change("mended")
    world.push(1)
    world.settle()
    world.elapse(100)

    assert world.answers[1].exit_code == 0
    assert world.digests() == {content("mended")}
    assert not world.fleet.board.history.quarantined
    world.check_rest()


@pytest.mark.parametrize(("proving", "served"), [(5.0, "a"), (3_600.0, "bad"), (None, "bad")])
def test_a_new_start_does_not_end_the_probation_of_a_version(proving: float | None, served: str) -> None:
    world = World(committed=Committed(Version(2), BAD))
    world.directory.put({"main": "a"}, "", world.settings)
    world.durable[1] = content("a")
    history = world.fleet.board.history
    history.previous, history.proving = Committed(Version(1), content("a")), proving
    world.begin()
    world.settle()
    world.faults.poison[BAD] = "start dies"

    world.lose("gateway-1")
    world.settle()
    world.elapse(60)

    assert world.digests() == {content(served)}
    world.check_rest()


def test_what_goes_back_by_itself_goes_on_after_a_revocation_that_came_between() -> None:
    world = running(given=settings(bake=2.0), x="1")
    world.elapse(30)
    world.change("bad")
    world.push(1, now=True)
    world.settle()
    poison = [content("bad+x"), content("bad")]
    world.faults.poison |= dict.fromkeys(poison, "start dies")
    world.lose("gateway-1")
    world.settle_but(events.Recorded)  # it is on its way back

    world.remove("x")
    world.settle()
    world.elapse(120)

    assert "rollout_superseded" in world.kinds()
    assert world.digests() == {content("a")}
    assert set(world.fleet.board.history.quarantined) == set(poison)
    world.check_rest()


def test_what_a_start_brought_is_gone_back_from_where_workers_die_of_it_over_and_over() -> None:
    world = World(committed=Committed(Version(1), content("a")))
    world.durable[1] = content("a")
    world.directory.live["main"] = "bad"
    world.begin()
    world.settle()
    assert world.digests() == {BAD}
    world.faults.poison[BAD] = "start dies"

    world.lose("gateway-1")
    world.settle()
    world.elapse(60)

    assert world.digests() == {content("a")}
    assert BAD in world.fleet.board.history.quarantined
    world.check_rest()
