from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from nexus_workers.gateway import bodies
from nexus_workers.gateway.answers import Refused

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(call: Callable[..., Any], *arguments: Any) -> Any:
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.answer.status, json.loads(caught.value.answer.body)["code"]


def read(messages: list[dict[str, Any]], limit: int = 10, timeout_seconds: float = 30.0) -> Any:
    waiting = list(messages)

    async def receive() -> Any:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    return asyncio.run(bodies.read(receive, limit, timeout_seconds)), len(waiting)


def chunk(body: Any, *, more_body: bool = False) -> Any:
    return {"type": "http.request", "body": body, "more_body": more_body}


@pytest.mark.parametrize(
    "value",
    [b"application/json", b"Application/JSON", b"application/json; charset=utf-8", b'application/json;charset="UTF-8"'],
)
def test_json_in_utf_8_is_taken(value: Any) -> None:
    bodies.check_media_type([(b"content-type", value)])


@pytest.mark.parametrize(
    "value", [b"", b"text/plain", b"application/jsonx", b"application/json; charset=latin-1", b"multipart/form-data"]
)
def test_another_media_type_is_refused(value: Any) -> None:
    assert refused(bodies.check_media_type, [(b"content-type", value)]) == (415, "media_type")


def test_a_body_without_media_type_is_refused() -> None:
    assert refused(bodies.check_media_type, []) == (415, "media_type")


def test_a_compressed_body_is_refused() -> None:
    headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
    assert refused(bodies.check_media_type, headers) == (415, "content_encoding")


def test_an_announced_length_over_the_limit_is_refused_before_a_byte_is_read() -> None:
    assert refused(bodies.announced_length, [(b"content-length", b"11")], 10) == (413, "too_large")
    assert bodies.announced_length([(b"content-length", b"10")], 10) == 10
    assert bodies.announced_length([], 10) is None


@pytest.mark.parametrize("value", [b"-1", b"1e3", b"", b"9" * 30])
def test_a_length_that_is_no_length_announces_nothing(value: Any) -> None:
    assert bodies.announced_length([(b"content-length", value)], 10) is None


def test_a_body_arrives_in_pieces() -> None:
    assert read([chunk(b"ab", more_body=True), chunk(b"", more_body=True), chunk(b"c")]) == (b"abc", 0)


def test_reading_stops_at_the_first_piece_over_the_limit() -> None:
    with pytest.raises(Refused) as caught:
        read([chunk(b"x" * 6, more_body=True), chunk(b"x" * 5, more_body=True), chunk(b"never read")])
    assert caught.value.answer.status == 413
    assert (b"connection", b"close") in caught.value.answer.headers


def test_a_client_that_leaves_ends_the_request() -> None:
    with pytest.raises(Refused) as caught:
        read([chunk(b"x", more_body=True), {"type": "http.disconnect"}])
    assert caught.value.answer.status == 400


def test_a_body_that_never_ends_is_given_up() -> None:
    with pytest.raises(Refused) as caught:
        read([chunk(b"x", more_body=True)], timeout_seconds=0)
    assert caught.value.answer.status == 408


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"{}x", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": Infinity}', "not_json"),
        (b'{"a": 1, "a": 2}', "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"1", "not_an_object"),
        (b"1.5", "not_an_object"),
        (b"true", "not_an_object"),
        (b'"x"', "not_an_object"),
    ],
)
def test_anything_but_one_strict_json_object_is_refused(raw: bytes, code: str) -> None:
    assert refused(bodies.decode, raw) == (422, code)


def test_a_refusal_never_repeats_the_body() -> None:
    with pytest.raises(Refused) as caught:
        bodies.decode(b'{"secret-token')
    assert b"secret-token" not in caught.value.answer.body
    assert caught.value.__cause__ is None
