"""Slots and processes: which count, how long silence lasts, when a slot gets a new one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexus_supervisor.core import restarts
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.lifecycle import Life, Word
from nexus_supervisor.core.roster import NEVER, Process, Roster, Slot
from tests.support.simulated import settings

SETTINGS = settings(restart={"backoff_seconds": 1, "period_seconds": 10}, rollout={"start_timeout_seconds": 60})


def roster(*names: str, **incarnations: int) -> Roster:
    made = Roster(lambda: 1.0, incarnations)
    made.resize(list(names))
    return made


def started(made: Roster, name: str = "a", now: float = 0.0) -> Process:
    return made.add(name, 0, now, SETTINGS, None)


def ready(made: Roster, name: str = "a", now: float = 0.0) -> Process:
    process = made.word(started(made, name, now), Word.SERVES)
    process = replace(process, ready_since=now)
    made.put(process)
    return process


def test_each_start_of_a_slot_is_another_incarnation() -> None:
    made = roster("a", a=4)

    assert [started(made).incarnation, started(made).incarnation] == [5, 6]


def test_a_slot_that_comes_back_goes_on_counting() -> None:
    made = roster("a", "b")
    started(made, "b")
    made.resize(["a"])

    made.resize(["a", "b"])

    assert started(made, "b").incarnation == 2


def test_a_start_that_takes_too_long_is_overdue_whatever_else_the_process_answered() -> None:
    made = roster("a")
    process = made.tell(started(made), Version(1))
    made.put(replace(process, staged=Version(1), deadline=NEVER))

    assert made.deadline() == 60
    assert made.overdue(59.9) == []
    assert [one.slot for one in made.overdue(60)] == ["a"]


def test_a_process_that_serves_owes_an_answer_only_where_it_was_asked() -> None:
    made = roster("a")
    process = ready(made)
    assert made.deadline() is None

    made.tell(process, Version(2), 5.0)

    assert made.deadline() == 5


def test_a_word_of_the_process_does_not_end_a_wait_for_something_else() -> None:
    made = roster("a")
    draining = made.word(ready(made), Word.DRAIN, 32.0)

    still = made.word(draining, Word.SERVES)

    assert still.life is Life.DRAINING
    assert made.deadline() == 32


def test_a_push_makes_what_was_staged_before_count_no_more() -> None:
    made = roster("a")
    process = replace(ready(made), staged=Version(2), activating=True)

    told = made.tell(process, Version(3))

    assert (told.told, told.staged, told.activating) == (3, None, False)
    assert told.push != made.tell(told, Version(4)).push


def test_a_first_death_is_followed_by_a_start_at_once_and_later_ones_by_a_pause() -> None:
    made = roster("a")

    slots = [made.gone(started(made), "exit code 1", 0.0, SETTINGS) for _ in range(3)]

    assert [None if slot is None else (slot.deaths, slot.retry_at) for slot in slots] == [(1, 0.0), (2, 1.0), (3, 2.0)]


def test_a_process_that_served_for_a_while_begins_the_count_again() -> None:
    made = roster("a")
    made.gone(started(made), "exit code 1", 0.0, SETTINGS)
    process = ready(made, now=0.0)

    slot = made.gone(process, "exit code 1", 10.0, SETTINGS)

    assert slot is not None
    assert slot.deaths == 1


def test_an_end_that_was_ordered_is_no_death() -> None:
    made = roster("a")
    process = made.word(ready(made), Word.DRAIN, 32.0)

    slot = made.gone(process, "exit code 0", 1.0, SETTINGS)

    assert slot is not None
    assert (slot.deaths, slot.retry_at) == (0, 1.0)


def test_a_slot_is_free_while_its_process_drains_and_taken_while_it_is_being_ended() -> None:
    made = roster("a", "b")
    made.word(ready(made, "a"), Word.DRAIN, 32.0)
    made.word(ready(made, "b"), Word.KILL, NEVER)

    assert [slot.name for slot in made.empty(0.0)] == ["a"]


def test_a_slot_waits_for_its_time_and_that_time_comes_once() -> None:
    made = roster("a")
    for _ in range(2):
        made.gone(started(made), "exit code 1", 0.0, SETTINGS)
    assert made.empty(0.5) == []
    assert made.retry() == 1

    assert [slot.name for slot in made.empty(1.0)] == ["a"]

    assert made.retry() is None


def test_the_process_of_a_slot_that_is_gone_leaves_nothing_behind() -> None:
    made = roster("a")
    process = started(made)
    made.resize([])

    assert made.gone(process, "exit code 0", 0.0, SETTINGS) is None
    assert made.live() == []


@pytest.mark.parametrize(("life", "counts"), [(Life.STARTING, True), (Life.READY, True), (Life.DRAINING, False)])
def test_only_who_serves_or_is_about_to_is_live(life: Life, *, counts: bool) -> None:
    made = roster("a")
    made.put(replace(started(made), life=life))

    assert bool(made.live()) is counts


def dies(made: Roster, name: str, now: float = 0.0, **how: bool) -> Slot:
    slot = made.gone(started(made, name, now), "exit code 1", now, SETTINGS, **how)
    assert slot is not None
    return slot


def test_a_slot_fails_by_one_death_more_than_is_allowed_within_the_period() -> None:
    made = roster("a-0", "a-1")

    slots = [dies(made, "a-0", float(number)) for number in range(6)]

    assert [one.open for one in slots] == [True] * 5 + [False]
    assert slots[-1].failed == "it died 6 times within 10 s"
    assert made.retry() is None
    assert [one.name for one in made.empty(100.0)] == ["a-1"]


def test_the_last_slot_of_a_program_waits_instead_of_failing() -> None:
    made = roster("a-0", "b-0")

    for number in range(6):
        slot = dies(made, "a-0", float(number))

    assert slot.open
    assert slot.retry_at == 5 + restarts.MAX_BACKOFF_SECONDS


def test_where_nothing_is_spared_the_last_slot_fails_too_and_deaths_in_a_row_count() -> None:
    made = roster("a-0")

    slots = [dies(made, "a-0", 100.0 * number, spare=False) for number in range(6)]

    assert [one.open for one in slots] == [True] * 5 + [False]
    assert slots[-1].failed == "it died 6 times in a row"


def test_a_slot_that_failed_begins_anew_where_it_is_tried_again() -> None:
    made = roster("a-0", "a-1", "b-0", "b-1")
    for number in range(6):
        dies(made, "a-0", float(number))
        dies(made, "b-0", float(number))

    made.try_again("a")

    assert (made.slots["a-0"].open, made.slots["a-0"].deaths, made.slots["a-0"].died) == (True, 0, ())
    assert not made.slots["b-0"].open
    made.try_again()
    assert made.slots["b-0"].open


def test_the_last_exit_says_whether_the_process_had_served() -> None:
    made = roster("a-0")
    assert dies(made, "a-0").start_failed

    slot = made.gone(ready(made, "a-0"), "killed by SIGKILL", 1.0, SETTINGS)

    assert slot is not None
    assert (slot.start_failed, slot.last_exit) == (False, "killed by SIGKILL")


def test_every_process_but_the_first_is_a_restart() -> None:
    made = roster("a-0")
    ready(made, "a-0")
    assert made.slots["a-0"].restarts == 0

    dies(made, "a-0")
    dies(made, "a-0")

    assert made.slots["a-0"].restarts == 2


def test_a_process_that_leaves_is_live_and_leaves_its_slot_free_for_another_one() -> None:
    made = roster("a-0")
    process = ready(made, "a-0")

    made.leave(process)

    assert [one.leaving for one in made.live()] == [True]
    assert [slot.name for slot in made.empty(0.0)] == ["a-0"]
    assert made.empty(0.0, relieved=False) == []


def test_a_slot_that_has_another_process_neither_stops_nor_fails() -> None:
    made = roster("a-0", "a-1")
    made.leave(ready(made, "a-0"))

    slots = [dies(made, "a-0", float(number)) for number in range(8)]

    assert all(one.open for one in slots)
    assert slots[-1].retry_at is not None


def test_one_that_was_ended_for_its_silence_has_died() -> None:
    made = roster("a-0")
    process = replace(made.word(ready(made, "a-0"), Word.DRAIN, 32.0), fenced=True)
    made.put(process)

    slot = made.gone(process, "exit code 0", 1.0, SETTINGS, clean=True)

    assert slot is not None
    assert slot.deaths == 1


def test_slots_are_numbered_over_all_programs_also_where_one_grows() -> None:
    made = roster("a-0", "b-0")

    made.resize(["a-0", "a-1", "b-0"])

    assert [(one.name, one.program, one.number) for one in made.slots.values()] == [
        ("a-0", "a", 0),
        ("a-1", "a", 1),
        ("b-0", "b", 2),
    ]
