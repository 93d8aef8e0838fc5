from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nexus_workers.gateway.retrieval import Found, Search, Sieve, folded
from nexus_workers.gateway.storage import StorageLimits

from tests.support.gateway import a_record

if TYPE_CHECKING:
    from nexus_workers.gateway.records import Record

PLENTY = {"limit": 100, "max_bytes": 1_000_000}


def sifted(records: list[Record], limits: StorageLimits | None = None, **conditions: Any) -> Found:
    sieve = Sieve(Search(**PLENTY | conditions), limits or StorageLimits())
    for record in records:
        if not sieve.take(record):
            break
    return sieve.found()


def is_found(body: Any, **conditions: Any) -> bool:
    return len(sifted([a_record(body=body)], **conditions).items) == 1


def shown(body: Any, **conditions: Any) -> Any:
    [item] = sifted([a_record(body=body)], **conditions).items
    return json.loads(item)


def words(text: str) -> tuple[str, ...]:
    return tuple(folded(text).split())


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_an_item_holds_every_column_with_the_body_as_an_object() -> None:
    record = a_record(7, body={"content": "x"}, namespace="n", tier=2, profile="deep", actor_id="7")
    [item] = sifted([record]).items
    assert json.loads(item) == {
        "id": record.id,
        "source": "a",
        "namespace": "n",
        "created_at": record.created_at,
        "tier": 2,
        "profile": "deep",
        "actor_type": "user",
        "actor_id": "7",
        "body": {"content": "x"},
    }


def test_without_metadata_an_item_is_its_body_alone() -> None:
    assert shown({"content": "x"}, strip_metadata=True) == {"body": {"content": "x"}}


def test_only_fields_that_are_included_are_shown_of_a_body() -> None:
    body = {"a": 1, "b": {"a": 2}, "c": 3}
    assert shown(body, include_fields=frozenset({"c", "a", "absent"}))["body"] == {"a": 1, "c": 3}
    assert shown(body, include_fields=frozenset({"absent"}))["body"] == {}


# --- conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", [0, 1, 2, 3])
@pytest.mark.parametrize("top", [0, 1, 2, 3])
def test_a_record_of_a_tier_above_that_of_the_reader_is_not_found(tier: int, top: int) -> None:
    assert len(sifted([a_record(tier=tier)], top_tier=top).items) == (tier <= top)


def test_records_of_other_namespaces_and_profiles_are_not_found() -> None:
    records = [a_record(n, namespace=namespace, profile=p) for n, (namespace, p) in enumerate(["ax", "bx", "ay"])]
    assert len(sifted(records).items) == 3
    assert len(sifted(records, namespaces=("a",)).items) == 2
    assert len(sifted(records, namespaces=("a", "b"), profiles=("y",)).items) == 1
    assert sifted(records, namespaces=()).items == ()


@pytest.mark.parametrize(
    ("labels", "found"),
    [([], True), (["open"], True), (["secret"], False), (["open", "secret"], False), (["Secret"], True)],
)
def test_a_record_with_a_blocked_label_is_not_found(labels: list[str], found: bool) -> None:
    assert is_found({"labels": labels}, blocked_labels=frozenset({"secret", "other"})) == found


@pytest.mark.parametrize(
    ("labels", "found"),
    [([], False), (["team"], False), (["team", "reviewed"], True), (["a", "reviewed", "team"], True)],
)
def test_a_record_needs_every_required_label(labels: list[str], found: bool) -> None:
    assert is_found({"labels": labels}, required_labels=frozenset({"team", "reviewed"})) == found


def test_a_record_without_labels_has_none() -> None:
    assert is_found({}, blocked_labels=frozenset({"secret"}))
    assert not is_found({}, required_labels=frozenset({"team"}))


@pytest.mark.parametrize("labels", ["open", None, 7, ["open", 7], {"open": True}])
def test_labels_that_cannot_be_judged_are_not_shown_where_there_is_a_rule(labels: Any) -> None:
    assert is_found({"labels": labels})
    assert not is_found({"labels": labels}, blocked_labels=frozenset({"secret"}))
    assert not is_found({"labels": labels}, required_labels=frozenset({"open"}))


@pytest.mark.parametrize(
    ("classification", "found"),
    [
        ("public", True),
        ("internal", True),
        ("restricted", False),
        ("Public", False),
        (None, False),
        (["public"], False),
    ],
)
def test_only_known_classifications_within_the_rule_are_found(classification: Any, found: bool) -> None:
    body = {"classification": classification}
    assert is_found(body, classifications=frozenset({"public", "internal"})) == found
    assert is_found(body)


