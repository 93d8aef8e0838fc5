"""The thread that reads from one SQLite file: one query after the other, each within its time.

Decided here: how many queries may wait, and how long each may take. Not decided here: what a query finds
(``retrieval.py``) and how rows are read (``sqlite_statements.py``).

Readers and the writer of a file don't wait for each other (write-ahead log). A query sees what was committed when it
began.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .retrieval import Sieve
from .sqlite_file import SqliteFile
from .sqlite_statements import newest_first
from .storage import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .retrieval import Found, Search
    from .storage import StorageLimits

__all__ = ["SqliteReader"]

_STEPS_BETWEEN_LOOKS = 100
"""How many steps of its virtual machine SQLite takes between two looks at the clock: some ten rows, maybe large."""


class SqliteReader:
    """Answer queries from one SQLite file; used from one event loop, works in one thread of its own."""

    def __init__(self, name: str, path: Path, limits: StorageLimits) -> None:
        self._limits = limits
        self._file = SqliteFile(path, limits.busy_timeout_seconds)
        self._waiting = 0
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"queries of {name}")

    async def search(self, wanted: Search) -> Found:
        """Return what a query finds; raise UnavailableError where its turn doesn't come in time."""
        if self._waiting >= self._limits.waiting_queries:
            message = "too many queries wait for it"
            raise UnavailableError(message)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.answer_timeout_seconds):
                return await asyncio.wrap_future(self._pool.submit(self._search, wanted))
        except TimeoutError:
            message = "it did not answer the query in time"
            raise UnavailableError(message) from None
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the query that runs, answer no other, and close the file."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        self._file.close()

    def _search(self, wanted: Search) -> Found:
        """Read until the sieve has enough or the time is over; called in the thread."""
        deadline = time.monotonic() + self._limits.query_timeout_seconds

        def is_late() -> bool:
            return time.monotonic() > deadline

        sieve = Sieve(wanted, self._limits)
        with self._file.connected() as connection:
            connection.set_progress_handler(is_late, _STEPS_BETWEEN_LOOKS)
            try:
                _read(connection, wanted, sieve, is_late)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorname", "") != "SQLITE_INTERRUPT":
                    raise
                sieve.cut()
        return sieve.found()


def _read(connection: sqlite3.Connection, wanted: Search, sieve: Sieve, is_late: Callable[[], bool]) -> None:
    with newest_first(connection, wanted) as records:
        for record in records:
            if is_late():
                sieve.cut()
                return
            if not sieve.take(record):
                return
