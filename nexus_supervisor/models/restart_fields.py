"""Restart fields: where, in the canonical form of a model, the fields are that were marked ``RestartRequired``.

Decided here: the patterns that a model's annotations lead to, at any depth. Not decided here: what is held by them
(``core/changes.py``). Importing this brings pydantic.

A field is named as the canonical form names it; a table that may have any keys is ``*``. Below a list, a tuple or a
set, on the keys of a table, and where a model holds itself, the whole field is meant.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from nexus_supervisor.models.annotations import fields_of, is_named_tuple, is_structured, unwrapped
from nexus_supervisor.models.marks import Mark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.changes import Pattern

__all__ = ["restart_fields"]

_ANY_KEY = "*"


def restart_fields(cls: type) -> tuple[Pattern, ...]:
    """Return the patterns of the marked fields of a class; one that is below another is left out."""
    found = set(_of_class(cls, (), ()))
    return tuple(sorted(one for one in found if not any(one[:length] in found for length in range(len(one)))))


def _of_class(cls: type, path: Pattern, above: tuple[type, ...]) -> Iterator[Pattern]:
    for field in fields_of(cls):
        inner = (*path, field.name) if field.written else path
        yield from _of_annotation(field.annotation, inner, (*above, cls))


def _of_annotation(annotation: Any, path: Pattern, above: tuple[type, ...]) -> Iterator[Pattern]:
    """Yield the patterns of what an annotation allows; a mark on one member of a union counts for all of it."""
    annotation = unwrapped(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        yield from [path] if Mark.RESTART_REQUIRED in arguments[1:] else _of_annotation(arguments[0], path, above)
    elif origin in (typing.Union, types.UnionType):
        for member in arguments:
            yield from _of_annotation(member, path, above)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        keys_are_marked = any(_marked_below(arguments[0], set()))
        yield from [path] if keys_are_marked else _of_annotation(arguments[-1], (*path, _ANY_KEY), above)
    elif is_structured(annotation) and not (annotation in above or is_named_tuple(annotation)):
        yield from _of_class(annotation, path, above)
    elif any(_marked_below(annotation, set())):
        yield path


def _marked_below(annotation: Any, seen: set[Any]) -> Iterator[bool]:
    """Yield True for each mark below an annotation, also where models hold themselves."""
    annotation = unwrapped(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return
    if origin is Annotated and Mark.RESTART_REQUIRED in arguments[1:]:
        yield True
    for one in arguments[:1] if origin is Annotated else arguments:
        yield from _marked_below(one, seen)
    if is_structured(annotation) and annotation not in seen:
        seen.add(annotation)
        for field in fields_of(annotation):
            yield from _marked_below(field.annotation, seen)
