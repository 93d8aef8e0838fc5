"""The statements that write to and read from a PostgreSQL database.

Decided here: that a write is one statement, so that record and key are committed together or not at all; how a repeated
key is found; and what of a query is left to the database. Not decided here: the tables (``postgres_schema.py``) and
what a query finds in the end (``retrieval.py``).

A write may be sent twice, since nobody knows whether a statement was committed whose connection was lost: a record
that is there already, by its id, is not written again.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from psycopg.errors import QueryCanceled

from .records import Record
from .retrieval import Sieve
from .storage import ReusedKeyError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from psycopg import AsyncConnection, AsyncServerCursor

    from .retrieval import Found, Search
    from .storage import Once, StorageLimits

__all__ = ["forget", "search", "store"]

_COLUMNS = "id, source, namespace, created_at, tier, profile, actor_type, actor_id, body"
_INSERT = f"""
INSERT INTO memories ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 - no value of anybody's
_INSERT_ONCE = f"""
WITH fresh AS (
    INSERT INTO idempotency AS known (source, key, id, body_digest, expires_ms) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (source, key) DO UPDATE
        SET id = EXCLUDED.id, body_digest = EXCLUDED.body_digest, expires_ms = EXCLUDED.expires_ms
        WHERE known.expires_ms <= %s
    RETURNING id
)
INSERT INTO memories ({_COLUMNS}) SELECT id, %s, %s, %s, %s::integer, %s, %s, %s, %s FROM fresh RETURNING id
"""  # noqa: S608 - no value of anybody's
_SELECT = """
SELECT id, source, namespace, created_at, tier, profile, actor_type, actor_id,
    CASE WHEN octet_length(body) <= %s THEN body END
FROM memories
"""
_KNOWN = "SELECT id, body_digest FROM idempotency WHERE source = %s AND key = %s"
_FORGET = """
DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency WHERE expires_ms <= %s ORDER BY expires_ms LIMIT %s FOR UPDATE SKIP LOCKED
))
"""
_PIECE = re.compile(r"[A-Za-z0-9]+")
_UNLIKE = (
    "\u00df\u0130\u0149\u017f\u01f0\u1e96\u1e97\u1e98\u1e99\u1e9a\u1e9e\u212a\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"
)
"""The characters beyond ASCII that hold ASCII letters when their case is ignored (``ß`` is ``ss``)."""

_FIRST_ROWS = 4
_MOST_ROWS = 256
_QUICK_SECONDS = 0.05
_LARGE_BODY_BYTES = 64 * 1024
"""Bodies over this are read one by one, so that what is read at once is bounded: 16 MiB with the rows above."""
_TRIES = 3


async def store(connection: AsyncConnection[Any], record: Record, once: Once | None) -> str:
    """Commit one record and return the id that it has; raise ReusedKeyError."""
    if once is None:
        await connection.execute(_INSERT, astuple(record))
        return record.id
    for _ in range(_TRIES):
        if await _stores(connection, record, once):
            return record.id
        known = await (await connection.execute(_KNOWN, (once.source, once.key))).fetchone()
        if known is None:
            continue  # its window has ended, and another worker has just forgotten it
        first_id: str = known[0]
        if known[1] != once.body_digest:
            raise ReusedKeyError
        return first_id
    message = "its idempotency keys changed all the time"
    raise UnavailableError(message)


async def _stores(connection: AsyncConnection[Any], record: Record, once: Once) -> bool:
    """Store record and key unless the key is known; another worker that stores the same key is waited for."""
    key = (once.source, once.key, record.id, once.body_digest, once.expires_ms, once.now_ms)
    cursor = await connection.execute(_INSERT_ONCE, (*key, *astuple(record)[1:]))
    return cursor.rowcount == 1


async def forget(connection: AsyncConnection[Any], now_ms: int, keys: int) -> None:
    """Remove up to so many keys whose window has ended; those that somebody is using are left."""
    await connection.execute(_FORGET, (now_ms, keys))


