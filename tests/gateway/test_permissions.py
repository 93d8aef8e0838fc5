from __future__ import annotations

import json
from typing import Any

import pytest
from nexus_workers.gateway.answers import Refused
from nexus_workers.gateway.permissions import check_question, check_reader, target_of_write
from nexus_workers.gateway.questions import Question

from tests.support.gateway import a_source


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"allowed_operations": ("write",)},
        {"allowed_operations": ("read", "write")},
        {"allowed_destinations": ("main",)},
        {"allowed_destinations": ("other", "main")},
    ],
)
def test_a_source_may_write_where_nothing_forbids_it(policy: dict[str, Any]) -> None:
    assert target_of_write(a_source("a", policy=policy), "a") == "main"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"can_write": False}, 403, "can_write"),
        ({"policy": {"allowed_operations": ("read", "search")}}, 403, "allowed_operations"),
        ({"policy": {"allowed_destinations": ("other",)}}, 403, "allowed_destinations"),
        ({"target_destination": None}, 409, "no_destination"),
    ],
)
def test_what_forbids_a_write_is_named(fields: dict[str, Any], status: int, code: str) -> None:
    with pytest.raises(Refused) as caught:
        target_of_write(a_source("a", **fields), "a")
    document = json.loads(caught.value.answer.body)
    assert (caught.value.answer.status, document["code"]) == (status, code)


def test_another_name_is_refused_before_anything_is_told() -> None:
    with pytest.raises(Refused) as caught:
        target_of_write(a_source("a", can_write=False), "b")
    assert json.loads(caught.value.answer.body)["code"] == "foreign_source"


@pytest.mark.parametrize(
    ("fields", "destination", "expected"),
    [
        ({}, "main", None),
        ({"policy": {"allowed_destinations": ("main",)}}, "main", None),
        ({"policy": {"allowed_operations": ("write",)}}, "main", None),
        ({"can_read": False}, "main", (403, "can_read")),
        ({"can_read": False}, "absent", (403, "can_read")),
        ({"policy": {"allowed_destinations": ("other",)}}, "main", (403, "allowed_destinations")),
        ({"policy": {"allowed_destinations": ("other",)}}, "absent", (403, "allowed_destinations")),
        ({}, "absent", (404, "unknown_destination")),
    ],
)
def test_whether_there_is_a_destination_is_told_to_those_only_who_may_read_it(
    fields: dict[str, Any], destination: str, expected: tuple[int, str] | None
) -> None:
    assert (
        refusal(check_reader, a_source("a", **{"can_read": True} | fields), destination, {"main", "other"}) == expected
    )


@pytest.mark.parametrize(
    ("policy", "words", "profile", "expected"),
    [
        ({}, ("x",), "deep", None),
        ({"allowed_operations": ("read",)}, (), None, None),
        ({"allowed_operations": ("search",)}, ("x",), None, None),
        ({"allowed_operations": ("read", "write")}, ("x",), None, (403, "allowed_operations")),
        ({"allowed_operations": ("search", "write")}, (), None, (403, "allowed_operations")),
        ({"allowed_retrieval_modes": ("recent",)}, ("x",), None, (403, "allowed_retrieval_modes")),
        ({"allowed_profiles": ("wide",)}, (), None, None),
        ({"allowed_profiles": ("wide",)}, (), "wide", None),
        ({"allowed_profiles": ("wide",)}, (), "deep", (403, "allowed_profiles")),
    ],
)
def test_what_forbids_a_question_is_named(
    policy: dict[str, Any], words: tuple[str, ...], profile: str | None, expected: tuple[int, str] | None
) -> None:
    asked = Question(words, 10, profile)
    assert refusal(check_question, a_source("a", policy=policy), asked) == expected


def refusal(check: Any, *arguments: Any) -> tuple[int, str] | None:
    try:
        check(*arguments)
    except Refused as refused:
        return refused.answer.status, json.loads(refused.answer.body)["code"]
    return None
