"""Requests: one id is one request."""

from __future__ import annotations

from nexus_supervisor.core.effects import Answer, Note, Outcome
from nexus_supervisor.core.events import PushAsked, RestartAsked, RollbackAsked
from nexus_supervisor.core.requests import NOBODY, Requests

APPLIED = Outcome(0, "APPLIED", "Version 2 is live in 3 workers.")


def a_push(ticket: int, push_id: str = "") -> PushAsked:
    return PushAsked(ticket, "why", "me", None, until_retired=False, push_id=push_id)


def test_a_request_without_an_id_is_answered_and_not_remembered() -> None:
    requests = Requests({})
    assert requests.take(a_push(1)) is None
    assert requests.take(a_push(2)) is None
    assert requests.answer(1, APPLIED) == [Answer(1, APPLIED)]


def test_what_was_answered_is_journaled_before_anybody_is_told() -> None:
    requests = Requests({})
    requests.take(a_push(1, "x"))
    requests.take(a_push(2, "x"))
    assert requests.answer(1, APPLIED) == [
        Note("x", "push", "why", "me", APPLIED),
        Answer(1, APPLIED),
        Answer(2, APPLIED),
    ]


def test_a_request_that_comes_again_while_it_runs_waits_for_the_same_answer() -> None:
    requests = Requests({})
    assert requests.take(a_push(1, "x")) is None
    assert requests.take(a_push(2, "x")) == []


def test_a_request_that_comes_again_after_its_end_is_answered_as_it_was() -> None:
    requests = Requests({"x": ("push", APPLIED)})
    assert requests.take(a_push(7, "x")) == [Answer(7, APPLIED)]


def test_an_id_is_good_for_one_verb() -> None:
    requests = Requests({"old": ("rollback", APPLIED)})
    requests.take(a_push(1, "x"))
    answers = [requests.take(RestartAsked(2, "", "me", push_id="x")), requests.take(a_push(3, "old"))]
    for found in answers:
        assert found is not None
        (answer,) = found
        assert isinstance(answer, Answer)
        assert (answer.outcome.exit_code, answer.outcome.word) == (6, "CONFLICT")


def test_what_nobody_asked_for_is_answered_to_nobody() -> None:
    requests = Requests({})
    requests.take(RollbackAsked(NOBODY, 3, "", "nexus-supervisor"))
    assert requests.answer(NOBODY, APPLIED) == []
