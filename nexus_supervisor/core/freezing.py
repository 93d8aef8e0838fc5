"""Freezing: values that nobody can change, all the way down.

Decided here: what takes the place of a container, how a model is closed, and what a copy of either is. Not decided
here: when (``models/``).

A list, dict, set or deque, and whatever is derived from one, gives way to an instance of a subclass whose mutators
raise: still a list to ``isinstance`` and ``json.dumps``. A model or dataclass that isn't frozen by itself stays the
same object and gets such a subclass, of the same name. Tuples and frozensets are made anew around what is in them, and
a bytearray becomes bytes. Private attributes and extra fields of a model are frozen with it; a ``cached_property``
still works, and what it returns is its own. Instances of any other class are left as they are.

Copies are ordinary values: ``copy.copy`` and ``model_copy`` give an instance of the original class whose attributes can
be set, ``copy.deepcopy`` and ``pickle`` one that can be changed all the way down. Frozen and ordinary values are equal
where the ordinary ones would be, and compare as those would.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import ABCMeta
from collections import OrderedDict, defaultdict, deque
from functools import cache
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["frozen"]

_DICT = ("__delitem__", "__ior__", "__setitem__", "clear", "pop", "popitem", "setdefault", "update")
_LIST = ("__delitem__", "__iadd__", "__imul__", "__setitem__", "append", "clear", "extend", "insert", "pop", "remove")

_MUTATORS: dict[type, tuple[str, ...]] = {
    OrderedDict: (*_DICT, "move_to_end"),
    defaultdict: _DICT,
    dict: (*_DICT, "subtract"),  # of a Counter
    list: (*_LIST, "reverse", "sort"),
    deque: (*_LIST, "appendleft", "extendleft", "popleft", "reverse", "rotate"),
    set: (
        *("__iand__", "__ior__", "__isub__", "__ixor__", "add", "clear", "difference_update", "discard"),
        *("intersection_update", "pop", "remove", "symmetric_difference_update", "update"),
    ),
}
"""The built-in containers that can be changed, those that are derived from another one first, and by which methods."""


def frozen(value: Any) -> Any:
    """Return the value with every container and model in it closed, all the way down; models stay the same objects."""
    cls: Any = type(value)
    freeze = _freezer(cls)
    return value if freeze is None else freeze(value)


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    message = f"a snapshot is frozen: this {type(self).__name__} can't be changed; change the file that it comes from"
    raise TypeError(message)


def _copied(self: Any) -> Any:
    return copy.copy(_opened(self))


def _deep_copied(self: Any, memo: dict[int, Any] | None = None) -> Any:
    return copy.deepcopy(_opened(self), memo)


def _reduced(self: Any, _: object) -> Any:
    """Have an ordinary value pickled; to copy it once more is a way to name it that every Python understands."""
    return copy.copy, (_opened(self),)


def _compared(name: str) -> Callable[[Any, object], Any]:
    """Return a comparison that takes a closed instance beside an ordinary one for an ordinary one."""

    def compare(self: Any, other: object) -> Any:
        base = self.__closed_from__
        return getattr(base, name)(_opened(self) if type(other) is base else self, other)

    return compare


_COMPARISONS = {name: _compared(name) for name in ("__eq__", "__ge__", "__gt__", "__le__", "__lt__")}


def _default(self: Any, key: object) -> Any:
    """Return what a defaultdict has for a missing key, without keeping it."""
    if self.default_factory is None:
        raise KeyError(key)
    return frozen(self.default_factory())


def _original(cls: Any, *arguments: Any, **named: Any) -> Any:
    """Make an instance of the original class, as ``dataclasses.replace`` and operators of containers want one."""
    return cls.__closed_from__(*arguments, **named)


_METHODS: dict[str, Any] = {
    "__slots__": (),
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__copy__": _copied,
    "__deepcopy__": _deep_copied,
    "__reduce_ex__": _reduced,
}
"""What all closed classes have; ``__closed_from__`` is the class that their copies have."""


@cache
def _freezer(cls: type) -> Callable[[Any], Any] | None:
    """Return what freezes instances of a class, or None where they are left as they are."""
    if "__closed_from__" in vars(cls):
        return None
    if _kind(cls) is not None:
        return _frozen_container
    if issubclass(cls, (tuple, frozenset)):
        return _frozen_tuple
    if issubclass(cls, bytearray):
        return bytes
    return _frozen_model if _is_pydantic(cls) or dataclasses.is_dataclass(cls) else None


def _kind(cls: type) -> type | None:
    """Return the built-in container that a class is or is derived from."""
    return next((kind for kind in _MUTATORS if issubclass(cls, kind)), None)


def _is_pydantic(cls: type) -> bool:
    return isinstance(getattr(cls, "__pydantic_fields__", None), dict) and not dataclasses.is_dataclass(cls)


def _frozen_tuple(value: Any) -> Any:
    items = [frozen(item) for item in value]
    if all(item is before for item, before in zip(items, value, strict=True)):
        return value
    cls, kind = type(value), tuple if isinstance(value, tuple) else frozenset
    return _with_attributes(kind.__new__(cls, items), value, frozen)


def _frozen_container(value: Any) -> Any:
    cls: Any = type(value)
    return _filled(_closed(cls), value, frozen)


def _frozen_model(value: Any) -> Any:
    cls: Any = type(value)
    _with_attributes(value, value, frozen)
    if not _refuses_itself(cls):
        object.__setattr__(value, "__class__", _closed(cls))
    return value


def _refuses_itself(cls: Any) -> bool:
    parameters = getattr(cls, "__dataclass_params__", None)
    return bool(getattr(cls, "model_config", {}).get("frozen") or (parameters is not None and parameters.frozen))


def _filled(cls: type, value: Any, each: Callable[[Any], Any]) -> Any:
    """Return a new container of a class with the items and attributes of another one, past what the class overrides."""
    kind: Any = _kind(cls)
    new = kind.__new__(cls)
    if issubclass(kind, dict):
        for key, item in kind.items(value):
            kind.__setitem__(new, key, each(item))
    else:
        items = [each(item) for item in kind.__iter__(value)]
        kind.__init__(new, items, value.maxlen) if kind is deque else kind.__init__(new, items)
    return _with_attributes(new, value, each)


def _opened(value: Any) -> Any:
    """Return an instance of the original class with the same items and attributes."""
    cls: Any = type(value).__closed_from__
    if _kind(cls) is not None:
        return _filled(cls, value, _same)
    return _with_attributes(object.__new__(cls), value, _same)


def _same(value: Any) -> Any:
    return value


def _with_attributes(target: Any, value: Any, each: Callable[[Any], Any]) -> Any:
    """Set the attributes of a value on another one, or on itself, past what its class says about that."""
    cls: Any = type(value)
    for member in _members(cls):
        try:
            found = member.__get__(value)
        except AttributeError:
            continue  # never set
        member.__set__(target, each(found))
    if cls.__dictoffset__:
        target.__dict__.update({name: each(item) for name, item in value.__dict__.items()})
    return target


@cache
def _members(cls: type) -> tuple[MemberDescriptorType, ...]:
    """Return the slots of a class, those that hold values: of dataclasses, of pydantic's models, of containers."""
    found = (item for base in cls.__mro__ for item in vars(base).values())
    return tuple(item for item in found if isinstance(item, MemberDescriptorType))


