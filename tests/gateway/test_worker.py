"""The gateway as a real worker process: signed versions over its pipe, requests over its socket."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from nexus_supervisor.core import canonical
from nexus_supervisor.core.codec import pack
from nexus_supervisor.core.content import Content, Entries, Entry, Section
from nexus_supervisor.models.loading import load_model
from nexus_supervisor.models.secrets import Origins
from tests.support.gateway import make_first_schema, rows
from tests.support.http import Connection
from tests.support.workers import PEPPER, Site, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODELS = {"sources": "nexus_workers.gateway.models:Source", "destinations": "nexus_workers.gateway.models:Destination"}
MAIN = {"main": {"name": "main", "type": "sqlite", "db_path": "main.db"}}


def a_source(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "api_key": f"key-{name}", "can_write": True, "target_destination": "main", **fields}


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the write lock of a SQLite file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def wait_until_open(pid: int, path: Path) -> None:
    """Return when a process has a file open."""
    process = psutil.Process(pid)
    while not any(opened.path == str(path) for opened in process.open_files()):
        os.sched_yield()


class Gateway:
    """Be the supervisor of gateway workers on one directory."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.site = stack.enter_context(Site(directory))
        self.directory = directory
        self.workers: list[Worker] = []
        self._stack = stack
        self._version = 0
        self._content: Content | None = None
        self._rows: dict[str, int] = {}

    def push(self, *sources: dict[str, Any], destinations: dict[str, Any] | None = None) -> int:
        """Make the sources live in all workers and return the version."""
        base, self._content = self._content, self._compiled({one["name"]: one for one in sources}, destinations or MAIN)
        fresh = {one["name"]: len(self._rows) for one in sources if one["name"] not in self._rows}
        self._rows |= fresh
        self._version += 1
        for worker in self.workers:
            worker.go(self._content, self._version, base, rows=pack({"sources": fresh}))
        return self._version

    def start(self, count: int, *sources: dict[str, Any], destinations: dict[str, Any] | None = None) -> None:
        """Start workers with their first version."""
        self.push(*sources, destinations=destinations)
        assert self._content is not None
        for number in range(count):
            worker = self._stack.enter_context(Worker(self.site, number, program="gateway", slot=f"gateway-{number}"))
            self.workers.append(worker.serve(self._content, self._version, rows=pack({"sources": self._rows})))

    def connect(self) -> Connection:
        """Open a connection to whichever worker takes it."""
        host, port = self.site.address
        return self._stack.enter_context(Connection(f"{host}:{port}"))

    def _compiled(self, sources: dict[str, Any], destinations: dict[str, Any]) -> Content:
        origins = Origins(self.directory, {}, PEPPER)
        sections = {
            name: Section(
                apply,
                Entries(
                    Entry.of(entry, load_model(MODELS[name]).compile(document, origins).body)
                    for entry, document in documents.items()
                ),
            )
            for name, apply, documents in [("sources", "live", sources), ("destinations", "restart", destinations)]
        }
        tables = Entries(Entry.of(name, canonical.encode({})) for name in ("daemon", "supervisor"))
        return Content({"daemon": Section("restart", tables), **sections})


@pytest.fixture
def gateway(tmp_path: Path) -> Any:
    with ExitStack() as stack:
        yield Gateway(tmp_path, stack)


def test_a_worker_answers_with_version_and_worker_in_every_response(gateway: Gateway) -> None:
    gateway.start(1, a_source("a"))
    connection = gateway.connect()
    for path, key, status in [("/health", None, 200), ("/ready", None, 200), ("/x", None, 404), ("/whoami", "no", 401)]:
        response = connection.request("GET", path, key)
        assert (response.status, response.version, response.slot, response.incarnation) == (status, 1, "gateway-0", 1)
    pid = gateway.workers[0].process.pid
    assert connection.request("GET", "/whoami", "key-a").json == {
        "source": "a",
        "namespace": "a",
        "config_version": 1,
        "worker": "gateway-0/1",
        "pid": pid,
    }


def test_a_record_is_stored_through_the_socket(gateway: Gateway) -> None:
    gateway.start(1, a_source("a"))
    response = gateway.connect().request("POST", "/inbound/a", "key-a", {"content": "x"})
    assert response.status == 201
    assert [row["id"] for row in rows(gateway.directory / "main.db")] == [response.json["id"]]


