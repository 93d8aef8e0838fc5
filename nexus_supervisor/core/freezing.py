"""Freezing: instances that nobody can change, all the way down.

Decided here: what takes the place of a list, table or set, and how a model's attributes are closed. Not decided here:
when (``models/``).

Frozen containers are still lists, dicts and sets to ``isinstance`` and ``json.dumps``; their mutators raise. A model or
dataclass that isn't frozen by itself gets a subclass of the same name whose attributes can't be set.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, NoReturn

__all__ = ["FrozenDict", "FrozenList", "FrozenSet", "frozen"]


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    message = f"a snapshot is frozen: this {type(self).__name__} can't be changed; change the file that it comes from"
    raise TypeError(message)


class FrozenList(list[Any]):
    """Be a list that can't be changed."""

    __slots__ = ()
    __delitem__ = __iadd__ = __imul__ = __setitem__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy be an ordinary list."""
        return list, (list(self),)


class FrozenDict(dict[Any, Any]):
    """Be a dict that can't be changed."""

    __slots__ = ()
    __delitem__ = __ior__ = __setitem__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy be an ordinary dict."""
        return dict, (dict(self),)


class FrozenSet(set[Any]):
    """Be a set that can't be changed; ``frozenset`` is no ``set`` to a model that asks for one."""

    __slots__ = ()
    __iand__ = __ior__ = __isub__ = __ixor__ = _refuse
    add = clear = difference_update = discard = intersection_update = pop = remove = _refuse
    symmetric_difference_update = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy be an ordinary set."""
        return set, (set(self),)


def frozen(value: Any) -> Any:
    """Return the value with every container in it frozen, and close the attributes of every model in it."""
    match value:
        case dict():
            return FrozenDict({key: frozen(item) for key, item in value.items()})
        case list():
            return FrozenList([frozen(item) for item in value])
        case tuple() if type(value) is tuple:
            return tuple(frozen(item) for item in value)
        case set():
            return FrozenSet(value)
    cls: Any = type(value)
    names = _attributes(cls)
    if names is None:
        return value
    for name in names:
        before = getattr(value, name)
        after = frozen(before)
        if after is not before:
            object.__setattr__(value, name, after)
    if (closed := _closed(cls)) is not None:
        object.__setattr__(value, "__class__", closed)
    return value


@cache
def _attributes(cls: Any) -> tuple[str, ...] | None:
    """Return the names of the fields of a model or dataclass, or None for any other class."""
    if isinstance(fields := getattr(cls, "model_fields", None), dict):
        return tuple(fields)
    return tuple(field.name for field in dataclasses.fields(cls)) if dataclasses.is_dataclass(cls) else None


@cache
def _closed(cls: Any) -> type | None:
    """Return a subclass that refuses to set attributes, or None where the class refuses by itself."""
    if getattr(cls, "model_config", {}).get("frozen") or cls.__dict__.get("__closed_snapshot__"):
        return None
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is not None and parameters.frozen:
        return None
    namespace = {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__closed_snapshot__": True,
    }
    closed: type = type(cls)(cls.__name__, (cls,), namespace)
    return closed
