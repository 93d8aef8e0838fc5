"""Once: how a client says that a request may be a repetition of one that it sent before.

Decided here: which ``Idempotency-Key`` is taken. Not decided here: how a repetition is found (``storage.py``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .answers import problem
from .storage import Once

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .models import Source

__all__ = ["once"]

_MAX_CHARACTERS = 255


def once(source: Source, headers: Iterable[tuple[bytes, bytes]], raw: bytes, now_ms: int) -> Once | None:
    """Return what makes this request the same as another, or None where the source or the client doesn't ask for it.

    ``raw`` is the body as it was sent. Raise Refused (422) for a key that isn't taken.
    """
    if not source.idempotency.enabled:
        return None
    keys = [value.strip(b" \t") for name, value in headers if name == b"idempotency-key"]
    if not keys:
        return None
    if len(keys) > 1 or not 0 < len(keys[0]) <= _MAX_CHARACTERS or not all(0x20 <= byte <= 0x7E for byte in keys[0]):
        detail = f"expected one Idempotency-Key of 1 to {_MAX_CHARACTERS} printable ASCII characters"
        raise problem(422, "idempotency_key", detail)
    window = source.idempotency.dedup_window_seconds
    return Once(source.name, keys[0].decode("ascii"), window, hashlib.sha256(raw).digest(), now_ms)
