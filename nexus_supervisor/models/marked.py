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

from nexus_supervisor.core import canonical
from nexus_supervisor.models.annotations import fields_of, is_structured, is_typed_dict, unwrapped
from nexus_supervisor.models.facts import NO_FACTS, Claim, Facts, Reference
from nexus_supervisor.models.marks import Mark, References, Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.models.mistakes import Path

__all__ = ["MarkedFields"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """Hold where marks are in the values of one annotation: on the value, on its keys or items, or inside its class.

    Each of ``items`` comes with the one place in a tuple that it is about, or None for all.
    """

    marks: tuple[Mark | References, ...] = ()
    keys: tuple[_Shape, ...] = ()
    items: tuple[tuple[int | None, _Shape], ...] = ()
    classes: frozenset[type] = frozenset()

    def inner(self) -> Iterator[_Shape]:
        """Yield the shapes of keys and items."""
        yield from self.keys
        yield from (shape for _, shape in self.items)


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
        self._plans[cls] = fields = tuple(
            _Field(one.name, one.written, _shape(one.annotation, ())) for one in fields_of(cls)
        )
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
            inner = (*path, one.written) if one.written else path
            yield from self._of_value(getattr(instance, one.name), one.shape, inner)

    def _of_value(self, value: Any, shape: _Shape, path: Path) -> Iterator[Claim | Reference]:
        if value is None:
            return
        for mark in shape.marks:
            yield from _marked(value, mark, path)
        if type(value) in self._plans:
            yield from self._of_instance(value, path)
        elif isinstance(value, Mapping):
            yield from self._of_mapping(value, shape, path)
        elif _is_many(value):
            for number, item in enumerate(value):
                for place, inner in shape.items:
                    if place in (None, number):
                        yield from self._of_value(item, inner, (*path, number))

    def _of_mapping(self, value: Mapping[Any, Any], shape: _Shape, path: Path) -> Iterator[Claim | Reference]:
        for cls in filter(is_typed_dict, shape.classes):
            for one in self._plans.get(cls, ()):
                yield from self._of_value(value.get(one.name), one.shape, (*path, one.written))
        for key, item in value.items():
            for inner in shape.keys:
                yield from self._of_value(key, inner, (*path, key))
            for _, inner in shape.items:
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


def _shape(annotation: Any, marks: tuple[object, ...]) -> _Shape:
    """Return where marks are in an annotation; those on a member of a union count for the whole union."""
    annotation = unwrapped(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _shape(arguments[0], (*marks, *arguments[1:]))
    own = tuple(mark for mark in marks if mark is Mark.UNIQUE or isinstance(mark, References))
    if origin in (typing.Union, types.UnionType):
        members = [_shape(one, ()) for one in arguments]
        return _Shape(
            (*own, *(mark for member in members for mark in member.marks)),
            tuple(key for member in members for key in member.keys),
            tuple(item for member in members for item in member.items),
            frozenset().union(*(member.classes for member in members)),
        )
    if is_structured(annotation):
        return _Shape(own, classes=frozenset({annotation}))
    if origin is Literal or not arguments:
        return _Shape(own)
    if origin is tuple and Ellipsis not in arguments:
        return _Shape(own, items=tuple((place, _shape(one, ())) for place, one in enumerate(arguments)))
    *keys, items = [_shape(one, ()) for one in arguments if one is not Ellipsis]
    return _Shape(own, tuple(keys), ((None, items),))


def _all_marks(shape: _Shape) -> Iterator[Mark | References]:
    yield from shape.marks
    for inner in shape.inner():
        yield from _all_marks(inner)


def _all_classes(shape: _Shape) -> Iterator[type]:
    yield from shape.classes
    for inner in shape.inner():
        yield from _all_classes(inner)
