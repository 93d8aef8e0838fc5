from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nexus_workers.gateway import records
from nexus_workers.gateway.answers import Refused
from nexus_workers.gateway.records import identifier, record

from tests.support.gateway import a_source


def made(body: Any, **fields: Any) -> Any:
    return record(a_source("a", **fields), body, now_ms=1_795_500_000_123, random=bytes(10))


def test_a_record_takes_the_defaults_of_its_source() -> None:
    found = made(
        {"content": "x"},
        namespace="n",
        default_actor_type="agent",
        default_actor_id="bot-1",
        default_profile="wide",
        default_write_tier=2,
    )
    assert (found.source, found.namespace, found.tier) == ("a", "n", 2)
    assert (found.profile, found.actor_type, found.actor_id) == ("wide", "agent", "bot-1")
    assert json.loads(found.body) == {"content": "x"}
    assert found.created_at == "2026-11-24T06:00:00.123Z"


def test_what_the_body_says_goes_before_the_defaults_but_not_for_tier_and_namespace() -> None:
    found = made({"actor_type": "tool", "actor_id": "7", "profile": "deep", "tier": 0, "namespace": "other"})
    assert (found.profile, found.actor_type, found.actor_id) == ("deep", "tool", "7")
    assert (found.tier, found.namespace) == (1, "a")


def test_null_means_the_default() -> None:
    assert made({"actor_type": None}).actor_type == "user"


@pytest.mark.parametrize("value", [1, True, [], {}, "", "x" * 257])
@pytest.mark.parametrize("name", ["actor_type", "actor_id", "profile"])
def test_another_type_or_length_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Refused) as caught:
        made({name: value})
    assert caught.value.answer.status == 422
    assert f"field '{name}'" in json.loads(caught.value.answer.body)["detail"]


def test_a_record_that_no_database_could_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_MAX_STORED_BYTES", 30)
    assert json.loads(made({"a": "é"}, mapping={"x": "a", "y": "a"}).body) == {"x": "é", "y": "é"}
    with pytest.raises(Refused) as caught:
        made({"a": "é" * 10}, mapping={"x": "a", "y": "a"})
    document = json.loads(caught.value.answer.body)
    assert (document["status"], document["code"]) == (422, "value")
    assert document["detail"] == "the record would be of 55 bytes: expected at most 30"


def test_a_failed_mapping_is_refused_with_field_and_path() -> None:
    with pytest.raises(Refused) as caught:
        made({"messages": []}, mapping={"content": "messages.-1.content"})
    document = json.loads(caught.value.answer.body)
    assert (document["status"], document["code"]) == (422, "mapping")
    assert "'content'" in document["detail"]
    assert "'messages.-1.content'" in document["detail"]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "\ud800"])
def test_a_value_that_text_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(Refused) as caught:
        made({"content": value})
    assert caught.value.answer.status == 422


def test_a_record_is_shown_without_its_body() -> None:
    assert "hidden" not in repr(made({"content": "hidden"}))


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_an_id_is_a_uuid_of_version_7_that_holds_its_moment(now_ms: int, random: bytes) -> None:
    found = UUID(identifier(now_ms, random))
    assert found.version == 7
    assert found.variant == "specified in RFC 4122"
    assert found.int >> 80 == now_ms


@given(st.integers(0, (1 << 48) - 2), st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_ids_rise_with_time(now_ms: int, before: Any, after: Any) -> None:
    assert identifier(now_ms, before) < identifier(now_ms + 1, after)


def test_ids_of_one_moment_differ_by_all_74_random_bits() -> None:
    ones = UUID(identifier(0, b"\xff" * 10)).int ^ UUID(identifier(0, bytes(10))).int
    assert ones.bit_count() == 74
