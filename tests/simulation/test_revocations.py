"""An entry whose file is gone is revoked, whatever else is wrong, or people are told that it still works."""

from __future__ import annotations

from nexus_supervisor.core import events
from nexus_supervisor.core.rollout import Kind
from tests.support.simulated import SYNTAX, content, settings
from tests.support.world import World, recorded, running


def test_what_is_gone_is_revoked_although_the_rest_failed_before() -> None:
    world = running(x="1")
    world.faults.poison = {content("bad"): "refuse", content("bad+x"): "refuse"}
    world.change("bad")
    world.settle()

    del world.directory.live["x"]
    world.touch()
    world.settle()

    assert world.digests() == {content("a")}
    assert world.kinds().count("revoked") == 1


def test_a_push_of_which_the_whole_fails_still_revokes_what_is_gone() -> None:
    world = running(x="1")
    world.faults.poison[content("bad")] = "refuse"
    del world.directory.live["x"]

    world.change("bad")
    world.push(1)
    world.settle()

    assert world.answers[1].exit_code == 3
    assert world.digests() == {content("a")}


def test_a_revocation_that_fails_is_a_security_notice_once_and_is_not_tried_again() -> None:
    world = running(x="1")
    world.faults.poison[content("a")] = "refuse"
    del world.directory.live["x"]
    world.directory.problems = SYNTAX
    world.touch()
    world.settle()

    world.elapse(60)

    assert world.digests() == {content("a+x")}
    assert world.kinds().count("entry_still_live") == 1
    assert len(recorded(world)) == 2


def test_a_revocation_goes_although_live_changes_wait_for_a_held_one() -> None:
    world = running(x="1")
    world.directory.cold, world.directory.blocks = "2", True
    del world.directory.live["x"]
    world.change("b")
    world.push(1)

    world.settle()

    assert world.digests() == {content("a")}
    assert world.answers[1].exit_code == 8
    assert world.kinds().count("revoked") == 1


def test_a_vanished_name_has_a_moment_unless_somebody_is_in_a_hurry() -> None:
    given = settings(watch={"debounce_ms": 0, "remove_settle_ms": 50})
    world = World(given=given)
    world.directory.live["x"] = "1"
    world.begin()
    world.settle()
    del world.directory.live["x"]
    world.touch()
    world.settle()
    assert world.digests() == {content("a+x")}

    world.post(events.Touched(None, urgent=True))
    world.settle()

    assert world.digests() == {content("a")}


def test_an_entry_that_only_an_unreadable_file_may_hold_is_a_security_notice() -> None:
    world = running(x="1")
    world.directory.problems, world.directory.doubtful = SYNTAX, ("sources.x",)

    world.push(1)
    world.settle()

    assert world.kinds().count("entry_still_live") == 1
    assert "yet still in use: sources.x." in world.answers[1].text


def test_an_entry_that_came_back_and_vanished_again_is_told_anew() -> None:
    world = running(x="1")
    world.directory.problems, world.directory.doubtful = SYNTAX, ("sources.x",)
    world.touch()
    world.settle()
    world.directory.problems, world.directory.doubtful = (), ()
    world.touch()
    world.settle()

    world.directory.problems, world.directory.doubtful = SYNTAX, ("sources.x",)
    world.touch()
    world.settle()

    assert world.kinds().count("entry_still_live") == 2


def test_what_is_gone_does_not_wait_for_a_rollout_that_is_paused_or_hangs_in_its_trial_where_nothing_bakes() -> None:
    for held_up in ("paused", "in its trial"):
        world = running(x="1")
        world.change("b")
        world.settle_but(events.WorkerSaid)
        if held_up == "paused":
            world.steer(1, "pause")

        world.remove("x")
        world.settle_but(events.WorkerSaid)

        rollout = world.fleet.board.rollout
        assert rollout is not None
        assert (rollout.kind, rollout.digest) == (Kind.REVOCATION, content("a"))
        world.settle()
        assert world.digests() == ({content("a"), content("b")} if held_up == "paused" else {content("b")})
        assert world.kinds().count("revoked") == 1
