from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import Served, a_snapshot, a_source, rows

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from nexus_workers.gateway.models import Source


@pytest.fixture
def served(tmp_path: Path) -> Any:
    with Served(tmp_path, a_snapshot(a_source("a"), a_source("b", can_write=False))) as one:
        yield one


def problem(response: httpx.Response) -> Any:
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == response.status_code
    return response.status_code, document["code"]


def test_health_answers_without_a_key(served: Served) -> None:
    response = served.request("GET", "/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_answers_when_every_destination_is_open(served: Served) -> None:
    assert served.request("GET", "/ready").status_code == 200
    assert (served.directory / "main.db").exists()


def test_a_worker_that_drains_is_not_ready(served: Served) -> None:
    served.draining = True
    assert problem(served.request("GET", "/ready")) == (503, "draining")
    assert served.request("GET", "/health").status_code == 200


def test_a_destination_that_cannot_be_opened_makes_the_worker_not_ready(tmp_path: Path) -> None:
    with Served(tmp_path, a_snapshot(destinations={"main": "absent/main.db"})) as served:
        response = served.request("GET", "/ready")
        assert problem(response) == (503, "destination")
        assert "destination main is unavailable: the directory of its db_path does not exist" in response.text
        (tmp_path / "absent").mkdir()
        assert served.request("GET", "/ready").status_code == 200


def test_whoami_tells_the_source_of_the_key(served: Served) -> None:
    assert served.request("GET", "/whoami", "key-a").json() == {
        "source": "a",
        "namespace": "a",
        "config_version": 1,
        "worker": "gateway-0/1",
        "pid": 42,
    }


def test_a_request_uses_the_snapshot_that_it_is_given(served: Served) -> None:
    before = served.snapshot
    served.snapshot = a_snapshot(a_source("b"), version=2, before=before)
    assert problem(served.request("GET", "/whoami", "key-a")) == (401, "unknown_key")
    assert served.request("GET", "/whoami", "key-b").json()["config_version"] == 2
    served.snapshot = before
    assert served.request("GET", "/whoami", "key-a").json()["config_version"] == 1


@pytest.mark.parametrize(("method", "path"), [("GET", "/whoami"), ("POST", "/inbound/a"), ("POST", "/inbound/absent")])
def test_without_a_known_key_nothing_is_told(served: Served, method: str, path: str) -> None:
    missing = served.request(method, path)
    assert problem(missing) == (401, "no_key")
    assert missing.headers["www-authenticate"] == 'Bearer realm="nexus"'
    unknown = served.request(method, path, "key-x")
    assert problem(unknown) == (401, "unknown_key")
    assert 'error="invalid_token"' in unknown.headers["www-authenticate"]


def test_another_source_is_refused_in_the_same_words_whether_it_exists_or_not(served: Served) -> None:
    foreign = served.request("POST", "/inbound/b", "key-a", json={})
    absent = served.request("POST", "/inbound/absent", "key-a", json={})
    assert problem(foreign) == problem(absent) == (403, "foreign_source")
    assert foreign.content == absent.content


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/health/", "/whoami/x", "/inbound", "/inbound/", "/inbound/a/b", "//"]
)
def test_any_other_path_is_nothing(served: Served, path: str) -> None:
    assert problem(served.request("POST", path, "key-a")) == (404, "no_route")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/ready", "GET, HEAD"),
        ("PUT", "/whoami", "GET, HEAD"),
        ("GET", "/inbound/a", "POST"),
    ],
)
def test_another_method_is_refused_with_those_allowed(served: Served, method: str, path: str, allowed: str) -> None:
    response = served.request(method, path)
    assert problem(response) == (405, "method")
    assert response.headers["allow"] == allowed


def test_an_inbound_body_is_stored_and_answered_with_its_id(served: Served) -> None:
    response = served.inbound("a", {"content": "hello", "n": [1, 2.5, None]})
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    [row] = served.rows()
    assert response.json() == {"id": row["id"]}
    assert json.loads(row["body"]) == {"content": "hello", "n": [1, 2.5, None]}
    assert (row["source"], row["namespace"], row["tier"], row["profile"]) == ("a", "a", 1, "balanced")


def test_the_mapping_of_the_source_decides_what_is_stored(tmp_path: Path) -> None:
    source = a_source("a", mapping={"content": "messages.-1.content"})
    with Served(tmp_path, a_snapshot(source)) as served:
        assert served.inbound("a", {"messages": [{"content": "x"}, {"content": "y"}]}).status_code == 201
        assert json.loads(served.rows()[0]["body"]) == {"content": "y"}
        response = served.inbound("a", {"messages": []})
        assert problem(response) == (422, "mapping")
        assert "messages.-1.content" in response.json()["detail"]


def test_the_row_is_seen_by_another_connection_before_the_answer_is(served: Served) -> None:
    seen = []

    async def post() -> Any:
        body = b'{"content": "x"}'

        async def receive() -> Any:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen.append((message["status"], len(rows(served.directory / "main.db"))))

        headers = [(b"authorization", b"Bearer key-a"), (b"content-type", b"application/json")]
        await served.app({"type": "http", "method": "POST", "path": "/inbound/a", "headers": headers}, receive, send)

    served.run(post())
    assert seen == [(201, 1)]


