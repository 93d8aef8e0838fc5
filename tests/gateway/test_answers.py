from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from nexus_workers.gateway.answers import Answer, problem, send_answer


@pytest.mark.parametrize(
    ("status", "title"),
    [(401, "Unauthorized"), (403, "Forbidden"), (422, "Unprocessable Entity"), (503, "Service Unavailable")],
)
def test_a_problem_has_the_members_of_rfc_9457_and_a_code(status: int, title: str) -> None:
    answer = problem(status, "some_code", "this happened").answer
    document = json.loads(answer.body)
    assert answer.content_type == b"application/problem+json"
    assert document.pop("title").startswith(title.split(maxsplit=1)[0])
    assert document == {"type": "about:blank", "status": status, "detail": "this happened", "code": "some_code"}


def test_an_answer_is_sent_whole_with_its_length_and_headers() -> None:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    answer = problem(429, "rate_limit", "wait", {"Retry-After": "3"}).answer
    asyncio.run(send_answer(send, answer))
    assert sent[0]["status"] == 429
    assert dict(sent[0]["headers"]) == {
        b"content-type": b"application/problem+json",
        b"content-length": str(len(answer.body)).encode(),
        b"retry-after": b"3",
    }
    assert sent[1] == {"type": "http.response.body", "body": answer.body}


def test_text_outside_ascii_stays_readable() -> None:
    assert Answer.of(200, {"name": "Zoë"}).body == '{"name":"Zoë"}'.encode()