def test_keys_follow_the_files_on_a_connection_that_stays_open(gateway: Gateway) -> None:
    gateway.start(1, a_source("a"), a_source("b"))
    connection = gateway.connect()
    assert connection.request("GET", "/whoami", "key-b").status == 200
    gateway.push(a_source("a"), a_source("c"))
    answers = [connection.request("GET", "/whoami", f"key-{name}") for name in "abc"]
    assert [answer.status for answer in answers] == [200, 401, 200]
    assert [answer.version for answer in answers] == [2, 2, 2]


def test_a_request_in_hand_ends_on_the_version_that_it_began_with(gateway: Gateway) -> None:
    gateway.start(1, a_source("a", namespace="old"))
    request = gateway.connect().begin("/inbound/a", "key-a", {"content": "x"})
    gateway.push(a_source("b"))
    other = gateway.connect().request("POST", "/inbound/a", "key-a", {"content": "y"})
    assert (other.status, other.version) == (401, 2)
    response = request.finish()
    assert (response.status, response.version) == (201, 1)
    assert [row["namespace"] for row in rows(gateway.directory / "main.db")] == ["old"]


def test_a_query_in_hand_ends_under_the_policy_that_it_began_with(gateway: Gateway) -> None:
    path = make_first_schema(gateway.directory / "main.db")
    reader = a_source("a", can_read=True)
    gateway.start(1, reader)
    query = gateway.connect()
    with write_lock(path):  # the file is of the version before: the query waits until it can be changed
        query._client.request("GET", "/query/main", headers={"Authorization": "Bearer key-a"})
        wait_until_open(gateway.workers[0].process.pid, path)
        gateway.push(reader | {"can_read": False})
        other = gateway.connect().request("GET", "/query/main", "key-a")
        assert (other.status, other.version, other.json["code"]) == (403, 2, "can_read")
    answer = query.answer()
    assert (answer.status, answer.version, answer.json) == (200, 1, {"items": []})


def test_a_rate_limit_holds_over_workers_and_over_a_push_that_does_not_touch_the_source(gateway: Gateway) -> None:
    limited = a_source("a", rate_limit={"requests_per_minute": 5})
    gateway.start(2, limited)
    answers = [gateway.connect().request("POST", "/inbound/a", "key-a", {"n": number}) for number in range(12)]
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {201, 429}
    assert 5 <= statuses.count(201) <= 6
    refused = next(answer for answer in answers if answer.status == 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    gateway.push(limited, a_source("b"))
    assert gateway.connect().request("POST", "/inbound/a", "key-a", {}).status == 429
    assert gateway.connect().request("POST", "/inbound/b", "key-b", {}).status == 201


def test_a_worker_whose_destination_is_missing_serves_everything_else(gateway: Gateway) -> None:
    absent = {"main": MAIN["main"] | {"db_path": "absent/main.db"}}
    gateway.start(1, a_source("a"), destinations=absent)
    connection = gateway.connect()
    assert connection.request("GET", "/ready").status == 503
    refused = connection.request("POST", "/inbound/a", "key-a", {})
    assert (refused.status, refused.json["code"]) == (503, "destination")
    assert connection.request("GET", "/whoami", "key-a").status == 200
    assert "Traceback" not in gateway.workers[0].log()
    (gateway.directory / "absent").mkdir()
    assert connection.request("POST", "/inbound/a", "key-a", {}).status == 201


def test_a_drained_worker_has_written_what_it_answered_and_leaves_no_log_behind(gateway: Gateway) -> None:
    gateway.start(1, a_source("a"))
    ids = [gateway.connect().request("POST", "/inbound/a", "key-a", {"n": n}).json["id"] for n in range(3)]
    gateway.workers[0].drain()
    assert gateway.workers[0].ended() == 0
    assert not (gateway.directory / "main.db-wal").exists()
    assert [row["id"] for row in rows(gateway.directory / "main.db")] == ids


def test_no_key_and_no_body_is_in_the_log_of_a_worker(gateway: Gateway) -> None:
    gateway.start(1, a_source("a"))
    connection = gateway.connect()
    connection.request("POST", "/inbound/a", "key-a", {"content": "canary-body"})
    connection.request("POST", "/inbound/a", "canary-key", {"content": "canary-body"})
    gateway.workers[0].drain()
    gateway.workers[0].ended()
    log = gateway.workers[0].log()
    assert "canary" not in log
    assert "key-a" not in log
