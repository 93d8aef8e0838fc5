from __future__ import annotations

from typing import Any

import pytest

from nexus_supervisor.core import guards, settings
from nexus_supervisor.core.control import PushRequest, RestartRequest, RollbackRequest, SteerRequest
from nexus_supervisor.core.events import PushAsked, RestartAsked, RollbackAsked, SteerAsked
from nexus_supervisor.errors import UsageError
from nexus_supervisor.supervisor.asking import MAX_REASON_CHARACTERS, STRATEGIES, VERBS, asks


def push(reason: str = "", wait: str = "active", **options: Any) -> PushRequest:
    return PushRequest(reason, None, wait, **options)


def test_a_push_is_heard_with_all_that_it_asks_for() -> None:
    request = PushRequest(
        "fire", 7, "retired", now=True, strategy="rolling", allow=("shrink",), force=True, push_id="a-1"
    )
    asked = asks(request)
    assert asked.push_id == "a-1"
    assert asked.event(3, "ann") == PushAsked(
        3,
        "fire",
        "ann",
        7,
        until_retired=True,
        now=True,
        strategy="rolling",
        allow=("shrink",),
        force=True,
        push_id="a-1",
    )


def test_restart_rollback_and_steering_are_heard_as_such() -> None:
    assert asks(RestartRequest("why", now=True, push_id="a")).event(1, "ann") == RestartAsked(
        1, "why", "ann", now=True, push_id="a"
    )
    forced = asks(RestartRequest("mended", now=False, push_id="a", force=True)).event(1, "ann")
    assert forced == RestartAsked(1, "mended", "ann", push_id="a", force=True)
    assert asks(RollbackRequest(None, "why", "a")).event(1, "ann") == RollbackAsked(1, None, "why", "ann", "a")
    assert asks(RollbackRequest(4, "", "a")).event(1, "ann") == RollbackAsked(1, 4, "", "ann", "a")
    for verb in VERBS:
        assert asks(SteerRequest(verb, "why")).event(1, "ann") == SteerAsked(1, verb, "why", "ann")


@pytest.mark.parametrize("request_", [push(), RestartRequest("", now=False), RollbackRequest(None, "")])
def test_a_request_without_an_id_gets_one_of_its_own(request_: Any) -> None:
    first, second = asks(request_), asks(request_)
    assert len(first.push_id) == 32
    assert first.push_id != second.push_id
    event = first.event(1, "ann")
    assert not isinstance(event, SteerAsked)
    assert event.push_id == first.push_id


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (push(now=True), "push --now needs --reason"),
        (push(force=True, reason="  "), "push --force needs --reason"),
        (RestartRequest(" ", now=False, force=True), "restart --force needs --reason"),
        (push(force=True, allow=("shrink",)), "push --force --allow needs --reason"),
        (push(strategy="blue_green"), "a strategy is canary, rolling or all_at_once, found 'blue_green'"),
        (push("why", allow=("shrink", "moon")), "a guard is shrink, emptied, growth or widened, found 'moon'"),
        (push(wait="for ever"), "a push waits until active or retired, found 'for ever'"),
        (push(push_id="a b"), "the id of a request is 1 to 64 of letters, digits"),
        (push(push_id="a" * 65), "the id of a request is 1 to 64 of letters, digits"),
        (RestartRequest("", now=False, push_id="\n"), "the id of a request is 1 to 64 of letters, digits"),
        (RollbackRequest(1, "x" * (MAX_REASON_CHARACTERS + 1)), "a reason has at most 1000 characters, found 1001"),
        (SteerRequest("stop", ""), "a rollout is steered by promote, pause, resume or abort, found 'stop'"),
        (SteerRequest("x" * 500, ""), "found '" + "x" * 64 + "'"),
    ],
)
def test_what_can_not_be_meant_is_wrong_usage_and_the_sentence_says_what_would_do(request_: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        asks(request_)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


def test_every_strategy_and_guard_that_there_is_may_be_named() -> None:
    for strategy in STRATEGIES:
        parsed = settings.parse({"supervisor": {"rollout": {"strategy": strategy}}}, {}, cpu_count=1)
        assert parsed.settings.supervisor.rollout.strategy == strategy
        assert asks(push(strategy=strategy)).push_id
    assert asks(push("why", allow=guards.NAMES)).push_id
