"""When the directory is looked at, and who waits for what is seen."""

from __future__ import annotations

from nexus_supervisor.core.effects import Look
from nexus_supervisor.core.events import PushAsked, RestartAsked
from nexus_supervisor.core.looking import Flight, Looking
from tests.support.simulated import settings

SETTINGS = settings(watch={"debounce_ms": 100, "remove_settle_ms": 50, "reconcile_seconds": 5})
PUSH = PushAsked(1, "test", "me", None, until_retired=False)
RESTART = RestartAsked(2, "test", "me")


def looked(looking: Looking, now: float) -> Flight:
    """Begin the look that is due and end it."""
    look = looking.begin(now, SETTINGS)
    assert look is not None
    flight = looking.ended(look.ticket)
    assert flight is not None
    return flight


def touch(looking: Looking, now: float, *hints: str, urgent: bool = False) -> None:
    looking.touched(hints or None, now, SETTINGS, urgent=urgent)


def test_a_change_is_looked_at_after_a_quiet_time() -> None:
    looking = Looking(0.0)

    touch(looking, 1.0, "a.toml")

    assert looking.deadline(SETTINGS) == 1.1
    assert looking.begin(1.05, SETTINGS) is None
    assert looking.begin(1.1, SETTINGS) == Look(1, ("a.toml",), whole=False)


def test_each_change_makes_the_quiet_time_begin_again_up_to_ten_times() -> None:
    looking = Looking(0.0)

    due = []
    for step in range(12):
        touch(looking, 1.0 + step / 10, "a.toml")
        due.append(round(looking.deadline(SETTINGS) or 0, 6))

    assert due[:3] == [1.1, 1.2, 1.3]
    assert due[-3:] == [2.0, 2.0, 2.0]


def test_the_changes_of_a_burst_are_looked_at_together() -> None:
    looking = Looking(0.0)

    touch(looking, 1.0, "b.toml")
    touch(looking, 1.01, "a.toml")

    assert looked(looking, 2.0).look.hints == ("a.toml", "b.toml")


def test_a_hint_about_anything_is_a_hint_about_everything() -> None:
    looking = Looking(0.0)

    touch(looking, 1.0, "a.toml")
    touch(looking, 1.01)

    assert looked(looking, 2.0).look.hints is None


def test_who_is_urgent_does_not_wait_for_quiet() -> None:
    looking = Looking(0.0)
    touch(looking, 1.0, "a.toml")

    touch(looking, 1.0, urgent=True)

    assert looking.deadline(SETTINGS) == 1.0


def test_later_changes_do_not_delay_who_asked() -> None:
    looking = Looking(0.0)
    looking.asked(PUSH, 1.0)

    touch(looking, 1.0, "a.toml")

    assert looked(looking, 1.0).riders == (PUSH,)


def test_what_happens_during_a_look_leads_to_another_one() -> None:
    looking = Looking(0.0)
    looking.asked(PUSH, 1.0)
    look = looking.begin(1.0, SETTINGS)
    assert look is not None

    touch(looking, 1.0, "a.toml")

    assert looking.begin(9.0, SETTINGS) is None
    assert looking.deadline(SETTINGS) is None
    looking.ended(look.ticket)
    assert looked(looking, 1.1).look.hints == ("a.toml",)


def test_who_asks_during_a_look_waits_for_the_next_one() -> None:
    looking = Looking(0.0)
    touch(looking, 1.0, urgent=True)
    first = looking.begin(1.0, SETTINGS)
    assert first is not None

    looking.asked(PUSH, 1.0)

    ended = looking.ended(first.ticket)
    assert ended is not None
    assert ended.riders == ()
    assert looked(looking, 1.0).riders == (PUSH,)


def test_a_verdict_counts_once_and_only_for_the_look_that_is_in_flight() -> None:
    looking = Looking(0.0)
    touch(looking, 1.0, urgent=True)
    look = looking.begin(1.0, SETTINGS)
    assert look is not None

    assert looking.ended(look.ticket + 1) is None
    assert looking.ended(look.ticket) is not None
    assert looking.ended(look.ticket) is None


def test_everything_is_compared_every_few_seconds() -> None:
    looking = Looking(0.0)

    assert looking.deadline(SETTINGS) == 5
    assert looked(looking, 5.0).look.hints is None
    assert looking.deadline(SETTINGS) == 10


