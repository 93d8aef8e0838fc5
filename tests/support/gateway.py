"""Build snapshots of the gateway by hand and serve them without a supervisor."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import httpx
from nexus_workers.gateway.app import Gateway
from nexus_workers.gateway.destinations import Destinations
from nexus_workers.gateway.keyring import derive_index
from nexus_workers.gateway.models import Destination, Source
from nexus_workers.gateway.records import Record, record
from nexus_workers.gateway.storage import Once, StorageLimits
from nexus_workers.gateway.surroundings import Allow, Surroundings

from nexus_supervisor.agent.context import provide
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.models.marks import HashedSecret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PEPPER = bytes(range(32))
_FIRST_SCHEMA = """
CREATE TABLE memories (
    id TEXT PRIMARY KEY NOT NULL, source TEXT NOT NULL, namespace TEXT NOT NULL, created_at TEXT NOT NULL,
    tier INTEGER NOT NULL, profile TEXT NOT NULL, actor_type TEXT NOT NULL, actor_id TEXT NOT NULL, body TEXT NOT NULL
)
"""
QUICK = StorageLimits(busy_timeout_seconds=0.05)


def a_source(name: str = "a", key: str | None = None, **fields: Any) -> Source:
    """Make a source that may write to ``main``; its key is ``key-<name>``."""
    secret = HashedSecret.literal(key or f"key-{name}", PEPPER)
    return Source(name=name, api_key=secret, **{"can_write": True, "target_destination": "main"} | fields)


def a_record(number: int = 0, **columns: Any) -> Record:
    """Make a record; a greater number is a newer record. ``body`` may be given as an object."""
    body = columns.pop("body", {"n": number})
    made = record(a_source("a"), {}, now_ms=number, random=number.to_bytes(10, "big"))
    return replace(made, **{"body": body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)} | columns)


def a_once(key: str = "k", body: bytes = b"{}", *, source: str = "a", now_ms: int = 0, window: int = 300) -> Once:
    """Make what a request with an idempotency key asks for."""
    return Once(source, key, window, hashlib.sha256(body).digest(), now_ms)


def a_snapshot(
    *sources: Source,
    version: int = 1,
    destinations: Mapping[str, str] | None = None,
    before: Snapshot | None = None,
) -> Snapshot:
    """Make a snapshot of sources, and of destinations as name to db_path."""
    places = {"main": "main.db"} if destinations is None else destinations
    snapshot = Snapshot.of(
        version,
        sources={source.name: source for source in sources},
        destinations={name: Destination(name=name, type="sqlite", db_path=path) for name, path in places.items()},
    )
    if before is not None:
        changed = {source.name: source for source in sources}
        gone = before.sources.keys() - changed.keys()
        fresh = {name: source for name, source in changed.items() if before.sources.get(name) is not source}
        snapshot.__dict__["sources"] = before.sources.changed(fresh, gone)
    snapshot.__dict__["program"] = derive_index(snapshot, before)
    return snapshot


class Served:
    """Serve snapshots in an event loop of its own; requests are answered one after the other."""

    def __init__(
        self,
        directory: Path,
        snapshot: Snapshot,
        *,
        allow: Allow = lambda _source, _size: None,
        limits: StorageLimits = QUICK,
    ) -> None:
        self.directory = directory
        self.snapshot = snapshot
        self.draining = False
        surroundings = Surroundings("gateway-0/1", PEPPER, allow, lambda: self.draining, pid=42)
        self.app = Gateway(surroundings, Destinations(directory, snapshot.destinations, limits))
        self._runner = asyncio.Runner()
        self._inbox: asyncio.Queue[dict[str, Any]]
        self._said: list[str] = []

    def __enter__(self) -> Self:
        self.run(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._end())
        self._runner.close()

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine to its end, with the snapshot pinned."""
        with provide(self.snapshot):
            return self._runner.run(coroutine, context=contextvars.copy_context())

    def request(self, method: str, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        """Make one request."""
        return self.run(self._request(method, path, key, options))

    def inbound(self, name: str, body: Any, key: str | None = None, **options: Any) -> httpx.Response:
        """Post a JSON body with the key of the source."""
        return self.request("POST", f"/inbound/{name}", key or f"key-{name}", json=body, **options)

    def query(self, key: str = "key-a", destination: str = "main", **parameters: Any) -> httpx.Response:
        """Ask a destination with a key of a source."""
        return self.request("GET", f"/query/{destination}", key, params=parameters)

    def rows(self, path: str = "main.db") -> list[dict[str, Any]]:
        """Return what another connection sees."""
        return rows(self.directory / path)

    async def _request(self, method: str, path: str, key: str | None, options: dict[str, Any]) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=options.pop("raise_app_exceptions", True))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, headers=headers, **options)

    async def _begin(self) -> None:
        self._inbox = asyncio.Queue()
        self._started = asyncio.Event()
        self._life = asyncio.create_task(self.app({"type": "lifespan"}, self._inbox.get, self._say))
        await self._inbox.put({"type": "lifespan.startup"})
        await self._started.wait()

    async def _end(self) -> None:
        await self._inbox.put({"type": "lifespan.shutdown"})
        await self._life
        assert self._said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    async def _say(self, message: Any) -> None:
        self._said.append(message["type"])
        self._started.set()


def make_first_schema(path: Path) -> Path:
    """Make a file as the first version of the gateway made it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(_FIRST_SCHEMA)
        connection.execute("PRAGMA user_version = 1")
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the memories in a file, by a connection of our own."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM memories ORDER BY id")]
