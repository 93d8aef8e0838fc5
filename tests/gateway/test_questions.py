from __future__ import annotations

import json
from typing import Any

import pytest
from nexus_workers.gateway.answers import Refused
from nexus_workers.gateway.questions import question, search_of

from tests.support.gateway import a_source


def asked(query: str, **policy: Any) -> Any:
    return question(a_source("a", policy=policy), query.encode())


def searched(query: str = "", source: dict[str, Any] | None = None, **policy: Any) -> Any:
    reader = a_source("a", policy=policy, **(source or {}))
    return search_of(reader, question(reader, query.encode()))


def test_without_parameters_the_newest_are_asked_for() -> None:
    found = asked("")
    assert (found.words, found.limit, found.profile, found.mode) == ((), 50, None, "recent")


def test_words_are_split_at_white_space_and_compared_without_case() -> None:
    found = asked("q=Stra%C3%9Fe+meeting%0AMEETING")
    assert (found.words, found.mode) == (("strasse", "meeting"), "search")


def test_white_space_alone_is_no_word() -> None:
    assert asked("q=+%09").mode == "recent"


@pytest.mark.parametrize("limit", ["1", "50"])
def test_a_limit_within_max_results_is_taken(limit: str) -> None:
    assert asked(f"limit={limit}").limit == int(limit)


def test_max_results_is_the_limit_where_none_is_given() -> None:
    assert asked("", max_results=7).limit == 7


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "limit"),
        ("limit=51", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.0", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=" + "9" * 4_000, "limit"),
        ("mode=fast", "mode"),
        ("mode=search", "mode"),
        ("q=x&mode=recent", "mode"),
        ("profile=", "profile"),
        ("profile=%00", "profile"),
        ("profile=" + "x" * 257, "profile"),
        ("q=" + "+".join("abcdefghijklmnopq"), "q"),
        ("q=" + "x" * 1_025, "q"),
        ("qq=x", "parameters"),
        ("q=a&q=b", "parameters"),
        ("q=%FF", "parameters"),
        ("q=\xff", "parameters"),
        ("q=" + "%41" * 3_000, "parameters"),
        ("a=1&b=2&c=3&d=4&e=5", "parameters"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(query: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        asked(query)
    assert caught.value.answer.status == 422
    assert json.loads(caught.value.answer.body)["code"] == code


def test_a_mode_that_is_what_is_asked_for_is_taken() -> None:
    assert asked("mode=recent").mode == "recent"
    assert asked("mode=search&q=x").mode == "search"


def test_a_reader_sees_its_own_namespace_up_to_its_tier() -> None:
    found = searched(source={"namespace": "n", "tier": 2})
    assert (found.namespaces, found.top_tier) == (("n",), 2)
    assert (found.profiles, found.classifications) == (None, None)
    assert (found.limit, found.max_bytes) == (50, 1024 * 1024)


def test_namespaces_that_are_made_visible_are_seen_too_and_all_where_the_policy_says_so() -> None:
    assert searched(retrieval_firewall={"visible_namespaces": ("b", "a", "b")}).namespaces == ("a", "b")
    assert searched(retrieval_firewall={"cross_namespace_read": True}).namespaces is None


def test_a_profile_that_is_asked_for_is_the_only_one_and_otherwise_the_allowed_ones_are() -> None:
    assert searched("profile=deep").profiles == ("deep",)
    assert searched("profile=deep", allowed_profiles=("wide", "deep")).profiles == ("deep",)
    assert searched("", allowed_profiles=("wide", "deep")).profiles == ("wide", "deep")


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        ("public", {"public"}),
        ("confidential", {"public", "internal", "confidential"}),
        ("restricted", {"public", "internal", "confidential", "restricted"}),
    ],
)
def test_classifications_up_to_the_highest_are_seen(highest: str, expected: set[str]) -> None:
    found = searched(retrieval_firewall={"max_classification_tier": highest})
    assert found.classifications == expected
    assert found.default_classification == "restricted"


def test_the_rest_of_a_policy_is_taken_over() -> None:
    found = searched(
        max_response_bytes=2_048,
        field_visibility={"include_fields": ("content",), "strip_metadata": True},
        retrieval_firewall={
            "blocked_labels": ("x",),
            "required_labels": ("y",),
            "max_classification_tier": "internal",
            "default_classification_tier": "public",
        },
    )
    assert (found.max_bytes, found.include_fields, found.strip_metadata) == (2_048, {"content"}, True)
    assert (found.blocked_labels, found.required_labels) == ({"x"}, {"y"})
    assert found.default_classification == "public"
