"""Strict validation and canonical writing by pydantic, for models and dataclasses alike.

Decided here: the options with which pydantic is called, and the order of what it leaves unordered. Not decided here:
how an error reads (``mistakes.py``). Importing this brings pydantic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import differences
from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.models.mistakes import MOST_MISTAKES, Mistake, ModelMistakesError, Path, described, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexus_supervisor.models.secrets import SecretSource

__all__ = ["StrictAdapter"]

_SETS = ("set", "frozenset")
_CONTAINERS = (dict, list, tuple, set, frozenset)
_EXTRA = ("extra_behavior", "extra_fields_behavior")
_REFUSES = "the model refuses this"
_NOT_THE_SAME = (
    "written and read back, this is not what it was, so workers would see something else: mend the model (no "
    "Field(exclude=True), no SecretStr but Secret, a validator that takes its own result as it is, a serializer that "
    "loses nothing, a default of the very type that the field has, values that compare equal)"
)


class StrictAdapter:
    """Validate and write the documents of one class."""

    def __init__(self, cls: type) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(cls)
        parts = list(_parts(self._adapter.core_schema))
        self._allows_extra = any(part.get(key) == "allow" for part in parts for key in _EXTRA)
        self._has_sets = any(part.get("type") in _SETS for part in parts)
        self._names = sorted({name for part in parts for name in _field_names(part)})

    def judge(self, document: dict[str, Any], raw: bytes, source: SecretSource, redacted: Callable[[str], str]) -> Any:
        """Return the instance of a document as people wrote it; raise ModelMistakesError with every mistake.

        ``raw`` is its canonical JSON.
        """
        extra: Literal["forbid"] | None = None if self._allows_extra else "forbid"
        try:
            instance = self._adapter.validate_json(raw, strict=True, extra=extra, context=source)
        except ValidationError as error:
            found = described(_errors(error), document, self._unknown, redacted)
            raise ModelMistakesError(found) from None
        if self._allows_extra and (strangers := list(_strangers(instance, document, ()))):
            found = [Mistake(path, "unknown_key", self._unknown(path)) for path in strangers[:MOST_MISTAKES]]
            raise ModelMistakesError(shortened(found, len(strangers)))
        return instance

    def write(self, instance: Any) -> bytes:
        """Return the canonical JSON of an instance, by field names, defaults included.

        What pydantic would warn of, a value of another type than its field's, is found by ``prove``.
        """
        plain = self._adapter.dump_python(instance, mode="json", by_alias=False, round_trip=True, warnings=False)
        if self._has_sets:
            pythonic = self._adapter.dump_python(instance, by_alias=False, round_trip=True, warnings=False)
            plain = _ordered(plain, pythonic)
        try:
            return canonical.encode(plain)
        except ValueError as error:
            message = f"this value has no canonical form ({type(error).__name__}): use finite numbers and plain types"
            raise ModelMistakesError([Mistake((), "value", message)]) from None

    def read(self, body: bytes, source: SecretSource, redacted: Callable[[str], str] = lambda _: _REFUSES) -> Any:
        """Return the instance that canonical JSON stands for; raise ModelMistakesError.

        The text of a user's validator is only shown as far as ``redacted`` lets it through.
        """
        try:
            return self._adapter.validate_json(body, strict=True, by_alias=False, by_name=True, context=source)
        except ValidationError as error:
            raise ModelMistakesError(
                described(_errors(error), canonical.decode(body), self._unknown, redacted)
            ) from None

    def prove(self, instance: Any, body: bytes, source: SecretSource) -> None:
        """Raise ModelMistakesError where the canonical form of an instance stands for another one, naming the fields.

        Both are compared: what is read back with the instance, and what that is written as with the form. JSON as
        pydantic writes it tells cheaply that they are the same; it may also differ only in the order of sets.
        """
        try:
            back = self.read(body, source)
        except ModelMistakesError as refused:
            paths = [mistake.path for mistake in refused.mistakes]
        else:
            if instance == back and self._json(instance) == self._json(back):
                return
            again = self.write(back)
            paths = list(_unlike(instance, back, ()))
            if not paths and again != body:
                paths = [path for path, *_ in differences(canonical.decode(body), canonical.decode(again))]
        if paths:
            raise ModelMistakesError(shortened([Mistake(path, "internal", _NOT_THE_SAME) for path in paths]))

    def _json(self, instance: Any) -> bytes:
        return self._adapter.dump_json(instance, by_alias=False, round_trip=True, warnings=False)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a document as people write it."""
        from nexus_supervisor.models.json_schema import document_schema

        return document_schema(self._adapter)

    def _unknown(self, path: Path) -> str:
        name = str(path[-1]) if path else ""
        meant = suggestion(name, self._names)
        hint = f"did you mean {meant}?" if meant else "remove it, or look for its right name"
        return f"expected a known key, found an unknown one: {hint}"


