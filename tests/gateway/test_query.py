"""Queries and repeated requests through the gateway: statuses, order of checks, and what the answer holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import Served, a_snapshot, a_source

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from nexus_workers.gateway.models import Source

READS = {"can_read": True}


@pytest.fixture
def served(tmp_path: Path) -> Any:
    with Served(tmp_path, a_snapshot(a_source("a", **READS), a_source("b"))) as one:
        yield one


def reading(directory: Path, **fields: Any) -> Served:
    """Serve a writer ``w`` in the namespace of the reader ``a``, whose fields are given."""
    writer = a_source("w", namespace="a")
    return Served(directory, a_snapshot(writer, a_source("a", **READS | fields)))


def code(response: httpx.Response) -> Any:
    document = response.json()
    assert document["status"] == response.status_code
    return response.status_code, document["code"]


def contents(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    return [item["body"].get("content") for item in response.json()["items"]]


# --- what is answered ------------------------------------------------------------------------------------------------


def test_what_was_written_is_found_newest_first(served: Served) -> None:
    ids = [served.inbound("a", {"content": text}).json()["id"] for text in ("one", "two", "three")]
    response = served.query()
    assert response.headers["content-type"] == "application/json"
    assert [item["id"] for item in response.json()["items"]] == sorted(ids, reverse=True)
    assert response.json().keys() == {"items"}
    assert sorted(contents(response)) == ["one", "three", "two"]


def test_words_and_limit_choose_what_is_found(served: Served) -> None:
    for text in ("red apple", "green APPLE", "red pear", "green pear"):
        served.inbound("a", {"content": text})
    assert sorted(contents(served.query(q="apple"))) == ["green APPLE", "red apple"]
    assert contents(served.query(q="Pear RED")) == ["red pear"]
    assert contents(served.query(q="plum")) == []
    assert len(contents(served.query(limit=3))) == 3


def test_head_answers_as_get_does(served: Served) -> None:
    assert served.request("HEAD", "/query/main", "key-a").status_code == 200


def test_a_source_finds_its_own_namespace_only_unless_its_policy_says_more(tmp_path: Path) -> None:
    def with_firewall(name: str, **firewall: Any) -> Source:
        return a_source(name, policy={"retrieval_firewall": firewall}, **READS)

    sources = [
        with_firewall("a"),
        with_firewall("b", visible_namespaces=("a",)),
        with_firewall("c", cross_namespace_read=True),
        a_source("d", namespace="a", **READS),
    ]
    with Served(tmp_path, a_snapshot(*sources)) as served:
        for name in "abcd":
            served.inbound(name, {"content": name})
        assert sorted(contents(served.query("key-a"))) == ["a", "d"]
        assert sorted(contents(served.query("key-b"))) == ["a", "b", "d"]
        assert sorted(contents(served.query("key-c"))) == ["a", "b", "c", "d"]
        assert sorted(contents(served.query("key-d"))) == ["a", "d"]


def test_a_source_finds_records_up_to_its_tier(tmp_path: Path) -> None:
    writers = [a_source(f"w{tier}", namespace="n", default_write_tier=tier) for tier in range(4)]
    readers = [a_source(f"r{tier}", namespace="n", tier=tier, **READS) for tier in range(4)]
    with Served(tmp_path, a_snapshot(*writers, *readers)) as served:
        for tier in range(4):
            served.inbound(f"w{tier}", {"content": tier})
        found = [sorted(contents(served.query(f"key-r{tier}"))) for tier in range(4)]
    assert found == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_labels_and_classification_are_taken_from_the_fields_of_these_names(tmp_path: Path) -> None:
    firewall = {"blocked_labels": ("secret",), "max_classification_tier": "internal"}
    with reading(tmp_path, policy={"retrieval_firewall": firewall, "max_results": 2}) as served:
        served.inbound("w", {"content": "old", "classification": "public"})
        served.inbound("w", {"content": "shown", "classification": "internal", "labels": ["open"]})
        served.inbound("w", {"content": "secret", "classification": "public", "labels": ["secret"]})
        served.inbound("w", {"content": "confidential", "classification": "confidential"})
        served.inbound("w", {"content": "unclassified"})
        assert sorted(contents(served.query())) == ["old", "shown"]


def test_fields_that_are_not_included_are_neither_shown_nor_searched(tmp_path: Path) -> None:
    visibility = {"include_fields": ("content",), "strip_metadata": True}
    with reading(tmp_path, policy={"field_visibility": visibility}) as served:
        served.inbound("w", {"content": "open", "note": "hidden"})
        assert served.query().json() == {"items": [{"body": {"content": "open"}}]}
        assert served.query(q="hidden").json() == {"items": []}


def test_an_answer_is_cut_at_its_bytes_and_says_so(tmp_path: Path) -> None:
    with reading(tmp_path, policy={"max_response_bytes": 2_048}) as served:
        for _ in range(10):
            served.inbound("w", {"content": "x" * 500})
        response = served.query()
        assert response.json()["truncated"] is True
        assert 0 < len(contents(response)) < 10
        assert len(response.content) <= 2_048


def test_profiles_are_limited_to_the_allowed_ones(tmp_path: Path) -> None:
    with reading(tmp_path, policy={"allowed_profiles": ("wide", "deep")}) as served:
        for profile in ("wide", "deep", "other"):
            served.inbound("w", {"content": profile, "profile": profile})
        assert sorted(contents(served.query())) == ["deep", "wide"]
        assert contents(served.query(profile="deep")) == ["deep"]
        assert code(served.query(profile="other")) == (403, "allowed_profiles")


# --- what is refused -------------------------------------------------------------------------------------------------


def test_without_a_known_key_nothing_is_told(served: Served) -> None:
    assert code(served.request("GET", "/query/main")) == (401, "no_key")
    assert code(served.query("key-x", "absent")) == (401, "unknown_key")


def test_a_source_that_may_not_read_learns_nothing_about_destinations(served: Served) -> None:
    refused = [served.query("key-b", destination, limit="x") for destination in ("main", "absent")]
    assert [code(response) for response in refused] == [(403, "can_read")] * 2
    assert refused[0].content == refused[1].content


def test_a_destination_that_is_not_allowed_is_refused_in_the_same_words_whether_it_exists_or_not(
    tmp_path: Path,
) -> None:
    source = a_source("a", policy={"allowed_destinations": ("main",)}, **READS)
    with Served(tmp_path, a_snapshot(source, destinations={"main": "main.db", "other": "other.db"})) as served:
        refused = [served.query(destination=destination) for destination in ("other", "absent")]
        assert [code(response) for response in refused] == [(403, "allowed_destinations")] * 2
        assert refused[0].content == refused[1].content
        assert contents(served.query()) == []


def test_an_unknown_destination_is_not_found(served: Served) -> None:
    assert code(served.query(destination="absent")) == (404, "unknown_destination")


@pytest.mark.parametrize(
    ("policy", "parameters", "refusal"),
    [
        ({"allowed_operations": ("read",)}, {"q": "x"}, "allowed_operations"),
        ({"allowed_operations": ("search",)}, {}, "allowed_operations"),
        ({"allowed_operations": ("write",)}, {}, "allowed_operations"),
        ({"allowed_retrieval_modes": ("recent",)}, {"q": "x"}, "allowed_retrieval_modes"),
        ({"allowed_retrieval_modes": ("search",)}, {}, "allowed_retrieval_modes"),
        ({"allowed_operations": ("read", "search")}, {"q": "x"}, None),
        ({"allowed_operations": ("search",), "allowed_retrieval_modes": ("search",)}, {"q": "x"}, None),
        ({"allowed_operations": ("read",), "allowed_retrieval_modes": ("recent",)}, {"mode": "recent"}, None),
    ],
)
def test_operations_and_modes_are_refused_by_name(
    tmp_path: Path, policy: dict[str, Any], parameters: dict[str, str], refusal: str | None
) -> None:
    with reading(tmp_path, policy=policy) as served:
        response = served.query(**parameters)
        assert (response.json().get("code"), response.status_code) == (refusal, 403 if refusal else 200)


def test_parameters_that_cannot_be_understood_are_refused(served: Served) -> None:
    assert code(served.query(limit=51)) == (422, "limit")
    assert code(served.query(limitt=1)) == (422, "parameters")
    assert "1 to 50" in served.query(limit=51).json()["detail"]


def test_queries_count_against_the_rate_limit_and_refused_ones_do_not(tmp_path: Path) -> None:
    counted: list[Any] = []

    def allow(source: Source, size: int) -> Any:
        counted.append((source.name, size))
        return 0.2 if len(counted) > 1 else None

    with Served(tmp_path, a_snapshot(a_source("a", **READS)), allow=allow) as served:
        assert served.query(limit=0).status_code == 422
        assert served.query().status_code == 200
        response = served.query()
        assert code(response) == (429, "rate_limit")
        assert response.headers["retry-after"] == "1"
    assert counted == [("a", 0)] * 2


def test_a_destination_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    source = a_source("a", **READS)
    with Served(tmp_path, a_snapshot(source, destinations={"main": "absent/main.db"})) as served:
        response = served.query()
        assert code(response) == (503, "destination")
        assert response.headers["retry-after"] == "1"
        (tmp_path / "absent").mkdir()
        assert contents(served.query()) == []


def test_a_destination_that_this_worker_did_not_start_with_is_unavailable(served: Served) -> None:
    later = {"main": "main.db", "later": "later.db"}
    served.snapshot = a_snapshot(a_source("a", **READS), version=2, destinations=later)
    assert code(served.query(destination="later")) == (503, "destination")


def test_neither_words_nor_what_is_found_reach_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"), reading(tmp_path) as served:
        served.inbound("w", {"content": "canary-body"})
        assert len(contents(served.query(q="canary"))) == 1
        assert code(served.query(q="canary", limit="canary")) == (422, "limit")
    logged = [record.getMessage() for record in caplog.records if record.name != "httpx"]  # the client's own
    assert not any("canary" in line for line in logged)


# --- transform -------------------------------------------------------------------------------------------------------


def test_fields_are_transformed_after_they_are_mapped_and_before_they_are_read(tmp_path: Path) -> None:
    source = a_source(
        "a",
        mapping={"content": "text", "profile": "kind"},
        transform={"content": ("strip", {"truncate": 4}), "profile": ("lower",), "labels": ({"default": ["new"]},)},
    )
    with Served(tmp_path, a_snapshot(source)) as served:
        assert served.inbound("a", {"text": "  a long text", "kind": "DEEP"}).status_code == 201
        [row] = served.rows()
    assert (row["body"], row["profile"]) == ('{"content":"a lo","profile":"deep","labels":["new"]}', "deep")


def test_a_value_that_a_step_cannot_take_is_refused_without_being_repeated(tmp_path: Path) -> None:
    with Served(tmp_path, a_snapshot(a_source("a", transform={"content": ("strip",)}))) as served:
        response = served.inbound("a", {"content": 4711})
        assert code(response) == (422, "transform")
        assert "'content'" in response.text
        assert "4711" not in response.text


def test_a_field_may_not_grow_over_the_bytes_that_a_body_may_have(tmp_path: Path) -> None:
    source = a_source("a", transform={"content": ({"replace": ["a", "aaaa"]},)}, payload_limits={"max_bytes": 100})
    with Served(tmp_path, a_snapshot(source)) as served:
        assert served.inbound("a", {"content": "a" * 25}).status_code == 201
        assert code(served.inbound("a", {"content": "a" * 26})) == (422, "transform")


# --- repeated requests -----------------------------------------------------------------------------------------------


ONCE = {"idempotency": {"enabled": True}}


def repeat(served: Served, body: Any, key: str = "k", source: str = "a") -> Any:
    response = served.inbound(source, body, headers={"Idempotency-Key": key})
    return response.status_code, response.json().get("id") or response.json()["code"]


def test_a_repeated_request_is_answered_with_the_first_id_and_stores_nothing(tmp_path: Path) -> None:
    with Served(tmp_path, a_snapshot(a_source("a", **ONCE))) as served:
        status, first = repeat(served, {"n": 1})
        assert status == 201
        assert repeat(served, {"n": 1}) == (200, first)
        assert repeat(served, {"n": 1}, key="other")[0] == 201
        assert len(served.rows()) == 2
    with Served(tmp_path, a_snapshot(a_source("a", **ONCE))) as served:
        assert repeat(served, {"n": 1}) == (200, first)


def test_a_key_with_another_body_is_refused(tmp_path: Path) -> None:
    with Served(tmp_path, a_snapshot(a_source("a", **ONCE))) as served:
        assert repeat(served, {"n": 1})[0] == 201
        assert repeat(served, {"n": 2}) == (422, "idempotency_key_reused")
        assert len(served.rows()) == 1


def test_a_change_of_mapping_does_not_make_another_body_of_it(tmp_path: Path) -> None:
    with Served(tmp_path, a_snapshot(a_source("a", **ONCE))) as served:
        _, first = repeat(served, {"n": 1})
        served.snapshot = a_snapshot(a_source("a", mapping={"m": "n"}, **ONCE), version=2)
        assert repeat(served, {"n": 1}) == (200, first)


def test_where_it_is_not_enabled_every_request_is_a_record(tmp_path: Path) -> None:
    with Served(tmp_path, a_snapshot(a_source("a"))) as served:
        assert [repeat(served, {"n": 1})[0] for _ in range(2)] == [201, 201]
        assert len(served.rows()) == 2


def test_a_key_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with Served(tmp_path, a_snapshot(a_source("a", **ONCE))) as served:
        assert repeat(served, {"n": 1}, key="x" * 256) == (422, "idempotency_key")
        assert served.request("GET", "/ready").status_code == 200
        assert served.rows() == []


def test_a_large_body_is_known_again_too(tmp_path: Path) -> None:
    with Served(tmp_path, a_snapshot(a_source("a", **ONCE))) as served:
        body = {"content": "x" * 200_000}
        _, first = repeat(served, body)
        assert repeat(served, body) == (200, first)
