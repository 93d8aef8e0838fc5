"""What the directory holds while something else is on its way, and who is told what."""

from __future__ import annotations

from nexus_supervisor.core import effects
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.history import Committed
from tests.support.simulated import SYNTAX, content
from tests.support.world import World, recorded, running


def test_a_start_on_unchanged_content_still_holds_what_needs_a_restart() -> None:
    world = World(committed=Committed(Version(7), content("a")))
    world.begin()
    world.settle()

    world.directory.cold = "2"
    world.push(1)
    world.settle()

    assert world.answers[1].exit_code == 8
    assert recorded(world) == []


def test_what_waits_is_judged_anew_where_something_else_was_committed_meanwhile() -> None:
    world = running(x="1")
    world.change("b")
    while not [one for one in world.performed(effects.Commit) if one.version == 2]:  # type: ignore[union-attr]
        assert world.step()
    del world.directory.live["x"]
    world.directory.problems = SYNTAX
    world.push(1)

    world.settle()

    assert world.digests() == {content("b")}, "what is revoked is revoked from what runs by then"
    assert world.answers[1].exit_code == 3


def test_what_is_gone_takes_the_place_of_what_is_not_yet_live_everywhere() -> None:
    world = running(x="1")
    world.change("b")
    while not recorded(world)[1:]:
        assert world.step()
    del world.directory.live["x"]
    world.directory.problems = SYNTAX
    world.push(1)

    world.settle()

    assert world.digests() == {content("a")}, "and does not start again where the directory is broken by then"
    assert world.answers[1].exit_code == 3
    world.check_rest()


def test_a_candidate_that_waits_does_not_go_where_the_directory_is_broken_by_then() -> None:
    world = running()
    world.change("b")
    while not recorded(world)[1:]:
        assert world.step()
    world.change("c")
    world.push(1)
    while world.fleet.board.waiting is None:
        assert world.step()
    world.directory.problems = SYNTAX
    world.touch()

    world.settle()

    assert content("c") not in {digest for _, digest in world.durable.items()}
    assert world.answers[1].exit_code == 3


def test_a_candidate_that_waits_does_not_go_where_the_running_one_fails_and_the_directory_is_broken_by_then() -> None:
    world = running()
    world.faults.poison[content("bad")] = "silent"
    world.change("bad")
    world.settle()
    world.change("c")
    world.push(1)
    world.settle()
    assert world.fleet.board.waiting is not None

    world.directory.problems = SYNTAX
    world.touch()
    world.settle()
    world.elapse(30)

    assert world.answers[1].exit_code == 3
    assert world.digests() == {content("a")}


def test_content_that_failed_takes_the_place_of_what_waited_and_both_are_told() -> None:
    world = running()
    world.faults.poison[content("bad")] = "refuse"
    world.change("bad")
    world.settle()
    world.change("b")
    while len(recorded(world)) < 3:
        assert world.step()
    world.change("c")
    world.push(1)
    while world.fleet.board.waiting is None:
        assert world.step()
    world.change("bad")
    world.push(2)

    world.settle()

    assert world.digests() == {content("b")}
    assert (world.answers[1].exit_code, world.answers[2].exit_code) == (3, 3)


def test_a_directory_that_is_back_to_what_runs_while_another_candidate_waits_ends_there() -> None:
    world = running()
    world.change("b")
    while not recorded(world)[1:]:
        assert world.step()
    world.change("c")
    world.push(1)
    while world.fleet.board.waiting is None:
        assert world.step()
    world.change("a")
    world.push(2)

    world.settle()

    assert world.digests() == {content("a")}
    assert (world.answers[1].exit_code, world.answers[2].exit_code) == (0, 0)


def test_a_push_waits_while_files_keep_changing_and_not_for_ever() -> None:
    world = running()
    world.directory.problems, world.directory.unstable = SYNTAX, True
    world.push(1)
    world.settle()
    world.elapse(0.1)
    assert 1 not in world.answers

    world.elapse(5)

    assert world.answers[1].exit_code == 3
    assert world.kinds().count("candidate_unstable") == 1


def test_a_push_that_waits_for_a_file_gets_the_verdict_on_what_was_written() -> None:
    world = running()
    world.directory.problems, world.directory.unstable = SYNTAX, True
    world.push(1)
    world.settle()

    world.directory.problems = ()
    world.directory.live["main"] = "b"
    world.elapse(1)

    assert world.answers[1].exit_code == 0
    assert world.digests() == {content("b")}


def test_a_compiler_that_keeps_dying_is_not_started_without_pause() -> None:
    world = running()
    world.faults.looks = True
    world.push(1)
    world.settle()
    before = len(world.performed(effects.Look))

    world.elapse(60)

    assert world.answers[1].exit_code == 5
    assert len(world.performed(effects.Look)) - before < 25
    assert world.kinds().count("compiler_died") == 1