def _errors(error: ValidationError) -> list[dict[str, Any]]:
    return [dict(one) for one in error.errors(include_url=False)]


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping inside a schema, without recursion."""
    waiting, seen = [schema], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, (list, tuple)):
            waiting.extend(part)


def _field_names(part: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names, as people write them, of the fields that one part of a schema declares."""
    fields = part.get("fields")
    if isinstance(fields, Mapping) and part.get("type") in ("model-fields", "typed-dict"):
        for name, field in fields.items():
            alias = field.get("validation_alias") if isinstance(field, Mapping) else None
            yield alias if isinstance(alias, str) else str(name)
    elif part.get("type") == "dataclass-args" and isinstance(fields, list):
        yield from (str(field["name"]) for field in fields)


def _strangers(instance: Any, document: Any, path: Path) -> Iterator[Path]:
    """Yield the paths of keys that no field of the instance at that place took, where its class doesn't allow them."""
    if isinstance(document, list) and isinstance(instance, (list, tuple)):
        for index, (item, written) in enumerate(zip(instance, document, strict=False)):
            yield from _strangers(item, written, (*path, index))
    elif isinstance(document, dict) and (fields := _fields(instance)) is not None:
        allowed = isinstance(instance, BaseModel) and instance.model_config.get("extra") == "allow"
        for key, written in document.items():
            if key in fields:
                yield from _strangers(fields[key], written, (*path, key))
            elif not allowed:
                yield (*path, key)
    elif isinstance(document, dict) and isinstance(instance, Mapping):
        for key, written in document.items():
            yield from _strangers(instance.get(key), written, (*path, key))


def _unlike(here: Any, there: Any, path: Path) -> Iterator[Path]:
    """Yield the places, by the names that people write, at which two instances differ."""
    if type(here) is not type(there):
        yield path
    elif (fields := _fields(here)) is not None and (others := _fields(there)) is not None:
        for name in {**fields, **others}:
            yield from _unlike(fields.get(name), others.get(name), (*path, name))
    elif isinstance(here, (list, tuple)) and len(here) == len(there):
        for index, (mine, theirs) in enumerate(zip(here, there, strict=True)):
            yield from _unlike(mine, theirs, (*path, index))
    elif isinstance(here, Mapping) and here.keys() == there.keys():
        for key in here:
            yield from _unlike(here[key], there[key], (*path, str(key)))
    elif here != there:
        yield path


def _fields(instance: Any) -> dict[str, Any] | None:
    """Return the values of an instance by the names that people write, or None for other values."""
    if isinstance(instance, BaseModel):
        known = type(instance).model_fields.items()
        own = {_written(name, one.validation_alias or one.alias): getattr(instance, name) for name, one in known}
        return {**(instance.model_extra or {}), **own}
    if dataclasses.is_dataclass(instance) and not isinstance(instance, type):
        return {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}
    return None


def _written(name: str, alias: Any) -> str:
    return alias if isinstance(alias, str) else name


def _ordered(plain: Any, original: Any) -> Any:
    """Return the written value with everything that was a set in canonical order; containers are changed in place."""
    if isinstance(original, (set, frozenset)):
        return sorted(plain, key=canonical.encode)
    if isinstance(original, dict) and isinstance(plain, dict):
        pairs = zip(plain, original.values(), strict=True)
    elif isinstance(original, (list, tuple)) and isinstance(plain, list):
        pairs = zip(range(len(plain)), original, strict=True)
    else:
        return plain
    for key, item in pairs:
        if isinstance(item, _CONTAINERS):
            plain[key] = _ordered(plain[key], item)
    return plain
