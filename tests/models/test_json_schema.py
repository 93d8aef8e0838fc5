"""The JSON Schema of one model: closed where strictness is, open where the model is, silent about what it can't say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from nexus_supervisor.models.json_schema import document_schema
from nexus_supervisor.models.marks import HashedSecret, RestartRequired, Secret, Unique, Widens


def schema(cls: Any) -> dict[str, Any]:
    return document_schema(TypeAdapter(cls))


def field(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """The schema of a field of this type."""
    model = type("Model", (BaseModel,), {"__annotations__": {"field": annotation}, "field": Field(default)})
    found: dict[str, Any] = schema(model)["properties"]["field"]
    return found


class Node(BaseModel):
    value: int
    below: list[Node] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    known: int = 1
    inner: Node | None = None


@dataclasses.dataclass
class Plain:
    """A dataclass."""

    name: str
    tags: list[str] = dataclasses.field(default_factory=list)


def test_every_model_is_closed_unless_it_says_that_it_is_open() -> None:
    found = schema(Open)

    assert found["additionalProperties"] is True
    assert found["definitions"]["Node"]["additionalProperties"] is False


def test_a_model_that_holds_itself_has_a_root_that_is_a_table() -> None:
    found = schema(Node)

    assert (found["type"], found["required"]) == ("object", ["value"])
    assert found["properties"]["below"]["items"] == {"$ref": "#/definitions/Node"}
    assert found["definitions"]["Node"]["properties"] == found["properties"]


def test_a_dataclass_is_described_like_a_model() -> None:
    found = schema(Plain)

    assert (found["required"], found["additionalProperties"]) == (["name"], False)


def test_toml_has_no_null_so_a_field_that_may_be_absent_is_only_not_required() -> None:
    assert field(int | None, None) == {"type": "integer"}
    assert field(int | Literal["all"] | None, None) == {
        "anyOf": [{"type": "integer"}, {"const": "all", "type": "string"}]
    }


def test_marks_and_secrets_say_what_they_mean_beside_what_the_model_says() -> None:
    text = Field(description="How it calls.")
    token = field(Annotated[Secret | None, RestartRequired, text], None)
    key = field(Annotated[HashedSecret, Unique])

    assert token["description"].startswith('How it calls. A secret: "env:NAME", "file:PATH"')
    assert token["description"].endswith("A change of it needs a restart.")
    assert key["description"].endswith("Workers are given only its hash. No two entries may have the same.")
    assert field(Annotated[int, Widens])["description"] == "More of it gives more rights."


def test_what_is_said_of_a_table_is_not_lost_beside_its_reference() -> None:
    found = field(Annotated[Node, RestartRequired])

    assert found["allOf"] == [{"$ref": "#/definitions/Node"}]
    assert found["description"] == "A change of it needs a restart."


def test_a_default_is_shown_unless_it_is_a_table_or_a_secret() -> None:
    assert field(int, 3)["default"] == 3
    assert field(list[str], ["a"])["default"] == ["a"]
    assert "default" not in field(Node, Node(value=1))
    assert "default" not in field(list[Node], [Node(value=1)])
    assert "default" not in field(Secret, Secret.literal("canary"))


def test_nothing_is_refused_that_the_model_takes() -> None:
    stripped = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2, pattern="^a")]

    assert field(stripped) == {"type": "string", "minLength": 1}
    assert field(Annotated[set[int], Field(max_length=2)]) == {"type": "array", "items": {"type": "integer"}}
    assert field(Any) == {"additionalProperties": True}
    assert field(Callable[[], int]) == {"additionalProperties": True}
    assert field(dict[str, Any]) == {"type": "object", "additionalProperties": True}


def test_a_tuple_has_its_items_in_order_and_no_more() -> None:
    found = field(tuple[int, str])

    assert found["items"] == [{"type": "integer"}, {"type": "string"}]
    assert found["additionalItems"] is False
