from __future__ import annotations

import json
from typing import Any

import pytest
from nexus_workers.gateway.answers import Refused
from nexus_workers.gateway.permissions import target_of_write

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