@cache
def _closed(cls: Any) -> type:
    """Return a subclass that can't be changed."""
    kind = _kind(cls)
    namespace = _METHODS | {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__", "__hash__")}
    namespace["__closed_from__"] = cls
    if kind is None:
        namespace |= _COMPARISONS
    else:
        namespace |= dict.fromkeys(("__init__", *_MUTATORS[kind]), _refuse) | {"copy": _opened}
    if kind is defaultdict:
        namespace["__missing__"] = _default
    if not _is_pydantic(cls):
        namespace["__new__"] = _original
    metaclass: Any = type(cls)
    if _listens(cls):
        metaclass = _deaf(metaclass)
    make: Any = ABCMeta if issubclass(metaclass, ABCMeta) else type  # past pydantic's own, which would build a schema
    closed: type = make.__new__(metaclass, _NAMES.get(cls, cls.__name__), (cls,), namespace)
    return closed


_NAMES = {dict: "FrozenDict", list: "FrozenList", set: "FrozenSet"}


def _listens(cls: type) -> bool:
    """Return whether a class of the user's is told of its subclasses: it may count them, or want arguments."""
    tellers = (base for base in cls.__mro__ if "__init_subclass__" in vars(base))
    return any(base.__module__.partition(".")[0] not in ("builtins", "typing", "pydantic") for base in tellers)


class _Deaf:
    """Stand between a class and its subclass, so that the class isn't told."""

    __slots__ = ()

    def __init_subclass__(cls, **_: object) -> None:
        """Do nothing."""


@cache
def _deaf(metaclass: type) -> type:
    """Return a metaclass whose classes are told to nobody; looking up their attributes is slower."""

    def mro(cls: type) -> list[type]:
        own, *others = type.mro(cls)
        return [own, _Deaf, *others]

    return type(metaclass.__name__, (metaclass,), {"mro": mro})
