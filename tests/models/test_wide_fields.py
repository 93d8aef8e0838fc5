"""Marks of fields of which more gives more rights: where they are, and what the gateway marks."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NamedTuple

import pytest
from pydantic import BaseModel, RootModel

from nexus_supervisor.core.widening import widened
from nexus_supervisor.models.loading import ClassModel, load_model
from nexus_supervisor.models.marks import RestartRequired, Widens
from nexus_supervisor.models.wide_fields import wide_fields

LIMIT = Widens(times=10)


class Pool(BaseModel):
    size: Annotated[int, LIMIT] = 1
    color: str = ""


class Pair(NamedTuple):
    name: str
    rank: Annotated[int, Widens]


class Source(BaseModel):
    can_write: Annotated[bool, Widens, RestartRequired] = False
    maybe: Annotated[int, Widens] | None = None
    names: Annotated[list[str], Widens(empty_is_all=True)] = []
    pool: Pool | None = None
    pools: dict[str, list[Pool]] = {}
    pair: Pair = Pair("", 0)
    two: tuple[str, Annotated[int, Widens]] = ("", 0)
    plain: int = 0


class Tree(BaseModel):
    size: Annotated[int, Widens] = 0
    left: Tree | None = None


@dataclasses.dataclass
class Room:
    doors: Annotated[int, Widens] = 1


class Root(RootModel[dict[str, Pool]]):
    pass


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (
            Source,
            {"can_write", "maybe", "names", "pool.size", "pools.*.*.size", "pair.1", "two.1"},
        ),
        (Tree, {"size"}),
        (Room, {"doors"}),
        (Root, {"*.size"}),
    ],
)
def test_marks_are_found_at_any_depth_and_named_as_content_has_them(cls: type, expected: set[str]) -> None:
    assert {".".join(pattern) for pattern, _ in wide_fields(cls)} == expected


def test_a_mark_says_what_of_the_field_counts() -> None:
    assert ClassModel(Pool).widens() == ((("size",), LIMIT.wide),)
    assert (LIMIT.wide.times, Widens.wide.times) == (10, 1.0)
    assert load_model("").widens() == ()


def source(**fields: Any) -> dict[str, Any]:
    policy = {"allowed_destinations": ["a"], "max_results": 50, "field_visibility": {"strip_metadata": True}}
    firewall = {"blocked_labels": ["x"], "max_classification_tier": "internal"}
    known: dict[str, Any] = {
        "tier": 1,
        "can_write": False,
        "rate_limit": {"requests_per_minute": 100},
        "policy": policy,
    }
    policy["retrieval_firewall"] = firewall
    return known | fields


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (source(), []),
        (source(tier=2, can_write=True), ["can_write", "tier"]),
        (source(tier=0), []),
        (source(rate_limit={"requests_per_minute": 900}), []),
        (source(rate_limit={"requests_per_minute": 1000}), ["rate_limit.requests_per_minute"]),
        (source(rate_limit={"requests_per_minute": 0}), ["rate_limit.requests_per_minute"]),
        (source(policy={"allowed_destinations": []}), ["policy.allowed_destinations"]),
        (source(policy={"allowed_destinations": ["a", "b"]}), ["policy.allowed_destinations"]),
        (source(policy={"max_results": 500}), ["policy.max_results"]),
        (source(policy={"field_visibility": {"strip_metadata": False}}), ["policy.field_visibility.strip_metadata"]),
        (
            source(policy={"retrieval_firewall": {"blocked_labels": [], "max_classification_tier": ""}}),
            ["policy.retrieval_firewall.blocked_labels", "policy.retrieval_firewall.max_classification_tier"],
        ),
    ],
)
def test_the_gateway_marks_what_lets_a_source_do_more(after: dict[str, Any], expected: list[str]) -> None:
    fields = load_model("nexus_workers.gateway.models:Source").widens()

    assert [".".join(place) for place in widened(source(), after, fields)] == expected
