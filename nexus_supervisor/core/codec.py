"""Messages to bytes and back: msgpack, strict in both directions, bounded.

Decided here: how a frozen dataclass of a closed union becomes bytes, and which bytes are refused. Not decided here:
which messages exist (``messages.py``, ``compilation.py``, ``control.py``).

A message is the array ``[kind, {field: value}]``, where kind is the name of its class. Decoding checks every field
against the class's annotations: nothing more, no other type, and nothing missing but fields with a default, which an
older writer did not know. Allowed are None, bool, int, float, str, bytes, ``tuple[X, ...]``, ``dict[str, X]``, unions
of these, words of an enumeration, and nested frozen dataclasses.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgpack

from nexus_supervisor.core.framing import MAX_FRAME_BYTES
from nexus_supervisor.errors import ProtocolError

__all__ = ["Codec", "pack", "unpack"]

M = TypeVar("M")
_MAX_ITEMS = 1 << 20
_MAX_PAYLOAD_BYTES = 1 << 30


class Codec(Generic[M]):
    """Encode and decode the messages of one closed union, each of at most ``limit`` bytes."""

    def __init__(self, union: Any, limit: int = MAX_FRAME_BYTES) -> None:
        self._limit = limit
        self._classes: dict[str, type[M]] = {cls.__name__: cls for cls in get_args(union)}

    @property
    def classes(self) -> tuple[type[M], ...]:
        """Return the classes of the messages."""
        return tuple(self._classes.values())

    def encode(self, message: M) -> bytes:
        """Return the bytes of one message; raise ProtocolError where it is not of this union or over the limit."""
        kind = type(message).__name__
        if self._classes.get(kind) is not type(message):
            text = f"{kind} is not a message of this pipe"
            raise ProtocolError(text)
        raw = pack([kind, _plain(message)])
        if len(raw) > self._limit:
            text = f"a {kind} of {len(raw)} bytes is over the limit of a frame"
            raise ProtocolError(text)
        return raw

    def decode(self, raw: bytes) -> M:
        """Return the message that the bytes hold; raise ProtocolError for anything else."""
        value = unpack(raw, self._limit)
        if not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)):
            text = "a message must be [kind, fields]"
            raise ProtocolError(text)
        cls = self._classes.get(value[0])
        if cls is None:
            text = f"{value[0][:64]!r} is not a message of this pipe"
            raise ProtocolError(text)
        message: M = _checker(typing.cast(Hashable, cls))(value[1], cls.__name__)
        return message


def pack(value: Any) -> bytes:
    """Pack plain values with msgpack; raise ProtocolError for what it can't hold (half characters, huge numbers)."""
    try:
        return typing.cast("bytes", msgpack.packb(value, use_bin_type=True))
    except (ValueError, TypeError, OverflowError) as error:
        text = f"this can't be packed: {type(error).__name__}"
        raise ProtocolError(text) from error


def unpack(raw: bytes | memoryview, limit: int = _MAX_PAYLOAD_BYTES) -> Any:
    """Unpack plain values strictly: whole, within the limit, no duplicate keys, no extension types.

    NaN and infinity are refused where a field is checked: by ``Codec.decode``.
    """
    if len(raw) > limit:
        text = f"{len(raw)} bytes are over the limit of {limit}"
        raise ProtocolError(text)
    try:
        return msgpack.unpackb(
            raw,
            raw=False,
            use_list=False,
            strict_map_key=True,
            object_pairs_hook=_no_duplicates,
            ext_hook=_refuse_extension,
            max_str_len=len(raw),
            max_bin_len=len(raw),
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        text = f"the bytes are not strict msgpack: {type(error).__name__}"
        raise ProtocolError(text) from error


def _no_duplicates(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        text = "a map holds one key twice"
        raise ValueError(text)
    return value


def _refuse_extension(code: int, _: bytes) -> Any:
    text = f"extension type {code} is not allowed"
    raise ValueError(text)


def _plain(value: Any) -> Any:
    """Turn nested dataclasses into maps; leave plain values as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.value if isinstance(value, StrEnum) else value


Check = Callable[[Any, str], Any]


@cache
def _checker(annotation: Any) -> Check:
    """Return a function that checks one decoded value against an annotation and rebuilds nested dataclasses."""
    if dataclasses.is_dataclass(annotation):
        return _dataclass_checker(typing.cast("type", annotation))
    if supertype := getattr(annotation, "__supertype__", None):
        return _checker(supertype)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return _word_checker(annotation)
    return _compound_checker(annotation)


def _compound_checker(annotation: Any) -> Check:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union_checker([_checker(argument) for argument in arguments])
    if origin is tuple:
        return _tuple_checker(_checker(arguments[0]))
    if origin in (dict, Mapping):
        return _map_checker(_checker(arguments[1]))
    return _scalar_checker(type(None) if annotation is None else annotation)


def _scalar_checker(expected: type) -> Check:
    def check(value: Any, where: str) -> Any:
        if expected is float and type(value) is int:
            value = float(value)
        finite = not isinstance(value, float) or math.isfinite(value)
        if type(value) is not expected or not finite:
            text = f"{where}: expected {expected.__name__}, found {type(value).__name__}"
            raise ProtocolError(text)
        return value

    return check


def _word_checker(expected: type[StrEnum]) -> Check:
    words = {word.value: word for word in expected}

    def check(value: Any, where: str) -> Any:
        if type(value) is not str or value not in words:
            text = f"{where}: expected a word of {expected.__name__}"
            raise ProtocolError(text)
        return words[value]

    return check


def _union_checker(checks: list[Check]) -> Check:
    def check(value: Any, where: str) -> Any:
        for one in checks:
            try:
                return one(value, where)
            except ProtocolError:
                continue
        text = f"{where}: {type(value).__name__} is none of the allowed types"
        raise ProtocolError(text)

    return check


def _tuple_checker(item: Check) -> Check:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, tuple):
            text = f"{where}: expected an array, found {type(value).__name__}"
            raise ProtocolError(text)
        return tuple(item(one, f"{where}[{index}]") for index, one in enumerate(value))

    return check


def _map_checker(item: Check) -> Check:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            text = f"{where}: expected a map with text keys"
            raise ProtocolError(text)
        return {key: item(one, f"{where}.{key[:64]}") for key, one in value.items()}

    return check


def _dataclass_checker(cls: type) -> Check:
    hints = typing.get_type_hints(cls)
    fields = {field.name: _checker(hints[field.name]) for field in dataclasses.fields(cls)}
    needed = {field.name for field in dataclasses.fields(cls) if not _has_default(field)}

    def check(value: Any, where: str) -> Any:
        if not isinstance(value, dict) or not needed <= value.keys() <= fields.keys():
            text = f"{where}: expected the fields {_listed(fields, needed)}"
            raise ProtocolError(text)
        return cls(**{name: fields[name](found, f"{where}.{name}") for name, found in value.items()})

    return check


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _listed(fields: Mapping[str, Check], needed: set[str]) -> str:
    return ", ".join(name if name in needed else f"[{name}]" for name in sorted(fields))
