"""Transform: what happens to the fields of a record between mapping and storing.

Decided here: what each step does, which values it takes, and how large a field may become. Not decided here: how steps
are written (``steps.py``) and which field goes through which (the source).

A field that is missing goes through ``default`` only. Each step is linear in the size of its field, and no field grows
over ``max_characters``, so that the cost of a record is bounded by the size of its body and the number of steps.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .steps import Default, Replace, Truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .steps import Step

__all__ = ["TransformError", "apply"]

_MISSING: Any = object()


class TransformError(Exception):
    """Say which field a step can't take, without its value."""


def apply(transform: Mapping[str, Sequence[Step]], fields: Mapping[str, Any], max_characters: int) -> dict[str, Any]:
    """Return the fields after their steps; raise TransformError where a step can't take a value or makes it long."""
    changed = dict(fields)
    for name, steps in transform.items():
        value = changed.get(name, _MISSING)
        for step in steps:
            value = _after(name, step, value, max_characters)
        if value is not _MISSING:
            changed[name] = value
        else:
            changed.pop(name, None)
    return changed


def _after(name: str, step: Step, value: Any, max_characters: int) -> Any:
    match step:
        case "drop":
            return _MISSING
        case Default(default=default):
            return default if value is _MISSING or value is None else value
        case _ if value is _MISSING:
            return _MISSING
        case "json":
            changed = _json(name, value)
        case Truncate(truncate=most):
            changed = _text(name, "truncate", value)[:most]
        case Replace():
            changed = _replaced(name, _text(name, "replace", value), step, max_characters)
        case _:
            changed = _PLAIN[step](_text(name, step, value))
    if len(changed) > max_characters:
        raise _too_long(name, max_characters)
    return changed


_PLAIN: dict[str, Callable[[str], str]] = {
    "strip": str.strip,
    "collapse_spaces": lambda text: " ".join(text.split()),
    "lower": str.lower,
    "upper": str.upper,
}


def _text(name: str, step: str, value: Any) -> str:
    if not isinstance(value, str):
        message = f"field {name!r}: step {step} takes text, found {_kind(value)}"
        raise TransformError(message)
    return value


def _json(name: str, value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        message = f"field {name!r}: step json takes a value of fewer levels"
        raise TransformError(message) from None


def _replaced(name: str, text: str, step: Replace, max_characters: int) -> str:
    """Replace within bounds: the length is known before anything is made."""
    old, new = step.replace
    if len(text) + text.count(old) * (len(new) - len(old)) > max_characters:
        raise _too_long(name, max_characters)
    return text.replace(old, new)


def _too_long(name: str, max_characters: int) -> TransformError:
    return TransformError(f"field {name!r} would become longer than {max_characters} characters")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds[type(value)]
