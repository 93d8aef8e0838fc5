"""Records: one memory as it is stored.

Decided here: the fields of a record, where each comes from, and the shape of its id (UUID version 7, RFC 9562: ids of
one worker rise with time, so that an index grows at its end). Not decided here: how it is stored (``storage.py``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from . import mapping, transform
from .answers import problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .models import Source

__all__ = ["Record", "identifier", "record"]

_MAX_WORD_CHARACTERS = 256
_MAX_STORED_BYTES = 512 * 1024 * 1024
"""What a mapping can make of a body is larger than the body; databases end a little below twice this."""


@dataclass(frozen=True, slots=True)
class Record:
    """Hold one memory; ``body`` is a JSON object as text and never shown."""

    id: str
    source: str
    namespace: str
    created_at: str
    tier: int
    profile: str
    actor_type: str
    actor_id: str
    body: str = field(repr=False)


def record(source: Source, body: Mapping[str, Any], *, now_ms: int, random: bytes) -> Record:
    """Make the record of one request; raise Refused (422) where the body doesn't fit the source.

    ``now_ms`` is wall-clock milliseconds since 1970, ``random`` ten random bytes. Where the fields, mapped and
    transformed, name ``actor_type``, ``actor_id`` or ``profile``, they go before the source's defaults; the tier is the
    source's alone.
    """
    try:
        fields = mapping.apply(source.mapping, body)
        fields = transform.apply(source.transform, fields, source.payload_limits.max_bytes)
    except mapping.MappingError as error:
        raise problem(422, "mapping", f"the mapping failed: {error}") from None
    except transform.TransformError as error:
        raise problem(422, "transform", f"the transform failed: {error}") from None
    return Record(
        id=identifier(now_ms, random),
        source=source.name,
        namespace=source.namespace,
        created_at=_timestamp(now_ms),
        tier=source.default_write_tier,
        profile=_word(fields, "profile", source.default_profile),
        actor_type=_word(fields, "actor_type", source.default_actor_type),
        actor_id=_word(fields, "actor_id", source.default_actor_id),
        body=_text(fields),
    )


def identifier(now_ms: int, random: bytes) -> str:
    """Return a UUID version 7 of a moment and ten random bytes (RFC 9562, section 5.7)."""
    number = (now_ms & (1 << 48) - 1) << 80 | int.from_bytes(random, "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=number))


def _timestamp(now_ms: int) -> str:
    seconds, milliseconds = divmod(now_ms, 1000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def _word(fields: Mapping[str, Any], name: str, default: str) -> str:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_WORD_CHARACTERS or "\0" in value:
        detail = f"field {name!r}: expected 1 to {_MAX_WORD_CHARACTERS} characters of text, none of them NUL"
        raise problem(422, "field", detail)
    return value


def _text(fields: Mapping[str, Any]) -> str:
    """Return the fields as JSON text; refuse what text can't hold: a number over the range, half a surrogate pair."""
    try:
        text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode("utf-8"))
    except (ValueError, RecursionError):
        detail = "the body holds a value that cannot be stored: a number out of range or text that is not Unicode"
        raise problem(422, "value", detail) from None
    if size > _MAX_STORED_BYTES:
        detail = f"the record would be of {size} bytes: expected at most {_MAX_STORED_BYTES}"
        raise problem(422, "value", detail)
    return text
