"""Marked fields of an instance: what it claims for itself alone, and which other entries it names.

Decided here: where marks are looked for (at any depth, also on the items of lists and inside unions). Not decided here:
what a broken claim or reference leads to (``compiler/``). Importing this brings pydantic.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel

from nexus_supervisor.core import canonical
from nexus_supervisor.models.facts import NO_FACTS, Claim, Facts, Reference
from nexus_supervisor.models.marks import Mark, References, Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.models.mistakes import Path

__all__ = ["MarkedFields"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """Hold where marks are in the values of one annotation: on the value, on its items, or inside its class."""

    marks: tuple[Mark | References, ...]
    items: tuple[_Shape, ...]
    classes: frozenset[type]


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """Hold one field of a class: its name, the name that people write, and where marks are in it."""

    name: str
    written: str
    shape: _Shape


class MarkedFields:
    """Find the marked values in instances of one class."""

    def __init__(self, cls: type) -> None:
        self._plans: dict[type, tuple[_Field, ...]] = {}
        self._plan(cls)
        self.targets = frozenset(
            mark.section
            for plan in self._plans.values()
            for one in plan
            for mark in _all_marks(one.shape)
            if isinstance(mark, References)
        )
        self._prune()
        self._none = not self._plans

    def facts(self, instance: Any) -> Facts:
        """Return the claims and references of an instance."""
        if self._none:
            return NO_FACTS
        found = list(self._of_instance(instance, ()))
        return Facts(
            tuple(one for one in found if isinstance(one, Claim)),
            tuple(one for one in found if isinstance(one, Reference)),
        )

    def _plan(self, cls: type) -> None:
        """Remember the fields of a class and of every class that its annotations name."""
        if cls in self._plans:
            return
        self._plans[cls] = fields = tuple(_fields_of(cls))
        for one in fields:
            for inner in _all_classes(one.shape):
                self._plan(inner)

    def _prune(self) -> None:
        """Forget the fields in which there can't be a mark, so that looking costs nothing there."""
        before = -1
        while before != (before := sum(map(len, self._plans.values()))):
            for cls, plan in list(self._plans.items()):
                kept = tuple(one for one in plan if any(_all_marks(one.shape)) or self._leads_on(one.shape))
                self._plans[cls] = kept
                if not kept:
                    del self._plans[cls]

    def _leads_on(self, shape: _Shape) -> bool:
        return any(cls in self._plans for cls in _all_classes(shape))

    def _of_instance(self, instance: Any, path: Path) -> Iterator[Claim | Reference]:
        for one in self._plans.get(type(instance), ()):
            yield from self._of_value(getattr(instance, one.name), one.shape, (*path, one.written))

    def _of_value(self, value: Any, shape: _Shape, path: Path) -> Iterator[Claim | Reference]:
        if value is None:
            return
        for mark in shape.marks:
            yield from _marked(value, mark, path)
        if type(value) in self._plans:
            yield from self._of_instance(value, path)
            return
        for inner in shape.items:
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if _is_many(value) else ()
            for key, item in pairs:
                yield from self._of_value(item, inner, (*path, key))


def _marked(value: Any, mark: object, path: Path) -> Iterator[Claim | Reference]:
    """Yield what a mark says about a value; about a list or table, what it says about each item."""
    if value is None:
        return
    if _is_many(value):
        for index, item in enumerate(value):
            yield from _marked(item, mark, (*path, index))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _marked(item, mark, (*path, key))
    elif mark is Mark.UNIQUE:
        yield Claim(path, value.digest if isinstance(value, Secret) else canonical.encode(_plain(value)).decode())
    elif isinstance(mark, References):
        yield Reference(path, mark.section, str(value))


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _is_many(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset))


def _fields_of(cls: type) -> Iterator[_Field]:
    if issubclass(cls, BaseModel):
        for name, info in cls.model_fields.items():
            alias = info.validation_alias or info.alias
            written = alias if isinstance(alias, str) else name
            yield _Field(name, written, _shape(info.annotation, tuple(info.metadata)))
    elif dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls, include_extras=True)
        for field in dataclasses.fields(cls):
            yield _Field(field.name, field.name, _shape(hints[field.name], ()))


def _shape(annotation: Any, marks: tuple[object, ...]) -> _Shape:
    """Return where marks are in an annotation; those on a member of a union count for the whole union."""
    if typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        return _shape(inner, (*marks, *more))
    own = tuple(mark for mark in marks if isinstance(mark, (Mark, References)))
    arguments = [one for one in typing.get_args(annotation) if one is not Ellipsis]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [_shape(one, ()) for one in arguments]
        return _Shape(
            (*own, *(mark for member in members for mark in member.marks)),
            tuple(item for member in members for item in member.items),
            frozenset().union(*(member.classes for member in members)),
        )
    items = (_shape(arguments[-1], ()),) if arguments and typing.get_origin(annotation) is not Literal else ()
    return _Shape(own, items, frozenset({annotation}) if _is_structured(annotation) else frozenset())


def _is_structured(annotation: Any) -> bool:
    return isinstance(annotation, type) and (dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel))


def _all_marks(shape: _Shape) -> Iterator[Mark | References]:
    yield from shape.marks
    for item in shape.items:
        yield from _all_marks(item)


def _all_classes(shape: _Shape) -> Iterator[type]:
    yield from shape.classes
    for item in shape.items:
        yield from _all_classes(item)
