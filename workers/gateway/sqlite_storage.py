"""A SQLite file as a destination: its writer and its reader as one.

Decided here: nothing but that they belong together. Not decided here: how each works (``sqlite_writer.py``,
``sqlite_reader.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sqlite_reader import SqliteReader
from .sqlite_writer import SqliteWriter

if TYPE_CHECKING:
    from pathlib import Path

    from .records import Record
    from .retrieval import Found, Search
    from .storage import Once, StorageLimits

__all__ = ["SqliteStorage"]


class SqliteStorage:
    """Write records to one SQLite file and find them in it."""

    def __init__(self, name: str, path: Path, limits: StorageLimits) -> None:
        self._writer = SqliteWriter(name, path, limits)
        self._reader = SqliteReader(name, path, limits)

    def start(self) -> None:
        """Start to work; the file is opened by the first use."""
        self._writer.start()

    async def write(self, record: Record, once: Once | None) -> str:
        """Return the id that is on disk; raise UnavailableError or ReusedKeyError."""
        return await self._writer.write(record, once)

    async def search(self, wanted: Search) -> Found:
        """Return what a query finds; raise UnavailableError."""
        return await self._reader.search(wanted)

    async def probe(self) -> None:
        """Return when the file can be written to; raise UnavailableError otherwise."""
        await self._writer.probe()

    async def close(self) -> None:
        """Write what waits, then close the file."""
        await self._reader.close()
        await self._writer.close()
