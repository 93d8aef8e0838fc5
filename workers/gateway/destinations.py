"""Destinations: the places of one worker that records go to, by name.

Decided here: which kind of storage each has, that a worker opens the destinations which it started with and no others
(they change by ``restart`` only), and that two destinations on one file share its storage. Not decided here: how
records are kept (``storage.py`` says where).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .sqlite_storage import SqliteStorage
from .storage import StorageLimits, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .models import Destination
    from .records import Record
    from .retrieval import Found, Search
    from .storage import Once, Storage

__all__ = ["Destinations"]


class Destinations:
    """Hold the storage of each destination; used from one event loop."""

    def __init__(
        self, directory: Path, destinations: Mapping[str, Destination], limits: StorageLimits | None = None
    ) -> None:
        chosen = limits or StorageLimits()
        by_path: dict[Path, Storage] = {}
        self._storages: dict[str, Storage] = {}
        for name, destination in destinations.items():
            if destination.type == "postgres":
                self._storages[name] = _postgres(name, destination, chosen)
                continue
            path = directory / destination.db_path
            if path not in by_path:
                by_path[path] = SqliteStorage(name, path, chosen)
            self._storages[name] = by_path[path]
        self._probe: asyncio.Task[str | None] | None = None

    def start(self) -> None:
        """Start to work; a place that can't be reached makes its destination unavailable, nothing else."""
        for storage in self._distinct():
            storage.start()

    async def write(self, name: str, record: Record, once: Once | None) -> str:
        """Return the id that is stored durably in this destination; raise UnavailableError or ReusedKeyError."""
        return await self._of(name).write(record, once)

    async def search(self, name: str, wanted: Search) -> Found:
        """Return what a query finds in this destination; raise UnavailableError."""
        return await self._of(name).search(wanted)

    async def trouble(self) -> str | None:
        """Return a sentence about a destination that can't be used, or None; callers at one time share one look."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._look())
        return await asyncio.shield(self._probe)

    async def close(self) -> None:
        """Write what waits, then close everything."""
        await asyncio.gather(*(storage.close() for storage in self._distinct()))

    def _of(self, name: str) -> Storage:
        storage = self._storages.get(name)
        if storage is None:
            message = "it was added after this worker started: restart the daemon"
            raise UnavailableError(message)
        return storage

    async def _look(self) -> str | None:
        for name, storage in self._storages.items():
            try:
                await storage.probe()
            except UnavailableError as error:
                return f"destination {name} is unavailable: {error}"
        return None

    def _distinct(self) -> list[Storage]:
        return list({id(storage): storage for storage in self._storages.values()}.values())


def _postgres(name: str, destination: Destination, limits: StorageLimits) -> Storage:
    """Return the storage of a PostgreSQL destination; only those who have one need psycopg."""
    from .postgres import PostgresStorage

    return PostgresStorage(name, destination, limits)
