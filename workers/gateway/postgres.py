"""A PostgreSQL database as a destination.

Decided here: what may wait and how long, when a write is sent a second time, and what is told where nobody knows how it
ended. Not decided here: connections (``postgres_connections.py``), statements (``postgres_statements.py``), and the
words for errors (``postgres_errors.py``).

Everything works in tasks of its own: a request that is cut off doesn't cut what it has begun.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from .postgres_connections import Connections
from .postgres_errors import READ_ONLY, TABLES_GONE, deserves_another_try, is_uncertain, reason_of
from .postgres_schema import SCHEMA_VERSION, version_of
from .postgres_statements import forget, search, store
from .storage import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .models import Destination
    from .records import Record
    from .retrieval import Found, Search
    from .storage import Once, StorageLimits

__all__ = ["PostgresStorage"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_WRITES_BETWEEN_FORGETTING = 64
_UNCONFIRMED = "it did not confirm the write in time, which may have been made or not"
_LOST = "the connection to it was lost during the write, which may have been made or not"
_LATE = "it did not answer the query in time"
_CUT_SECONDS = 1.0
_BUSY = "all its connections are in use"


class PostgresStorage:
    """Write records to one PostgreSQL database and find them in it; used from one event loop."""

    def __init__(self, name: str, destination: Destination, limits: StorageLimits) -> None:
        dsn = destination.dsn or destination.connection_string
        assert dsn is not None  # noqa: S101 - its model says so
        self.name = name
        self._limits = limits
        self._connections = Connections(dsn.reveal(), destination.pool_size, limits)
        self._searching = asyncio.Semaphore(max(1, destination.pool_size - 1))
        """Queries leave one connection to writes, where there is more than one."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._records = self._bytes = self._queries = 0
        self._keys_since = 0
        self._healthy = True

    def start(self) -> None:
        """Start to work; a connection is made by the first use."""
        self._connections.open()

    async def write(self, record: Record, once: Once | None) -> str:
        """Return the id that is committed; raise UnavailableError or ReusedKeyError."""
        size = len(record.body)
        if self._records >= self._limits.waiting_records or (
            self._records and self._bytes + size > self._limits.waiting_bytes
        ):
            message = "too many writes wait for it"
            raise UnavailableError(message)
        self._count(1, size)
        task = self._task(self._write(record, once))
        task.add_done_callback(lambda _: self._count(-1, -size))
        return await self._in_time(task, _UNCONFIRMED)

    async def search(self, wanted: Search) -> Found:
        """Return what a query finds; raise UnavailableError."""
        if self._queries >= self._limits.waiting_queries:
            message = "too many queries wait for it"
            raise UnavailableError(message)
        self._queries += 1
        try:
            return await self._in_time(self._task(self._search(wanted)), _LATE)
        finally:
            self._queries -= 1

    async def probe(self) -> None:
        """Return when records could be written; raise UnavailableError otherwise."""
        await self._in_time(self._task(self._probe()), "it did not answer in time")

    async def close(self) -> None:
        """Write what waits, then close the connections."""
        if working := set(self._tasks):
            _, late = await asyncio.wait(working, timeout=self._limits.answer_timeout_seconds)
            for task in late:
                self._connections.cut(task)
            if late:
                await asyncio.wait(late, timeout=_CUT_SECONDS)
        await self._connections.close()

    def _count(self, records: int, size: int) -> None:
        self._records += records
        self._bytes += size

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """Forget a task; whoever waited for its exception may have gone, which is no mistake."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def _in_time(self, task: asyncio.Task[T], late: str) -> T:
        """Return what a task returns; where it takes too long, cut its connection and raise UnavailableError."""
        try:
            async with asyncio.timeout(self._limits.answer_timeout_seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            raise UnavailableError(late if self._connections.cut(task) else _BUSY) from None

    async def _write(self, record: Record, once: Once | None) -> str:
        """Store a record, and tell the log when that begins and ceases to be possible."""
        try:
            stored_id = await self._stored_surely(record, once)
        except UnavailableError as error:
            if self._healthy:
                _log.warning("destination %s takes no writes: %s", self.name, error)
            self._healthy = False
            raise
        if not self._healthy:
            _log.info("destination %s takes writes again", self.name)
        self._healthy = True
        return stored_id

    async def _stored_surely(self, record: Record, once: Once | None) -> str:
        """Store a record; where nobody knows whether that was done, do it again, which makes no second one."""
        try:
            return await self._stored(record, once)
        except psycopg.Error as error:
            if not deserves_another_try(error):
                raise UnavailableError(reason_of(error)) from None
            uncertain = is_uncertain(error)
        try:
            return await self._stored(record, once)
        except psycopg.Error as error:
            reason, uncertain = reason_of(error), uncertain or is_uncertain(error)
        except UnavailableError as error:
            reason = str(error)
        raise UnavailableError(_LOST if uncertain else reason)

    async def _stored(self, record: Record, once: Once | None) -> str:
        async with self._connections.connection() as connection:
            try:
                if once is not None and self._is_time_to_forget():
                    await forget(connection, once.now_ms, self._limits.forgotten_keys)
                return await store(connection, record, once)
            except psycopg.errors.UndefinedTable:
                await connection.close()  # the next one makes the tables
                raise

    def _is_time_to_forget(self) -> bool:
        self._keys_since = (self._keys_since + 1) % _WRITES_BETWEEN_FORGETTING
        return self._keys_since == 0

    async def _search(self, wanted: Search) -> Found:
        try:
            async with self._searching, self._connections.connection() as connection:
                return await search(connection, wanted, self._limits)
        except psycopg.errors.QueryCanceled:
            raise UnavailableError(_LATE) from None
        except psycopg.Error as error:
            raise UnavailableError(reason_of(error)) from None

    async def _probe(self) -> None:
        try:
            async with self._connections.connection() as connection:
                version = await version_of(connection)
                row = await (await connection.execute("SHOW transaction_read_only")).fetchone()
        except psycopg.Error as error:
            raise UnavailableError(reason_of(error)) from None
        if version != SCHEMA_VERSION:
            raise UnavailableError(TABLES_GONE)
        if row is None or row[0] != "off":
            raise UnavailableError(READ_ONLY)
