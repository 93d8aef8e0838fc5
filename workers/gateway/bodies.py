"""Bodies: what a client sends, read within its limits and decoded strictly.

Decided here: which media type is taken, how much is read (never more than one chunk over the limit), and what counts
as a JSON object. Not decided here: what the object means (``mapping.py``, ``records.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from nexus_supervisor.core import canonical
from nexus_supervisor.errors import ProtocolError

from .answers import problem

__all__ = ["Receive", "announced_length", "check_media_type", "decode", "read"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = Iterable[tuple[bytes, bytes]]

_CLOSE = {"Connection": "close"}
"""Sent where a body is left unread, so that the server doesn't have to swallow the rest of it."""


def check_media_type(headers: Headers) -> None:
    """Raise Refused (415) unless the body is announced as plain UTF-8 JSON."""
    media_type, encoding = b"", b"identity"
    for name, value in headers:
        if name == b"content-type":
            media_type = value
        elif name == b"content-encoding":
            encoding = value
    kind, _, parameters = media_type.decode("latin-1").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if kind.strip() != "application/json" or charset not in {"", "charset=utf-8"}:
        raise problem(415, "media_type", "expected a body of type application/json in UTF-8", _CLOSE)
    if encoding.strip().lower() != b"identity":
        raise problem(415, "content_encoding", "expected a body without Content-Encoding", _CLOSE)


def announced_length(headers: Headers, limit: int) -> int | None:
    """Return the announced length, None where none is announced; raise Refused (413) where it is over the limit."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and len(value) <= 20:
            length = int(value)
            if length > limit:
                raise _too_large(limit)
            return length
    return None


async def read(receive: Receive, limit: int, timeout_seconds: float) -> bytes:
    """Read the whole body; raise Refused: 413 over the limit, 408 too slow, 400 where the client left."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _read(receive, limit)
    except TimeoutError:
        detail = f"the body did not arrive within {timeout_seconds:g} seconds"
        raise problem(408, "body_timeout", detail, _CLOSE) from None


async def _read(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise problem(400, "incomplete", "the connection was closed before the body was complete", _CLOSE)
        chunk = message.get("body", b"")
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def decode(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; raise Refused (422) for anything else."""
    try:
        document = canonical.decode(raw)
    except ProtocolError:
        detail = "expected one JSON object (RFC 8259, no key twice, no NaN), found bytes that are not that"
        raise problem(422, "not_json", detail) from None
    if not isinstance(document, dict):
        raise problem(422, "not_an_object", f"expected a JSON object, found {_kind(document)}")
    return document


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}
    return kinds[type(value)]


def _too_large(limit: int) -> Exception:
    return problem(413, "too_large", f"expected a body of at most {limit} bytes", _CLOSE)