def test_changes_that_never_cease_do_not_put_off_the_comparison() -> None:
    looking = Looking(0.0)
    hints = []

    for step in range(1, 14):
        touch(looking, step / 2, "a.toml")
        hints.append(looked(looking, step / 2 + 0.1).look.hints)

    assert [one is None for one in hints].count(True) == 1


def test_a_restart_takes_everybody_along() -> None:
    looking = Looking(0.0)
    looking.asked(PUSH, 1.0)
    looking.asked(RESTART, 1.0)

    flight = looked(looking, 1.0)

    assert flight.look == Look(1, None, whole=True)
    assert flight.riders == (PUSH, RESTART)


def test_a_look_again_comes_later_each_time_and_not_for_ever() -> None:
    looking = Looking(0.0)
    looking.asked(PUSH, 1.0)
    now, pauses = 1.0, []

    while True:
        flight = looked(looking, now)
        assert flight.riders == (PUSH,)
        if not looking.again(flight, now, SETTINGS):
            break
        due = looking.deadline(SETTINGS)
        assert due is not None
        pauses.append(round(due - now, 3))
        now = due

    assert pauses == [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5]


def test_patience_is_new_after_a_verdict() -> None:
    looking = Looking(0.0)
    flight = Flight(Look(1, None, whole=False), (), urgent=False)
    while looking.again(flight, 0.0, SETTINGS):
        pass

    looking.settled()

    assert looking.again(flight, 0.0, SETTINGS)


def test_a_name_that_vanished_has_a_moment_to_come_back() -> None:
    looking = Looking(0.0)
    touch(looking, 1.0, "a.toml")
    flight = looked(looking, 1.1)

    assert looking.grace(["sources.a"], flight, 1.1, SETTINGS)

    due = looking.deadline(SETTINGS)
    assert due == 1.1 + 0.05
    again = looked(looking, due)
    assert again.look.hints == ("a.toml",)
    assert not looking.grace(["sources.a"], again, due, SETTINGS)


def test_a_name_that_came_back_and_vanishes_later_has_a_moment_again() -> None:
    looking = Looking(0.0)
    touch(looking, 1.0, "a.toml")
    flight = looked(looking, 1.1)
    looking.grace(["sources.a"], flight, 1.1, SETTINGS)
    looking.grace([], flight, 1.12, SETTINGS)

    assert looking.grace(["sources.a"], flight, 7.0, SETTINGS)


def test_neither_a_push_nor_an_urgent_look_waits_for_names_to_come_back() -> None:
    looking = Looking(0.0)
    looking.asked(PUSH, 1.0)
    assert not looking.grace(["sources.a"], looked(looking, 1.0), 1.0, SETTINGS)

    touch(looking, 2.0, urgent=True)

    assert not looking.grace(["sources.b"], looked(looking, 2.0), 2.0, SETTINGS)


def test_a_stale_verdict_is_asked_for_again_at_once_for_the_same_riders() -> None:
    looking = Looking(0.0)
    looking.asked(PUSH, 1.0)

    looking.stale(looked(looking, 1.0), 1.0)

    assert looked(looking, 1.0).riders == (PUSH,)


def test_who_can_not_be_served_yet_is_looked_for_again_in_a_while() -> None:
    looking = Looking(0.0)
    looking.asked(RESTART, 1.0)

    looking.later(looked(looking, 1.0).riders, 1.0)

    assert looking.pending() == (RESTART,)
    assert looking.begin(1.9, SETTINGS) is None
    assert looked(looking, 2.0).riders == (RESTART,)


def test_who_waits_for_a_while_rides_on_any_look_before() -> None:
    looking = Looking(0.0)
    looking.later([RESTART], 1.0)

    looking.asked(PUSH, 1.5)

    flight = looked(looking, 1.5)
    assert flight.look.whole
    assert flight.riders == (RESTART, PUSH)


def test_everybody_who_waits_is_known_until_the_verdict() -> None:
    looking = Looking(0.0)
    looking.asked(PUSH, 1.0)
    looking.begin(1.0, SETTINGS)
    looking.asked(RESTART, 1.0)

    assert looking.pending() == (PUSH, RESTART)

    looking.forget()
    assert looking.pending() == ()
