"""Canonical JSON: one value, one sequence of bytes, on every machine.

Decided here: the encoding that digests and signatures cover, in the spirit of RFC 8785: keys sorted (by code point), no
white space, UTF-8, finite numbers (the shortest digits that mean them, as Python writes them). Not decided here: what
may be written in it.
"""

from __future__ import annotations

import json
import math
from typing import Any

from nexus_supervisor.errors import ProtocolError

__all__ = ["decode", "encode"]

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def encode(value: Any) -> bytes:
    """Encode a JSON value to its canonical bytes; raise ValueError for NaN, infinity and other types."""
    return _ENCODER.encode(value).encode("utf-8")


def decode(raw: bytes | memoryview) -> Any:
    """Decode JSON strictly: UTF-8, no duplicate keys, no NaN or infinity, no half characters; raise ProtocolError."""
    try:
        text = str(raw, "utf-8")
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_refuse_constant, parse_float=_finite)
        if "\\u" in text:  # only an escape can smuggle in half of a surrogate pair, which no encoding can write
            encode(value)
    except (ValueError, RecursionError) as error:
        message = f"this is not strict JSON: {error}"
        raise ProtocolError(message) from error
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        message = "an object holds one key twice"
        raise ValueError(message)
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        message = "a number is too large"
        raise ValueError(message)
    return number


def _refuse_constant(name: str) -> Any:
    message = f"{name} is not a JSON number"
    raise ValueError(message)
