"""What a verdict on the directory leads to: what goes first, what waits, what is refused, what is left on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from nexus_supervisor.core import effects
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.fleet import Fleet
from nexus_supervisor.core.guards import NAMES
from nexus_supervisor.core.history import Committed, History
from nexus_supervisor.core.problems import Problem
from tests.support.simulated import COLD_KEY, SYNTAX, content, settings
from tests.support.world import World, recorded, running

if TYPE_CHECKING:
    from nexus_supervisor.core.notices import Notice

BAKE = settings(bake=2.0)
MANY = {f"e{number}": "1" for number in range(9)}
REMAINS = (Problem("sources/main.toml", 1, "source.twin", "value", "it names an entry that is gone"),)


def told(world: World, kind: str) -> list[Notice]:
    return [notice for notice in world.notices if notice.kind == kind]


def kinds(world: World) -> list[str]:
    """Return the kinds of the versions that were recorded after the first one."""
    return [one.kind for one in world.effects if isinstance(one, effects.Record)][1:]


def looks(world: World) -> int:
    return len(world.performed(effects.Look))


def rest(world: World, seconds: float = 30.0) -> None:
    """Let everything come to its end."""
    world.settle()
    world.elapse(seconds)
    world.check_rest()


# --- revocations -----------------------------------------------------------------------------------------------------


def test_what_is_gone_is_revoked_before_the_change_beside_it_bakes() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.live["main"] = "b"

    world.remove("e1")
    world.settle()

    assert kinds(world) == ["revocation", "push"]
    assert world.live().keys() == {"gateway-0", "gateway-1", "gateway-2"}
    assert not any("e1" in digest for digest in world.digests())
    rest(world)
    assert kinds(world) == ["revocation", "push"]


def test_without_a_bake_what_is_gone_and_what_changed_are_one_version() -> None:
    world = running(**MANY)
    world.directory.live["main"] = "b"

    world.remove("e1")
    rest(world)

    assert kinds(world) == ["push"]


@pytest.mark.parametrize("bake", [0.0, 2.0])
def test_where_nothing_but_entries_is_gone_that_is_one_revocation_and_answers_the_push(bake: float) -> None:
    world = running(given=settings(bake=bake), **MANY)
    del world.directory.live["e1"]

    world.push(1)
    rest(world)

    assert kinds(world) == ["revocation"]
    assert (world.answers[1].exit_code, world.answers[1].version) == (0, 2)


def test_a_push_of_both_is_answered_when_the_rest_is_live() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.live["main"] = "b"
    del world.directory.live["e1"]

    world.push(1)
    world.settle()
    assert 1 not in world.answers
    rest(world)

    assert kinds(world) == ["revocation", "push"]
    assert (world.answers[1].exit_code, world.answers[1].version) == (0, 3)


def test_looks_during_a_revocation_do_not_lead_to_more_looks() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.live["main"] = "b"
    world.remove("e1")
    while not world.fleet.board.rollout:
        assert world.step()
    before, under_way = looks(world), world.pending
    world.pending = []

    for _ in range(5):
        world.touch()
        world.settle()

    assert looks(world) == before + 5
    world.pending += under_way
    rest(world)
    assert kinds(world) == ["revocation", "push"]


def test_a_deletion_supersedes_what_bakes_and_that_starts_again_on_top() -> None:
    world = running(given=BAKE, **MANY)
    world.change("b")
    world.settle()
    assert kinds(world) == ["push"]

    world.remove("e1")
    rest(world)

    assert kinds(world) == ["push", "revocation", "push"]
    assert len(told(world, "rollout_superseded")) == 1


def test_what_is_gone_is_revoked_though_the_rest_failed_before() -> None:
    world = running(**MANY)
    world.directory.live["main"] = "b"
    del world.directory.live["e8"]
    wanted = world.directory.put(world.directory.live, "", world.settings)
    world.faults.poison[wanted] = "refuse"

    world.touch()
    rest(world)

    assert kinds(world) == ["push", "revocation"]
    assert not any("e8" in digest for digest in world.digests())
    assert world.fleet.board.standing.drift is not None
    assert world.fleet.board.standing.drift.reason == "quarantined"


def test_a_revocation_that_failed_is_told_once_and_not_tried_again_by_itself() -> None:
    world = running(**MANY)
    less = {name: value for name, value in world.directory.live.items() if name != "e1"}
    poisoned = world.directory.put(less, "", world.settings)
    world.faults.poison[poisoned] = "refuse"

    world.remove("e1")
    rest(world, 60)

    assert kinds(world) == ["revocation"]
    assert len(told(world, "entry_still_live")) == 1


def test_what_is_gone_stays_where_what_remains_is_not_valid() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.remains = REMAINS
    world.directory.problems = SYNTAX

    world.remove("e1")
    rest(world)

    assert kinds(world) == []
    (notice,) = told(world, "entry_still_live")
    assert "it names an entry that is gone" in notice.text


def test_what_is_gone_from_a_directory_that_is_not_valid_is_revoked_and_the_push_refused() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.problems = SYNTAX
    del world.directory.live["e1"]

    world.push(1)
    rest(world)

    assert kinds(world) == ["revocation"]
    assert world.answers[1].exit_code == 3
    assert world.answers[1].problems == SYNTAX


def test_a_restart_revokes_what_is_gone_first_and_then_applies_what_is_held() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.cold = "2"
    del world.directory.live["e1"]

    world.restart(1)
    rest(world, 60)

    assert kinds(world) == ["revocation", "restart"]
    assert world.answers[1].exit_code == 0


def test_what_is_held_keeps_nothing_from_being_revoked() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.cold, world.directory.blocks = "2", True
    world.directory.live["main"] = "b"
    del world.directory.live["e1"]

    world.push(1)
    rest(world)

    assert kinds(world) == ["revocation"]
    assert (world.answers[1].exit_code, world.answers[1].held) == (8, (COLD_KEY,))


def test_a_restart_gives_way_to_a_deletion_and_begins_again_after_it() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.cold = "2"
    world.restart(1)
    while not world.fleet.board.rollout:
        assert world.step()
    under_way, world.pending = world.pending, []
    world.directory.live["main"] = "b"
    del world.directory.live["e1"]
    before = looks(world)

    for _ in range(5):
        world.touch()
        world.settle()

    assert looks(world) == before + 5 + 1  # one for each touch, and one for the restart that is asked for again
    world.pending += under_way
    rest(world, 60)
    assert kinds(world) == ["restart", "revocation", "restart"]


# --- guards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bake", [0.0, 2.0])
def test_many_entries_that_vanish_at_once_stay_live_until_somebody_allows_it(bake: float) -> None:
    world = running(given=settings(bake=bake), **MANY)

    world.remove(*list(MANY)[:6])
    rest(world)

    assert kinds(world) == []
    assert len(told(world, "candidate_guarded")) == 1
    assert len(told(world, "entry_still_live")) == 1
    drift = world.fleet.board.standing.drift
    assert drift is not None
    assert drift.reason == "rejected"
    world.push(1)
    rest(world)
    assert world.answers[1].exit_code == 3
    assert [problem.code for problem in world.answers[1].problems] == ["guard"]
    world.push(2, allow=("shrink",))
    rest(world)
    assert world.answers[2].exit_code == 0
    assert kinds(world) == ["revocation"]
    assert world.fleet.board.standing.drift is None


def test_looks_while_something_allowed_is_on_its_way_do_not_judge_it_again() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.live = {"main": "b", "e0": "1", "e1": "1"}

    world.push(1, allow=("shrink",))
    for _ in range(20):
        world.step()
        world.touch()
    rest(world)

    assert world.answers[1].exit_code == 0
    assert told(world, "candidate_guarded") == []
    assert kinds(world) == ["revocation", "push"]


def test_after_an_allowed_change_one_more_entry_can_be_revoked() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.live = {"main": "b", "e0": "1", "e1": "1", "e2": "1"}
    world.push(1, allow=("shrink",))
    world.settle()
    world.elapse(10)
    before = len(kinds(world))

    world.remove("e0")
    world.settle()

    assert kinds(world)[before:] == ["revocation"]


def test_rm_of_everything_one_by_one_stops_at_half() -> None:
    world = running(given=BAKE, **MANY)

    for name in MANY:
        world.remove(name)
        world.settle()
    world.elapse(1)

    (digest,) = world.digests()
    assert len(str(digest).rstrip("0").split("+")) == 5
    assert len(told(world, "candidate_guarded")) == 1


def test_guards_judge_what_vanishes_from_a_directory_that_is_not_valid() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.problems = SYNTAX
    for name in list(MANY)[:6]:
        del world.directory.live[name]

    world.push(1)
    rest(world)

    assert kinds(world) == []
    assert [problem.code for problem in world.answers[1].problems] == ["syntax", "guard"]
    world.push(2, allow=("shrink",))
    rest(world)
    assert kinds(world) == ["revocation"]
    assert world.answers[2].exit_code == 3


def test_a_guard_that_warns_tells_once_and_lets_it_go() -> None:
    world = running(given=settings(bake=2.0, guards={"shrink": "warn", "emptied": "warn"}), **MANY)

    world.remove(*list(MANY)[:6])
    for _ in range(5):
        world.touch()
        world.step()
    rest(world)

    assert kinds(world) == ["revocation"]
    assert [notice.level for notice in told(world, "candidate_guarded")] == ["warning"]


def test_growth_is_refused_and_does_not_keep_anything_from_being_revoked() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.live["big"] = "x" * 2000
    del world.directory.live["e1"]

    world.push(1)
    rest(world)

    assert kinds(world) == ["revocation"]
    assert world.answers[1].exit_code == 3
    assert "growth" in str(world.answers[1].problems[0])
    world.push(2, allow=("growth",))
    rest(world)
    assert world.answers[2].exit_code == 0


def test_an_entry_that_may_do_more_is_told_once() -> None:
    world = running(given=BAKE, **MANY)
    world.directory.widened = ("sources.main.tier",)

    world.change("b")
    for _ in range(3):
        world.touch()
    rest(world)

    (notice,) = told(world, "entry_widened")
    assert notice.level == "warning"
    assert notice.fields["keys"] == ("sources.main.tier",)
    assert kinds(world) == ["push"]


def test_an_entry_that_may_do_more_is_refused_where_settings_say_so() -> None:
    world = running(given=settings(guards={"widened": "refuse"}), **MANY)
    world.directory.widened = ("sources.main.tier",)
    world.directory.live["main"] = "b"

    world.push(1)
    rest(world)
    world.push(2, allow=("widened",))
    rest(world)

    assert (world.answers[1].exit_code, world.answers[2].exit_code) == (3, 0)
    assert [notice.level for notice in told(world, "entry_widened")] == ["error"]


def test_a_restart_that_a_guard_refuses_does_not_take_a_push_along() -> None:
    world = running(given=settings(guards={"growth_min_bytes": 0}), **MANY)
    world.directory.live["big"] = "x" * 200

    world.restart(1)
    world.push(2, allow=("growth",))
    rest(world, 60)

    assert world.answers[1].exit_code == 3
    assert world.answers[2].exit_code == 0


def test_after_an_allowed_push_a_restart_on_the_same_directory_is_not_refused() -> None:
    world = running(given=settings(guards={"growth_min_bytes": 0}), **MANY)
    world.directory.live["big"] = "x" * 200
    world.directory.cold = "2"

    world.push(1, allow=("growth",))
    rest(world)
    world.restart(2)
    rest(world, 60)

    assert (world.answers[1].exit_code, world.answers[2].exit_code) == (8, 0)


# --- pins ------------------------------------------------------------------------------------------------------------


def pinned(**entries: str) -> World:
    """Return a world that went back from version 2, whose content the directory still holds."""
    world = running(**entries)
    world.change("b")
    world.settle()
    world.elapse(30)
    world.rollback(90)
    world.settle()
    world.elapse(30)
    assert world.answers[90].exit_code == 0
    return world


def test_what_was_gone_back_from_is_not_applied_by_itself_and_that_is_told_once() -> None:
    world = pinned()
    before = kinds(world)

    for _ in range(3):
        world.touch()
    world.settle()
    world.elapse(30)

    assert kinds(world) == before
    assert len(told(world, "candidate_pinned")) == 1
    drift = world.fleet.board.standing.drift
    assert drift is not None
    assert drift.reason == "pinned"


def test_another_change_unpins() -> None:
    world = pinned()

    world.change("c")
    rest(world)

    assert world.performed(effects.Pin)[-1] == effects.Pin(None)
    assert world.fleet.board.history.pinned is None
    assert recorded(world)[-1][1] == "c"
    assert world.fleet.board.standing.drift is None


def test_what_vanishes_from_a_pinned_directory_goes_and_what_was_left_on_purpose_stays_pinned() -> None:
    world = pinned(x="1", y="1", z="1", w="1")

    world.remove("x")
    rest(world)

    assert recorded(world)[-1][1] == "a+w+y+z"
    assert kinds(world)[-1] == "revocation"
    assert world.performed(effects.Pin)[-1] == effects.Pin(content("b+w+y+z"))
    world.push(1)
    rest(world)
    assert recorded(world)[-1][1] == "b+w+y+z"


def test_content_that_failed_is_not_tried_again_because_an_entry_was_taken_away() -> None:
    world = running(x="1")
    world.faults.poison[content("bad+x")] = "refuse"
    world.change("bad")
    rest(world)
    assert content("bad+x") in world.fleet.board.history.quarantined

    world.remove("x")
    rest(world)

    assert kinds(world)[-1] == "revocation"
    assert recorded(world)[-1][1] == "a"
    assert content("bad") in world.fleet.board.history.quarantined
    world.change("good")
    rest(world)
    assert recorded(world)[-1][1] == "good"


def test_a_push_unpins() -> None:
    world = pinned()

    world.push(1)
    rest(world)

    assert world.answers[1].exit_code == 0
    assert world.performed(effects.Pin)[-1] == effects.Pin(None)
    assert recorded(world)[-1][1] == "b"


def test_a_push_that_is_refused_leaves_the_pin() -> None:
    world = pinned()
    world.fleet.board.history.quarantine(content("b"), "version 2 was rolled back: it is bad")

    world.push(1)
    world.settle()

    assert world.answers[1].exit_code == 4
    assert world.fleet.board.history.pinned == content("b")
    world.push(2, force=True)
    rest(world)
    assert world.answers[2].exit_code == 0
    assert world.fleet.board.history.pinned is None


def test_a_directory_that_is_not_valid_does_not_unpin() -> None:
    world = pinned()
    world.directory.problems = SYNTAX
    world.touch()
    world.settle()

    world.directory.problems = ()
    world.touch()
    world.settle()

    assert world.fleet.board.history.pinned == content("b")
    assert recorded(world)[-1][1] == "a"


def test_a_restart_of_a_pinned_directory_restarts_what_runs() -> None:
    world = pinned()
    world.directory.cold = "2"
    world.fleet.board.history.pinned = content("b!2")
    before = {key: worker.current for key, worker in world.workers.items()}

    world.restart(1)
    world.settle()
    world.elapse(30)

    assert world.answers[1].exit_code == 0
    assert world.digests() == {content("a")}
    assert not before.keys() & world.workers.keys()


def test_what_is_gone_from_a_pinned_directory_is_revoked_without_the_rest() -> None:
    world = pinned(x="1", y="1", z="1", w="1")
    del world.directory.live["x"]
    world.fleet.board.history.pinned = content("b+w+y+z")

    world.touch()
    world.settle()
    world.elapse(30)

    assert recorded(world)[-1][1] == "a+w+y+z"
    assert world.fleet.board.history.pinned == content("b+w+y+z")


def test_a_restart_that_waits_for_a_revocation_restarts_what_runs_then() -> None:
    world = pinned(x="1", y="1", z="1", w="1")
    del world.directory.live["x"]
    world.fleet.board.history.pinned = content("b+w+y+z")

    world.restart(1)
    world.settle()
    world.elapse(30)

    assert world.answers[1].exit_code == 0
    assert kinds(world)[-1] == "revocation"
    assert world.digests() == {content("a+w+y+z")}


def test_a_restart_asked_for_while_it_is_gone_back_does_not_undo_that() -> None:
    world = pinned()
    world.push(1)
    world.settle()
    world.elapse(30)
    world.rollback(2, 1)
    while not world.fleet.board.rollout:
        assert world.step()
    world.fleet.board.history.pinned = content("b")

    world.restart(3)
    world.settle()
    world.elapse(30)

    assert (world.answers[2].exit_code, world.answers[3].exit_code) == (0, 0)
    assert world.digests() == {content("a")}
    assert recorded(world)[-1][1] == "a"


def test_a_pin_that_a_start_finds_keeps_the_directory_from_being_applied() -> None:
    world = World(committed=Committed(Version(3), content("a")))
    world.fleet = Fleet(world.settings, History(3, Committed(Version(3), content("a")), pinned=content("b")), world.now)
    world.directory.live["main"] = "b"

    world.begin()
    world.settle()
    world.elapse(30)

    assert world.digests() == {content("a")}
    assert len(told(world, "candidate_pinned")) == 1
    world.push(1)
    rest(world)
    assert world.digests() == {content("b")}


# --- whatever happens ------------------------------------------------------------------------------------------------


ENTRIES = [f"e{number}" for number in range(6)]


class People:
    """Do whatever people do to a directory and to what runs."""

    def __init__(self, seed: int, bake: float) -> None:
        self.world = running(seed, given=settings(bake=bake), **dict.fromkeys(ENTRIES, "1"))
        self.tickets = 0

    def ticket(self) -> int:
        self.tickets += 1
        return self.tickets

    def edit(self, what: str, which: int) -> None:
        """Change something about the files."""
        directory = self.world.directory
        match what:
            case "remove":
                directory.live.pop(ENTRIES[which % 6], None)
            case "add":
                directory.live[ENTRIES[which % 6]] = "1" if which < 6 else "x" * 2000
            case "change":
                directory.live["main"] = "abc"[which % 3]
            case "hold":
                directory.cold, directory.blocks = str(which % 2), which > 5
            case "break":
                directory.problems = SYNTAX if which % 2 else ()
                directory.remains = REMAINS if which > 5 else ()
            case _:
                directory.widened = ("sources.main.tier",) if which % 2 else ()
        self.world.touch()

    def ask(self, what: str, which: int) -> None:
        """Ask for something, or let something happen."""
        world, history = self.world, self.world.fleet.board.history
        match what:
            case "push":
                world.push(self.ticket(), force=which % 2 == 0, allow=NAMES if which > 5 else ())
            case "restart":
                world.restart(self.ticket())
            case "abort":
                world.steer(self.ticket(), "abort")
            case "pin":
                history.pinned = world.fleet.board.wanted
            case "poison":
                world.faults.poison = {content("abc"[which % 3]): "refuse"} if which % 2 else {}
            case "wait":
                world.elapse(which / 2)
            case _:
                for _ in range(which):
                    world.step()


deeds = st.tuples(st.just("edit"), st.sampled_from(["remove", "add", "change", "hold", "break", "widen"])) | st.tuples(
    st.just("ask"), st.sampled_from(["push", "restart", "abort", "pin", "poison", "wait", "step"])
)


@budget(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    bake=st.sampled_from([0.0, 1.0]),
    steps=st.lists(st.tuples(deeds, st.integers(0, 11)), max_size=25),
)
def test_whatever_people_do_everybody_is_answered_and_looking_ends(
    seed: int, bake: float, steps: list[tuple[tuple[str, str], int]]
) -> None:
    people = People(seed, bake)
    world = people.world

    for (verb, what), which in steps:
        (people.edit if verb == "edit" else people.ask)(what, which)
    world.faults.poison = {}
    world.directory.problems = world.directory.remains = ()
    world.settle()
    world.elapse(120)

    assert set(world.asked) <= set(world.answers)
    before = looks(world)
    world.elapse(60)
    assert looks(world) - before <= 12 + 1
    world.push(people.ticket(), force=True, allow=NAMES)
    world.settle()
    world.elapse(60)
    assert world.answers[people.tickets].exit_code in (0, 8)
    assert world.fleet.board.history.pinned is None
    assert world.fleet.board.standing.still_live == ()