def test_a_record_without_classification_has_the_default_one() -> None:
    assert is_found({}, classifications=frozenset({"public"}), default_classification="public")
    assert not is_found({}, classifications=frozenset({"public"}), default_classification="restricted")


@pytest.mark.parametrize("body", ["[1]", "{", "", "[" * 100_000])
def test_a_body_that_somebody_else_has_written_and_is_no_object_is_not_found(body: str) -> None:
    assert sifted([a_record(body=body)]).items == ()


@pytest.mark.parametrize("value", ['"\\ud800"', "NaN", "1e999"])
def test_a_body_that_cannot_be_written_is_not_found_and_hides_no_other(value: str) -> None:
    found = sifted([a_record(1, body=f'{{"content":{value}}}'), a_record(2, body={"n": 2})])
    assert [json.loads(item)["body"] for item in found.items] == [{"n": 2}]


def test_a_body_of_any_depth_hides_no_other() -> None:
    for depth in range(600, 1_000):
        deep = '{"deeper":' * depth + "1" + "}" * depth
        found = sifted([a_record(1, body=deep), a_record(2, body={"n": 2})], strip_metadata=True)
        assert found.items[-1] == b'{"body":{"n":2}}'


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("meeting", True),
        ("MEET", True),
        ("meeting monday", True),
        ("monday meeting", True),
        ("meeting tuesday", False),
        ("straße", True),
        ("STRASSE", True),
        ("4711", True),
        ("2.5", True),
        ("true", False),
        ("title", False),
        ("50%", True),
        ("50_", False),
        ('"quoted"', True),
    ],
)
def test_every_word_must_be_in_a_text_or_number_of_the_body(text: str, found: bool) -> None:
    body = {
        "title": "Meeting on Monday",
        "more": [{"where": "Hauptstraße 5"}, {"order": 4711, "weight": 2.5, "done": True}],
        "discount": '50% "quoted"',
    }
    assert is_found(body, words=words(text)) == found


def test_words_are_not_looked_for_in_what_is_not_shown() -> None:
    body = {"content": "open", "hidden": "secret"}
    assert is_found(body, words=("secret",))
    assert not is_found(body, words=("secret",), include_fields=frozenset({"content"}))


# --- where it ends ---------------------------------------------------------------------------------------------------


def test_a_record_that_is_not_found_takes_no_place_of_one_that_is() -> None:
    records = [a_record(n, body={"n": n, "labels": ["secret"] if n % 2 else []}) for n in range(10)]
    found = sifted(records, limit=3, blocked_labels=frozenset({"secret"}))
    assert [json.loads(item)["body"]["n"] for item in found.items] == [0, 2, 4]
    assert not found.truncated


def test_items_that_do_not_fit_are_left_out_from_the_end_and_this_is_said() -> None:
    records = [a_record(n, body={"content": "x" * 100}) for n in range(10)]
    whole = sifted(records).document()
    assert json.loads(whole).keys() == {"items"}
    found = sifted(records, max_bytes=1_024)
    document = json.loads(found.document())
    assert document["truncated"] is True
    assert document["items"] == json.loads(whole)["items"][: len(found.items)]
    assert 0 < len(found.items) < 10
    assert len(found.document()) <= 1_024


def test_an_item_that_fits_into_no_answer_is_left_out_and_hides_none_behind_it() -> None:
    records = [a_record(n, body={"content": "x" * size, "n": n}) for n, size in enumerate([2_000, 100, 2_000, 100])]
    document = json.loads(sifted(records, max_bytes=1_024).document())
    assert [item["body"]["n"] for item in document["items"]] == [1, 3]
    assert document["truncated"] is True


@given(st.lists(st.text(max_size=200), max_size=20), st.integers(1_024, 3_000))
def test_an_answer_is_never_larger_than_allowed(texts: list[str], most: int) -> None:
    found = sifted([a_record(body={"content": text}) for text in texts], max_bytes=most)
    assert len(found.document()) <= most
    assert found.truncated or len(found.items) == len(texts)


@pytest.mark.parametrize("limits", [{"scanned_rows": 5}, {"scanned_bytes": 40}])
def test_what_is_read_for_one_query_is_bounded_and_this_is_said(limits: Any) -> None:
    records = [a_record(n, body={"n": n}) for n in range(10)]
    found = sifted(records, StorageLimits(**limits), words=("9",))
    assert (found.items, found.truncated) == ((), True)
    assert not sifted(records, StorageLimits(**limits), words=("1",), limit=1).truncated
