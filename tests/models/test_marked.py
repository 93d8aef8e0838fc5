"""Marks for cross-checks: found wherever a value can be, since a mark that nobody sees protects nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Generic, NamedTuple, NewType, Required, TypeVar

import pytest
from pydantic import BaseModel, RootModel, TypeAdapter
from typing_extensions import TypeAliasType, TypedDict

from nexus_supervisor.models.marked import MarkedFields
from nexus_supervisor.models.marks import References, RestartRequired, Unique
from nexus_supervisor.models.restart_fields import restart_fields

Name = Annotated[str, References("others"), Unique]
Alias = TypeAliasType("Alias", Annotated[str, References("others"), Unique])
New = NewType("New", Annotated[str, References("others"), Unique])  # type: ignore[valid-newtype]
T = TypeVar("T")


class Table(TypedDict, total=False):
    name: Required[Name]


class Pair(NamedTuple):
    name: Name
    size: Annotated[int, RestartRequired]


@dataclasses.dataclass
class Box(Generic[T]):
    name: Name
    inside: T | None = None


class Root(RootModel[dict[str, Name]]):
    pass


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (Name, "x", ()),
        (Alias, "x", ()),
        (New, "x", ()),
        (Name | int, "x", ()),
        (list[Name | None], [None, "x"], (1,)),
        (set[Name], {"x"}, (0,)),
        (tuple[Name, int], ("x", 1), (0,)),
        (tuple[int, Name], (1, "x"), (1,)),
        (tuple[Name, ...], ("x",), (0,)),
        (dict[Name, int], {"x": 1}, ("x",)),
        (Mapping[str, list[Name]], {"a": ["x"]}, ("a", 0)),
        (Table, {"name": "x"}, ("name",)),
        (list[Table], [{}, {"name": "x"}], (1, "name")),
        (Table | int, {"name": "x"}, ("name",)),
        (Pair, Pair("x", 1), ("name",)),
        (Box[int], Box("x", 1), ("name",)),
        (Root, Root({"a": "x"}), ("a",)),
    ],
    ids=str,
)
def test_a_marked_value_is_found_with_the_keys_that_people_write(
    annotation: Any, value: Any, path: tuple[str | int, ...]
) -> None:
    class Holder(BaseModel):
        v: annotation

    facts = MarkedFields(Holder).facts(Holder.model_construct(v=value))

    assert [one.path for one in facts.references] == [one.path for one in facts.claims] == [("v", *path)]
    assert [(one.section, one.name) for one in facts.references] == [("others", "x")]
    assert MarkedFields(Holder).targets == {"others"}


@pytest.mark.parametrize(
    ("annotation", "pattern"),
    [
        (Pair, ("v",)),
        (dict[Annotated[str, RestartRequired], int], ("v",)),
        (TypeAliasType("Size", Annotated[int, RestartRequired]), ("v",)),
        (NewType("Size", Annotated[int, RestartRequired]), ("v",)),  # type: ignore[valid-newtype]
        (list[Pair], ("v",)),
        (dict[str, Pair], ("v", "*")),
    ],
    ids=str,
)
def test_a_restart_required_mark_is_found_there_too(annotation: Any, pattern: tuple[str, ...]) -> None:
    class Holder(BaseModel):
        v: annotation

    assert restart_fields(Holder) == (pattern,)


def test_the_classes_of_these_tests_are_ones_that_pydantic_takes() -> None:
    for annotation in (Alias, New, Table, Pair, Box[int]):
        TypeAdapter(annotation)
