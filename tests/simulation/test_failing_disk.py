"""A journal or an archive that fails: nothing is sent that is not durable, nothing answered that is not true."""

from __future__ import annotations

from nexus_supervisor.core import events
from nexus_supervisor.core.content import Version
from tests.support.simulated import content
from tests.support.world import running


def test_a_way_back_that_can_not_be_recorded_replaces_who_had_moved() -> None:
    world = running()
    world.change("b")
    world.push(1)
    world.until_somebody_serves(2)
    world.faults.journal = True

    world.lose("gateway-1")
    world.lose("gateway-2")
    world.settle()

    assert world.digests() == {content("a")}
    assert set(world.live().values()) == {1}
    assert world.answers[1].exit_code == 4
    world.check_rest()


def test_a_commit_that_is_not_durable_is_never_answered_as_done_until_another_one_is() -> None:
    world = running()
    world.faults.commits = True
    world.change("b")
    world.push(1)
    world.settle()
    assert world.answers[1].exit_code == 5

    world.push(2)
    world.settle()
    assert world.answers[2].exit_code == 5

    world.faults.commits = False
    world.change("c")
    world.push(3)
    world.settle()
    assert world.answers[3].exit_code == 0


def test_a_version_that_can_not_be_written_to_compiled_is_not_answered_as_done() -> None:
    world = running()
    world.faults.archive = True

    world.change("b")
    world.push(1)
    world.settle()

    assert (world.answers[1].exit_code, world.answers[1].word) == (5, "INCONCLUSIVE")
    assert "compiled/" in world.answers[1].text


def test_a_late_or_doubled_word_of_the_journal_changes_nothing() -> None:
    world = running()
    world.change("b")
    world.settle()
    before = len(world.effects)

    for event in (events.Recorded(Version(2)), events.CommitRecorded(Version(2)), events.Prepared()):
        world.post(event)

    assert world.effects[before:] == []


def test_content_that_the_journal_can_not_take_is_not_tried_at_every_compare_but_when_somebody_asks() -> None:
    world = running()
    world.faults.journal = True
    world.change("b")
    world.settle()

    world.elapse(28)
    assert world.kinds().count("journal_failed") == 1

    world.push(1)
    world.settle()
    assert world.answers[1].exit_code == 1

    world.faults.journal = False
    world.push(2)
    world.settle()
    assert world.answers[2].exit_code == 0
    assert world.digests() == {content("b")}
