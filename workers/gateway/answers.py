"""Answers: what goes back to a client, as JSON or as a problem body.

Decided here: the bytes of an answer, and the shape of a problem (RFC 9457: type, title, status, detail, and our
``code``, a stable word for programs). Not decided here: which request gets which answer (``app.py``).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

__all__ = ["Answer", "Refused", "Send", "problem", "send_answer"]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold one complete answer: status, body, and headers beside content type and length."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def of(cls, status: int, document: Mapping[str, Any]) -> Answer:
        """Make an answer from a JSON object."""
        return cls(status, _encoded(document))


class Refused(Exception):
    """End a request with a problem: raised where the reason is found, answered in one place."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Refused:
    """Return the refusal with this status; ``detail`` is a sentence for people, ``code`` a word for programs."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    extra = tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in (headers or {}).items())
    return Refused(Answer(status, _encoded(document), b"application/problem+json", extra))


async def send_answer(send: Send, answer: Answer) -> None:
    """Send a complete answer."""
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
