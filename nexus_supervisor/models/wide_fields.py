"""Wide fields: where, in the canonical form of a model, the fields are that were marked ``Widens``.

Decided here: the patterns that a model's annotations lead to, at any depth. Not decided here: when a value of them is
wider (``core/widening.py``). Importing this brings pydantic.

A field is named as the canonical form names it. ``*`` stands for any key of a table and for any place in a list, whose
items are compared place by place. A mark on a list or table itself is about what it names. In a model that holds
itself, the inner ones are not looked into.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from nexus_supervisor.core.widening import ANY_PLACE
from nexus_supervisor.models.annotations import fields_of, is_named_tuple, is_structured, unwrapped
from nexus_supervisor.models.marks import Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.changes import Pattern
    from nexus_supervisor.core.widening import WideField

__all__ = ["wide_fields"]


def wide_fields(cls: type) -> tuple[WideField, ...]:
    """Return the patterns of the marked fields of a class, each with what of it gives more rights."""
    return tuple(dict.fromkeys(_of_class(cls, (), ())))


def _of_class(cls: type, path: Pattern, above: tuple[type, ...]) -> Iterator[WideField]:
    for place, field in enumerate(fields_of(cls)):
        name = str(place) if is_named_tuple(cls) else field.name
        inner = (*path, name) if field.written else path
        yield from _of_annotation(field.annotation, inner, (*above, cls))


def _of_annotation(annotation: Any, path: Pattern, above: tuple[type, ...]) -> Iterator[WideField]:
    """Yield the patterns of what an annotation allows; a mark on one member of a union counts for all of it."""
    annotation = unwrapped(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        yield from ((path, mark.wide) for mark in arguments[1:] if isinstance(mark, Widening))
        yield from _of_annotation(arguments[0], path, above)
    elif is_structured(annotation):
        if annotation not in above:
            yield from _of_class(annotation, path, above)
    elif origin is not Literal:
        for inner, place in _inside(origin, arguments):
            yield from _of_annotation(inner, path if place is None else (*path, place), above)


def _inside(origin: Any, arguments: tuple[Any, ...]) -> Iterator[tuple[Any, str | None]]:
    """Yield what an annotation is made of, and where in a value each of it is; None: it is the value itself."""
    if origin in (typing.Union, types.UnionType):
        yield from ((one, None) for one in arguments)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield arguments[-1], ANY_PLACE
    elif origin is tuple and Ellipsis not in arguments:
        yield from ((one, str(place)) for place, one in enumerate(arguments))
    else:
        yield from ((one, ANY_PLACE) for one in arguments if one is not Ellipsis)
