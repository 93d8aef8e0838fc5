"""The connections of one worker to one PostgreSQL server: a pool, with an end for everything that can take long.

Decided here: how a connection is made and found to be dead, how long anybody waits for one, and how the reason for
having none gets to those who wait. Not decided here: what is done on a connection (``postgres.py``) and what a session
is (``postgres_schema.py``).

psycopg's pool tries to connect in its own time; whoever waits is told as soon as an attempt has failed and no
connection is left, and the next request is a fresh try. Nothing here logs: what psycopg says holds hosts and roles.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from psycopg import AsyncConnection, Error
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from .postgres_errors import reason_of
from .postgres_schema import prepare
from .storage import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .storage import StorageLimits

__all__ = ["Connections"]

_CLOSE_SECONDS = 1.0
"""How long attempts to connect are waited for in the end."""
_SILENT = logging.CRITICAL + 1
_DEFAULTS = {
    "connect_timeout": 5,
    "fallback_application_name": "nexus-supervisor",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Parameters of a connection where the dsn says nothing else; times in seconds."""


class Connections:
    """Hold up to ``size`` connections; used from one event loop. ``open`` is called once, in it."""

    def __init__(self, dsn: str, size: int, limits: StorageLimits) -> None:
        self._dsn, self._size, self._limits = dsn, size, limits
        self._reason = ""
        self._failing: asyncio.Future[str]
        self._in_use: dict[asyncio.Task[Any] | None, AsyncConnection[Any]] = {}
        self._users: WeakSet[asyncio.Task[Any] | None] = WeakSet()
        self._given_up: WeakSet[asyncio.Task[Any] | None] = WeakSet()

    def open(self) -> None:
        """Begin to connect when somebody asks."""
        logging.getLogger("psycopg").setLevel(_SILENT)
        loop = asyncio.get_running_loop()
        self._failing = loop.create_future()
        self._pool = AsyncConnectionPool(
            self._dsn,
            connection_class=self._connection_class(),
            kwargs=self._parameters(),
            min_size=0,
            max_size=self._size,
            open=False,
            timeout=max(0.1, self._limits.answer_timeout_seconds - self._limits.busy_timeout_seconds),
            reconnect_timeout=0,
            reconnect_failed=self._tell,
        )
        self._opening = loop.create_task(self._pool.open())

    async def close(self) -> None:
        """Close every connection."""
        await self._opening
        await self._pool.close(_CLOSE_SECONDS)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection that works, as far as can be known without asking the server; raise UnavailableError."""
        connection = await self._live()
        try:
            self._begin(connection)
            yield connection
        finally:
            self._in_use.pop(asyncio.current_task(), None)
            await self._pool.putconn(connection)

    def cut(self, task: asyncio.Task[Any]) -> bool:
        """Give a task up: it gets no connection any more, and the one that it uses ends. Return whether it had any.

        psycopg's own way to cancel asks the server, which may not answer.
        """
        self._given_up.add(task)
        connection = self._in_use.get(task)
        if connection is not None and not connection.closed:
            with socket.fromfd(connection.fileno(), socket.AF_UNSPEC, socket.SOCK_STREAM) as shared:
                shared.shutdown(socket.SHUT_RDWR)
        return task in self._users

    def _begin(self, connection: AsyncConnection[Any]) -> None:
        """Note that this task uses a connection; raise UnavailableError where it was given up meanwhile."""
        task = asyncio.current_task()
        if task in self._given_up:
            message = "it answered too late"
            raise UnavailableError(message)
        self._in_use[task] = connection
        self._users.add(task)

    async def _live(self) -> AsyncConnection[Any]:
        """Return the first connection that the server hasn't ended while it was idle."""
        for _ in range(self._size + 1):
            connection = await self._next()
            if not _is_ended(connection):
                return connection
            await connection.close()
            await self._pool.putconn(connection)
        message = "it ends every connection"
        raise UnavailableError(message)

    async def _next(self) -> AsyncConnection[Any]:
        """Return the next free connection; raise UnavailableError as soon as it is known that there will be none."""
        await self._opening
        failing = self._failing
        getting = asyncio.ensure_future(self._pool.getconn())
        first: set[asyncio.Future[Any]] = {getting, failing}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            getting.cancel()
            await asyncio.wait({getting})
            raise UnavailableError(failing.result())
        try:
            return getting.result()
        except PoolTimeout:
            message = "all its connections are in use"
            raise UnavailableError(self._reason or message) from None

    async def _tell(self, pool: AsyncConnectionPool[Any]) -> None:
        """Tell everybody who waits that there is no connection, and why; called when attempts to connect have failed.

        Where some connections work, those who wait get one of them.
        """
        if pool.get_stats()["pool_size"] == 0:
            failed, self._failing = self._failing, asyncio.get_running_loop().create_future()
            failed.set_result(self._reason)

    def _parameters(self) -> dict[str, Any]:
        said = conninfo_to_dict(self._dsn)
        chosen = {name: value for name, value in _DEFAULTS.items() if name not in said}
        return {**chosen, "client_encoding": "UTF8", "autocommit": True}

    def _connection_class(self) -> type[AsyncConnection[Any]]:
        """Return a class of connections that are prepared before anybody gets them, and whose failures are noted."""
        note, limits = self._note, self._limits

        class Prepared(AsyncConnection[Any]):
            @classmethod
            async def connect(cls, *arguments: Any, **parameters: Any) -> AsyncConnection[Any]:  # type: ignore[override]
                try:
                    connection = await super().connect(*arguments, **parameters)
                    try:
                        await prepare(connection, limits)
                    except BaseException:
                        await connection.close()
                        raise
                except Error as error:
                    note(reason_of(error))
                    raise
                except UnavailableError as error:
                    note(str(error))
                    raise
                note("")
                return connection

        return Prepared

    def _note(self, reason: str) -> None:
        self._reason = reason


def _is_ended(connection: AsyncConnection[Any]) -> bool:
    """Return whether an idle connection was ended: what nobody asked for is the server's farewell."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
