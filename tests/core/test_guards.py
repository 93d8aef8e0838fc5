"""Changes that look like accidents: what is suspicious, what was allowed, and what is told only once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.content import EMPTY
from nexus_supervisor.core.guards import NAMES, Breach, Guards, Peaks, breaches
from nexus_supervisor.core.options import GuardSettings
from nexus_supervisor.core.shape import NO_SHAPE, SectionShape, Shape
from tests.support.simulated import content

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Digest

RULES = GuardSettings()
A, B, C, D = content("a"), content("b"), content("c"), content("d")
MIB = 1 << 20


def sources(before: int, after: int, removed: int) -> Shape:
    return Shape({"sources": SectionShape(before, after, removed)})


def sized(before: int, after: int) -> Shape:
    return Shape({}, before, after)


def found(shape: Shape, *, peak: int = 0, widened: tuple[str, ...] = (), rules: GuardSettings = RULES) -> list[str]:
    return [one.guard for one in breaches(shape, widened, lambda _: peak, rules)]


@pytest.mark.parametrize(
    ("before", "after", "removed", "peak", "expected"),
    [
        (10, 10, 0, 0, []),
        (10, 9, 1, 0, []),
        (10, 5, 5, 0, []),
        (10, 4, 6, 0, ["shrink"]),
        (10, 0, 10, 0, ["shrink", "emptied"]),
        (10, 10, 10, 0, ["shrink"]),
        (10, 14, 6, 0, ["shrink"]),
        (10, 14, 5, 0, []),
        (2, 0, 2, 0, []),
        (3, 1, 2, 0, []),
        (3, 0, 3, 0, ["shrink", "emptied"]),
        (5, 4, 1, 10, ["shrink"]),
        (6, 5, 1, 10, []),
        (1, 0, 1, 3, ["shrink", "emptied"]),
        (1, 0, 1, 2, []),
        (2, 2, 0, 10, []),
        (2, 3, 0, 10, []),
        (0, 0, 0, 10, []),
        (0, 200_000, 0, 0, []),
        (4, 3, 1, 2, []),
    ],
)
def test_a_section_may_lose_up_to_half_of_its_largest_size_of_late(
    before: int, after: int, removed: int, peak: int, expected: list[str]
) -> None:
    assert found(sources(before, after, removed), peak=peak) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0, 1 << 30, []),
        (MIB, 10 * MIB, []),
        (MIB, 10 * MIB + 1, ["growth"]),
        (1_000, MIB, []),
        (1_000, MIB + 1, ["growth"]),
        (20 * MIB, MIB, []),
    ],
)
def test_content_may_grow_tenfold_and_small_content_freely(before: int, after: int, expected: list[str]) -> None:
    assert found(sized(before, after)) == expected


def test_each_guard_refuses_warns_or_is_off_as_settings_say() -> None:
    shape = Shape({"sources": SectionShape(4, 0, 4)}, 1, 2 * MIB)
    for verdict, expected in (("refuse", [True] * 4), ("warn", [False] * 4), ("off", [])):
        rules = GuardSettings(shrink=verdict, emptied=verdict, growth=verdict, widened=verdict)

        judged = breaches(shape, ("sources.a.tier",), lambda _: 0, rules)

        assert [one.refuses for one in judged] == expected
        assert {one.guard for one in judged} <= set(NAMES)


def test_by_default_an_entry_that_may_do_more_is_only_told_of() -> None:
    (widened,) = breaches(NO_SHAPE, ("sources.a.tier",), lambda _: 0, RULES)

    assert (widened.guard, widened.refuses, widened.keys) == ("widened", False, ("sources.a.tier",))


def test_each_section_is_judged_by_itself() -> None:
    shape = Shape({"sources": SectionShape(10, 1, 9), "clients": SectionShape(10, 9, 1)})

    assert [one.section for one in breaches(shape, (), lambda _: 0, RULES)] == ["sources"]


def test_a_problem_names_the_guard_the_figures_and_how_to_have_it_applied_all_the_same() -> None:
    (breach,) = breaches(sources(10, 4, 6), (), lambda _: 0, RULES)

    assert breach.problem.code == "guard"
    assert breach.problem.file == "."
    assert "6 of 10 entries of sources are gone" in str(breach.problem)
    assert "push --allow shrink --reason TEXT" in str(breach.problem)


@pytest.mark.parametrize("guard", NAMES)
def test_every_guard_names_itself_in_its_problem(guard: str) -> None:
    assert f"--allow {guard} " in str(Breach(guard, "", "something", refuses=True).problem)


# --- the largest of late ---------------------------------------------------------------------------------------------


def test_the_peak_is_the_largest_count_of_the_window() -> None:
    peaks = Peaks()
    for now, count in ((0, 7), (10, 9), (20, 3), (30, 5)):
        peaks.note(sources(count, 0, 0), now, 60)

    assert peaks.of("sources") == 9
    peaks.note(NO_SHAPE, 70, 60)
    assert peaks.of("sources") == 9
    peaks.note(NO_SHAPE, 71, 60)
    assert peaks.of("sources") == 5
    peaks.note(NO_SHAPE, 100, 60)
    assert peaks.of("sources") == 0


def test_a_storm_of_looks_at_the_same_size_is_remembered_as_one() -> None:
    peaks = Peaks()
    for step in range(10_000):
        peaks.note(sources(7, 0, 0), step / 1000, 60)

    assert len(peaks._falling["sources"]) == 1


# --- one look after the other ----------------------------------------------------------------------------------------


class Watched:
    """A section that loses and gains entries, each change judged; what passes goes live at once."""

    def __init__(self, count: int, rules: GuardSettings = RULES) -> None:
        self.guards = Guards()
        self.count, self.rules, self.now, self.step = count, rules, 100.0, 0

    def digest(self) -> Digest:
        return content(f"n{self.step}")

    def change(self, removed: int, added: int = 0, allow: frozenset[str] = frozenset()) -> list[str]:
        """Change the section; return the guards that refuse."""
        after = self.count - removed + added
        shape = sources(self.count, after, removed)
        self.guards.note(self.digest(), shape, self.now, self.rules)
        target = content(f"n{self.step + 1}")
        judged = self.guards.judge(self.digest(), target, shape, (), allow, self.rules)
        refusing = [one.guard for one in judged if one.refuses]
        if not refusing:
            self.count, self.step = after, self.step + 1
        return refusing


def test_rm_of_everything_one_by_one_stops_at_half() -> None:
    watched = Watched(10)
    removed = 0
    while not watched.change(1):
        removed += 1
        watched.now += 0.1

    assert removed == 5
    assert watched.count == 5


def test_slow_removal_passes_when_the_window_has_passed() -> None:
    watched = Watched(10)
    for _ in range(5):
        assert watched.change(1) == []
    assert watched.change(1) == ["shrink"]

    watched.now += 61
    watched.change(0)

    assert watched.change(1) == []


def test_a_window_of_nothing_looks_at_each_change_by_itself() -> None:
    watched = Watched(10, GuardSettings(shrink_window_seconds=0.0))
    for _ in range(10):
        watched.now += 0.1
        assert watched.change(1) == []


def test_all_entries_replaced_at_once_are_as_good_as_gone() -> None:
    assert Watched(10).change(10, added=10) == ["shrink"]


def test_one_entry_can_always_be_revoked_from_a_section_that_is_at_rest() -> None:
    for count in range(1, 30):
        assert Watched(count).change(1) == []


def test_what_was_allowed_passes_and_is_the_measure_from_then_on() -> None:
    watched = Watched(10)
    assert watched.change(8) == ["shrink"]

    assert watched.change(8, allow=frozenset({"shrink"})) == []

    assert watched.change(0, added=1) == []
    assert watched.change(1) == []


def test_each_guard_has_to_be_allowed_by_its_own_name() -> None:
    watched = Watched(10)

    assert watched.change(10, allow=frozenset({"shrink"})) == ["emptied"]
    assert watched.change(10, allow=frozenset({"emptied"})) == ["shrink"]
    assert watched.change(10, allow=frozenset({"emptied", "shrink"})) == []


def test_what_is_allowed_but_never_goes_live_is_no_measure() -> None:
    watched = Watched(10)
    shape = sources(10, 2, 8)
    watched.guards.judge(watched.digest(), content("never"), shape, (), {"shrink"}, RULES)

    for _ in range(5):
        assert watched.change(1) == []
    assert watched.change(1) == ["shrink"]


def test_where_nothing_runs_yet_nothing_is_suspicious() -> None:
    guards = Guards()
    shape = Shape({"sources": SectionShape(9, 0, 9)}, 1, 1 << 30)

    assert guards.judge(EMPTY.digest, A, shape, ("sources.a.tier",), (), RULES) == ()


def test_an_allowance_holds_until_the_directory_holds_something_else() -> None:
    guards = Guards()
    guards.allow(A, {"shrink"})
    guards.allow(A, ())
    guards.allow(A, {"growth"})
    assert guards.allowed == {"shrink", "growth"}

    guards.allow(B, ())

    assert guards.allowed == set()
    guards.allow(A, ())
    assert guards.allowed == set()


def test_a_suspicion_is_told_once_though_its_numbers_change_and_again_when_it_was_gone() -> None:
    guards = Guards()
    first, later = Breach("shrink", "sources", "6 of 10", refuses=True), Breach("shrink", "sources", "7 of 10", True)
    other = Breach("shrink", "clients", "6 of 10", refuses=True)

    assert guards.untold([first, first]) == (first,)
    assert guards.untold([later]) == ()
    assert guards.untold([later, other]) == (other,)
    assert guards.untold([]) == ()
    assert guards.untold([first]) == (first,)


def test_other_keys_that_may_do_more_are_another_suspicion() -> None:
    guards = Guards()
    one = Breach("widened", "", "more", refuses=False, keys=("sources.a.tier",))
    two = Breach("widened", "", "more", refuses=False, keys=("sources.b.tier",))

    assert guards.untold([one]) == (one,)
    assert guards.untold([two]) == (two,)