def test_a_source_that_may_not_write_is_refused(served: Served) -> None:
    assert problem(served.inbound("b", {})) == (403, "can_write")


@pytest.mark.parametrize("content", [b"x" * 101, [b"x" * 60, b"x" * 60]])
def test_a_body_over_the_limit_is_refused_announced_or_not(tmp_path: Path, content: Any) -> None:
    async def chunks() -> Any:
        for one in content:
            yield one

    with Served(tmp_path, a_snapshot(a_source("a", payload_limits={"max_bytes": 100}))) as served:
        sent = content if isinstance(content, bytes) else chunks()
        headers = {"Content-Type": "application/json"}
        response = served.request("POST", "/inbound/a", "key-a", content=sent, headers=headers)
        assert problem(response) == (413, "too_large")
        assert response.headers["connection"] == "close"


def test_a_body_of_another_type_is_refused(served: Served) -> None:
    assert problem(served.request("POST", "/inbound/a", "key-a", content=b"{}")) == (415, "media_type")


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"x": 1e400}'])
def test_a_body_that_is_no_object_is_refused(served: Served, content: Any) -> None:
    headers = {"Content-Type": "application/json"}
    assert served.request("POST", "/inbound/a", "key-a", content=content, headers=headers).status_code == 422


def test_a_large_body_is_stored_whole(served: Served) -> None:
    assert served.inbound("a", {"content": "x" * 1_000_000}).status_code == 201
    assert len(json.loads(served.rows()[0]["body"])["content"]) == 1_000_000


def test_a_rate_over_the_limit_is_refused_with_the_time_to_wait(tmp_path: Path) -> None:
    counted = []

    def allow(source: Source, size: int) -> Any:
        counted.append((source.name, size))
        return 1.2

    with Served(tmp_path, a_snapshot(a_source("a")), allow=allow) as served:
        response = served.inbound("a", {})
        assert problem(response) == (429, "rate_limit")
        assert response.headers["retry-after"] == "2"
        assert counted == [("a", 2)]
        assert served.request("GET", "/whoami", "key-a").status_code == 200


def test_a_body_without_announced_length_is_counted_by_what_arrived(tmp_path: Path) -> None:
    counted = []

    async def chunks() -> Any:
        yield b'{"a":'
        yield b"1}"

    with Served(tmp_path, a_snapshot(a_source("a")), allow=lambda _source, size: counted.append(size)) as served:
        headers = {"Content-Type": "application/json"}
        assert served.request("POST", "/inbound/a", "key-a", content=chunks(), headers=headers).status_code == 201
    assert counted == [7]


def test_a_locked_destination_is_unavailable_until_it_is_free(served: Served) -> None:
    assert served.inbound("a", {}).status_code == 201
    with closing(sqlite3.connect(served.directory / "main.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        response = served.inbound("a", {})
        assert problem(response) == (503, "destination")
        assert "locked" in response.json()["detail"]
        assert response.headers["retry-after"] == "1"
        other.execute("ROLLBACK")
    assert served.inbound("a", {}).status_code == 201
    assert len(served.rows()) == 2


def test_a_destination_that_this_worker_did_not_start_with_is_unavailable(served: Served) -> None:
    served.snapshot = a_snapshot(
        a_source("a", target_destination="later"), version=2, destinations={"main": "main.db", "later": "later.db"}
    )
    response = served.inbound("a", {})
    assert problem(response) == (503, "destination")
    assert "restart" in response.json()["detail"]
    assert not (served.directory / "later.db").exists()


def test_of_a_client_that_leaves_nothing_is_stored(served: Served) -> None:
    sent = []

    async def leave() -> Any:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", b"Bearer key-a"), (b"content-type", b"application/json")]
        await served.app({"type": "http", "method": "POST", "path": "/inbound/a", "headers": headers}, receive, send)

    served.run(leave())
    assert sent[0]["status"] == 400
    assert served.request("GET", "/ready").status_code == 200
    assert served.rows() == []


def test_an_unexpected_failure_is_a_problem_without_details(tmp_path: Path) -> None:
    def allow(source: Source, size: int) -> None:
        message = "something private"
        raise LookupError(message)

    with Served(tmp_path, a_snapshot(a_source("a")), allow=allow) as served:
        response = served.inbound("a", {}, raise_app_exceptions=False)
        assert problem(response) == (500, "internal")
        assert "private" not in response.text


def test_a_websocket_is_refused(served: Served) -> None:
    sent = []

    async def connect() -> Any:
        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await served.app({"type": "websocket", "path": "/whoami", "headers": []}, receive, send)

    served.run(connect())
    assert sent == ["websocket.close"]


def test_neither_keys_nor_bodies_reach_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level("DEBUG"),
        closing(sqlite3.connect(served.directory / "main.db", isolation_level=None)) as other,
    ):
        served.inbound("a", {"content": "canary-body"})
        other.execute("BEGIN IMMEDIATE")
        served.inbound("a", {"content": "canary-body"})
        served.inbound("a", {"content": "canary-body"}, key="canary-key")
    assert "destination main takes no writes" in caplog.text
    assert "canary" not in caplog.text
    assert "key-a" not in caplog.text
