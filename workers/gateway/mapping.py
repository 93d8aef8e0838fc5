"""Mapping: which parts of what a client sent become the fields of a record.

Decided here: what a dot path means (``messages.-1.content``) and that a path that leads nowhere is a mistake of the
client, never an empty field. Not decided here: which paths a source declares (``models.py``) and what else a record
holds (``records.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_PATH_PARTS", "MappingError", "apply", "check_path"]

MAX_PATH_PARTS = 32
_INDEX = re.compile(r"-?(0|[1-9][0-9]{0,8})")


class MappingError(Exception):
    """Say which field could not be filled and where its path ended."""


def check_path(path: str) -> str | None:
    """Return what is wrong with a dot path as people wrote it, or None."""
    parts = path.split(".")
    if not all(parts):
        return "expected a dot path such as messages.-1.content, found an empty part"
    if len(parts) > MAX_PATH_PARTS:
        return f"expected a dot path of at most {MAX_PATH_PARTS} parts, found {len(parts)}"
    return None


def apply(mapping: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapped fields; without a mapping, the body's own. Raise MappingError for a path that leads nowhere."""
    if not mapping:
        return dict(body)
    return {field: _follow(field, path, body) for field, path in mapping.items()}


def _follow(field: str, path: str, body: Any) -> Any:
    value = body
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and (index := _index(part, len(value))) is not None:
            value = value[index]
        else:
            message = f"field {field!r} takes {path!r} from the body, which has nothing at {part!r}"
            raise MappingError(message)
    return value


def _index(part: str, length: int) -> int | None:
    """Return the position that a part names in a list of this length, counted from the end where negative."""
    if not _INDEX.fullmatch(part):
        return None
    index = int(part)
    return index if -length <= index < length else None