async def search(connection: AsyncConnection[Any], wanted: Search, limits: StorageLimits) -> Found:
    """Return what a query finds among what was committed when it began, or what it has when its time is over.

    Records are judged in a thread: the event loop has other requests to serve.
    """
    deadline = asyncio.get_running_loop().time() + limits.query_timeout_seconds
    sieve = Sieve(wanted, limits)
    async with connection.transaction(), connection.cursor("found") as cursor:
        await _bound(connection, deadline)
        condition, values = _condition(wanted)
        await cursor.execute(f"{_SELECT} WHERE {condition} ORDER BY id DESC".encode(), (_LARGE_BODY_BYTES, *values))
        try:
            await _read(connection, cursor, sieve, deadline)
        except QueryCanceled:
            sieve.cut()
    return sieve.found()


async def _read(
    connection: AsyncConnection[Any], cursor: AsyncServerCursor[Any], sieve: Sieve, deadline: float
) -> None:
    """Give records to the sieve until it has enough or the time is over."""
    loop = asyncio.get_running_loop()
    async with aclosing(_newest_first(connection, cursor, deadline)) as batches:
        async for batch in batches:
            if not await asyncio.to_thread(_take, sieve, batch):
                return
            if loop.time() > deadline:
                sieve.cut()
                return


def _take(sieve: Sieve, batch: list[Record]) -> bool:
    return all(sieve.take(record) for record in batch)


async def _newest_first(
    connection: AsyncConnection[Any], cursor: AsyncServerCursor[Any], deadline: float
) -> AsyncGenerator[list[Record], None]:
    """Yield records as they are asked for: more at a time as long as the database finds them quickly."""
    loop = asyncio.get_running_loop()
    rows, began = _FIRST_ROWS, loop.time()
    while fetched := await cursor.fetchmany(rows):
        if loop.time() - began < _QUICK_SECONDS:
            rows = min(_MOST_ROWS, 2 * rows)
        batch: list[Record] = []
        for row in fetched:
            if row[-1] is not None:
                batch.append(Record(*row))
                continue
            yield batch
            yield [Record(*[*row[:-1], await _body(connection, row[0])])]
            batch = []
        yield batch
        await _bound(connection, deadline)
        began = loop.time()


async def _bound(connection: AsyncConnection[Any], deadline: float) -> None:
    """Have each statement of the transaction end at the deadline."""
    left = max(1, round((deadline - asyncio.get_running_loop().time()) * 1_000))
    await connection.execute("SELECT set_config('statement_timeout', %s, true)", (str(left),))


async def _body(connection: AsyncConnection[Any], record_id: str) -> str:
    """Return the body of a record; nothing where somebody has just deleted it, which no query finds."""
    row = await (await connection.execute("SELECT body FROM memories WHERE id = %s", (record_id,))).fetchone()
    body: str = row[0] if row else ""
    return body


def _condition(wanted: Search) -> tuple[str, list[Any]]:
    """Return what the database can judge of a query; ``ILIKE`` ignores the case of ASCII letters only in our tables."""
    parts, values = ["tier <= %s"], list[Any]([wanted.top_tier])
    if wanted.namespaces is not None and len(wanted.namespaces) == 1:
        parts.append("namespace = %s")  # the rows of an index, in its order
        values += wanted.namespaces
    elif wanted.namespaces is not None:
        parts.append("namespace = ANY (%s)")
        values.append(list(wanted.namespaces))
    if wanted.profiles is not None:
        parts.append("profile = ANY (%s)")
        values.append(list(wanted.profiles))
    if pieces := _pieces(wanted.words):
        holds_all = " AND ".join("body ILIKE %s" for _ in pieces)
        parts.append(f"({holds_all} OR body ~ %s)")
        values += [*(f"%{piece}%" for piece in pieces), f"[{_UNLIKE}]"]
    return " AND ".join(parts), values


def _pieces(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the longest run of ASCII letters and digits of each word, for the database to look for first.

    Whatever holds the words holds these in its JSON text, in some case of ASCII letters, or holds a character of
    ``_UNLIKE``. They need no escaping, neither in a pattern nor in JSON.
    """
    runs = (max(_PIECE.findall(word), key=len, default="") for word in words)
    return tuple(run for run in runs if run)
