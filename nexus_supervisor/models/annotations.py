"""Annotations: the fields of a class as they are annotated, for whoever looks for marks in them.

Decided here: which classes have fields to look into, and what stands behind an alias. Not decided here: what a mark
means (``marked.py``, ``restart_fields.py``). Importing this brings pydantic.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, RootModel

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AnnotatedField", "fields_of", "is_named_tuple", "is_structured", "is_typed_dict", "unwrapped"]

_QUALIFIERS = (typing.Required, typing.NotRequired)


@dataclasses.dataclass(frozen=True, slots=True)
class AnnotatedField:
    """Hold one field of a class; ``written`` is the key that people write, ``""`` where the value stands for itself."""

    name: str
    written: str
    annotation: Any


def fields_of(cls: type) -> Iterator[AnnotatedField]:
    """Yield the fields of a class, with all that their annotations say."""
    if issubclass(cls, BaseModel):
        for name, info in cls.model_fields.items():
            alias = info.validation_alias or info.alias
            written = "" if issubclass(cls, RootModel) else alias if isinstance(alias, str) else name
            said: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
            yield AnnotatedField(name, written, said)
        return
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else list(hints)
    yield from (AnnotatedField(name, name, hints[name]) for name in names)


def unwrapped(annotation: Any) -> Any:
    """Return what an alias of a ``type`` statement, a NewType, ``Required[…]`` or a class with arguments stands for."""
    while True:
        origin = typing.get_origin(annotation)
        if origin in _QUALIFIERS:
            annotation = typing.get_args(annotation)[0]
        elif is_structured(origin):
            annotation = origin
        elif (inner := getattr(annotation, "__value__", getattr(annotation, "__supertype__", None))) is not None:
            annotation = inner
        else:
            return annotation


def is_structured(annotation: Any) -> bool:
    """Say whether an annotation is a class with fields: a model, a dataclass, a TypedDict or a NamedTuple."""
    if not isinstance(annotation, type):
        return False
    is_class = dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel)
    return is_class or is_typed_dict(annotation) or is_named_tuple(annotation)


def is_typed_dict(cls: type) -> bool:
    """Say whether a class is a TypedDict, whose instances are plain dicts."""
    return issubclass(cls, dict) and hasattr(cls, "__total__")


def is_named_tuple(cls: type) -> bool:
    """Say whether a class is a NamedTuple, which is written as a list."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields")
