"""Marks of single fields that need a restart: where they are in the canonical form."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal, NotRequired

import pytest
from pydantic import BaseModel, Field, RootModel
from typing_extensions import TypedDict

from nexus_supervisor.models.loading import ClassModel, load_model
from nexus_supervisor.models.marks import RestartRequired, Secret, Unique
from nexus_supervisor.models.restart_fields import restart_fields


class Plain(BaseModel):
    size: int = 0
    names: list[str] = []


class Pool(BaseModel):
    size: Annotated[int, RestartRequired]
    timeout: float = 1.0


class Marked(BaseModel):
    device: Annotated[str, RestartRequired]
    dsn: Annotated[Secret | None, RestartRequired, Field(description="where")] = None
    written: Annotated[str, Field(alias="writ-ten"), RestartRequired] = ""
    live: Annotated[str, Unique] = ""
    either: Annotated[int, RestartRequired] | str = 0


class Nested(BaseModel):
    pool: Pool
    maybe: Pool | None = None
    whole: Annotated[Pool, RestartRequired]
    named: dict[str, Pool] = {}
    deep: dict[str, dict[str, Pool | None]] = {}
    listed: list[Pool] = []
    pairs: dict[str, tuple[int, Pool]] = {}
    plain: Plain = Plain()
    plains: list[Plain] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, RestartRequired] = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


class Keeper(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Tree(BaseModel):
    size: Annotated[int, RestartRequired] = 0
    left: Tree | None = None
    others: dict[str, Tree] = {}
    label: str = ""


class Vine(BaseModel):
    next: Vine | None = None


@dataclasses.dataclass
class Room:
    doors: Annotated[int, RestartRequired]
    pool: Pool
    color: str = ""


class Table(TypedDict):
    rows: Annotated[int, RestartRequired]
    columns: NotRequired[Annotated[int, RestartRequired]]
    name: str


class Held(BaseModel):
    table: Table


class Root(RootModel[dict[str, Pool]]):
    pass


class Parent(BaseModel):
    inherited: Annotated[int, RestartRequired] = 0


class Child(Parent):
    own: int = 0


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Plain, set()),
        (Marked, {"device", "dsn", "written", "either"}),
        (
            Nested,
            {"pool.size", "maybe.size", "whole", "named.*.size", "deep.*.*.size", "listed", "pairs.*"},
        ),
        (Keeper, {"pet.lives"}),
        (Tree, {"size", "left", "others.*"}),
        (Vine, set()),
        (Room, {"doors", "pool.size"}),
        (Held, {"table.rows", "table.columns"}),
        (Root, {"*.size"}),
        (Child, {"inherited"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_marks_are_found_at_any_depth_and_named_as_content_has_them(cls: type, expected: set[str]) -> None:
    assert {".".join(one) for one in restart_fields(cls)} == expected


def test_a_model_tells_its_restart_required_fields_and_a_plain_document_has_none() -> None:
    assert ClassModel(Pool).restart_required() == (("size",),)
    assert load_model("").restart_required() == ()
