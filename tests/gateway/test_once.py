from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from nexus_workers.gateway.answers import Refused
from nexus_workers.gateway.once import once

from tests.support.gateway import a_source

ENABLED = {"idempotency": {"enabled": True, "dedup_window_seconds": 60}}


def asked(*keys: bytes, **fields: Any) -> Any:
    headers = [(b"content-type", b"application/json"), *((b"idempotency-key", key) for key in keys)]
    return once(a_source("a", **(fields or ENABLED)), headers, b"{}", 1_000)


def test_a_key_is_taken_with_the_source_its_window_and_the_digest_of_the_body() -> None:
    found = asked(b" a key ")
    assert (found.source, found.key, found.window_seconds, found.now_ms) == ("a", "a key", 60, 1_000)
    assert found.body_digest == hashlib.sha256(b"{}").digest()
    assert found.expires_ms == 61_000


def test_without_a_key_every_request_is_its_own() -> None:
    assert asked() is None


def test_where_the_source_does_not_ask_for_it_the_header_means_nothing() -> None:
    assert asked(b"a", idempotency={"enabled": False}) is None
    assert asked(b"\xff" * 1_000, idempotency={"enabled": False}) is None


@pytest.mark.parametrize("key", [b"a", b"~", b"x" * 255])
def test_a_key_has_1_to_255_printable_characters(key: bytes) -> None:
    assert asked(key).key == key.decode()


@pytest.mark.parametrize("keys", [[b""], [b" "], [b"x" * 256], [b"a\tb"], [b"\x7f"], [b"\xc3\xa4"], [b"a", b"a"]])
def test_any_other_key_is_refused(keys: list[bytes]) -> None:
    with pytest.raises(Refused) as caught:
        asked(*keys)
    assert caught.value.answer.status == 422
    assert json.loads(caught.value.answer.body)["code"] == "idempotency_key"
