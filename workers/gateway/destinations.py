"""Destinations: the places of one worker that records go to, by name.

Decided here: that a worker opens the destinations which it started with and no others (they change by ``restart``
only), and that two destinations on one file share its writer. Not decided here: how a record is written
(``sqlite_writer.py``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .sqlite_file import UnavailableError
from .sqlite_writer import SqliteWriter, WriterLimits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .models import Destination
    from .records import Record

__all__ = ["Destinations"]


class Destinations:
    """Hold one writer for each destination; used from one event loop."""

    def __init__(
        self, directory: Path, destinations: Mapping[str, Destination], limits: WriterLimits | None = None
    ) -> None:
        chosen = limits or WriterLimits()
        by_path: dict[Path, SqliteWriter] = {}
        self._writers: dict[str, SqliteWriter] = {}
        for name, destination in destinations.items():
            path = directory / destination.db_path
            if path not in by_path:
                by_path[path] = SqliteWriter(name, path, chosen)
            self._writers[name] = by_path[path]
        self._probe: asyncio.Task[str | None] | None = None

    def start(self) -> None:
        """Start the writers; files that can't be opened make their destination unavailable, nothing else."""
        for writer in self._distinct():
            writer.start()

    async def write(self, name: str, record: Record) -> None:
        """Return when the record is on disk in this destination; raise UnavailableError otherwise."""
        writer = self._writers.get(name)
        if writer is None:
            message = "it was added after this worker started: restart the daemon"
            raise UnavailableError(message)
        await writer.write(record)

    async def trouble(self) -> str | None:
        """Return a sentence about a destination that can't be opened, or None; callers at one time share one look."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._look())
        return await asyncio.shield(self._probe)

    async def close(self) -> None:
        """Write what waits, then close every file."""
        await asyncio.gather(*(writer.close() for writer in self._distinct()))

    async def _look(self) -> str | None:
        for name, writer in self._writers.items():
            try:
                await writer.probe()
            except UnavailableError as error:
                return f"destination {name} is unavailable: {error}"
        return None

    def _distinct(self) -> list[SqliteWriter]:
        return list({id(writer): writer for writer in self._writers.values()}.values())
