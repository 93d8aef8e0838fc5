"""The schema of a PostgreSQL database, and how each session is set: whichever worker comes first.

Decided here: the tables, how an older schema becomes a newer one, and what a session must be for what the gateway
promises (a commit that is on disk when it returns, bounded statements). Not decided here: when a connection is made
(``postgres_connections.py``) and what is written (``postgres_statements.py``).

Text is compared byte by byte (``COLLATE "C"``), so that order and case are the same in every database and in SQLite.
A body is text, not ``jsonb``: numbers and their digits stay as the client wrote them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .storage import UnavailableError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from .storage import StorageLimits

__all__ = ["SCHEMA_VERSION", "prepare", "version_of"]

SCHEMA_VERSION = 1

_STEPS = (
    (
        """
        CREATE TABLE memories (
            id         text COLLATE "C" PRIMARY KEY,
            source     text COLLATE "C" NOT NULL,
            namespace  text COLLATE "C" NOT NULL,
            created_at text COLLATE "C" NOT NULL,
            tier       integer NOT NULL,
            profile    text COLLATE "C" NOT NULL,
            actor_type text COLLATE "C" NOT NULL,
            actor_id   text COLLATE "C" NOT NULL,
            body       text COLLATE "C" NOT NULL
        )
        """,
        "CREATE INDEX memories_by_namespace ON memories (namespace, id)",
        """
        CREATE TABLE idempotency (
            source      text COLLATE "C" NOT NULL,
            key         text COLLATE "C" NOT NULL,
            id          text COLLATE "C" NOT NULL,
            body_digest bytea NOT NULL,
            expires_ms  bigint NOT NULL,
            PRIMARY KEY (source, key)
        )
        """,
        "CREATE INDEX idempotency_by_end ON idempotency (expires_ms)",
    ),
)
"""What makes schema version 1 of an empty database, and so on."""

_MAKE_VERSION = (
    "CREATE TABLE IF NOT EXISTS nexus_schema (one boolean PRIMARY KEY CHECK (one), version integer NOT NULL)"
)
_SET_VERSION = """
INSERT INTO nexus_schema (one, version) VALUES (true, %s) ON CONFLICT (one) DO UPDATE SET version = EXCLUDED.version
"""
_LOCK = "SELECT pg_advisory_xact_lock(%s)"
_LOCK_NUMBER = int.from_bytes(b"nexus-gw", "big")
"""Taken while the schema is changed: in a database, the first of all workers does it, and the others find it done."""

_SESSION = """
SELECT
    set_config('synchronous_commit', CASE
        WHEN current_setting('synchronous_commit') = 'remote_apply' THEN 'remote_apply' ELSE 'on'
    END, false),
    set_config('statement_timeout', %s, false),
    set_config('lock_timeout', '0', false),
    set_config('default_transaction_isolation', 'read committed', false),
    current_setting('server_encoding')
"""


async def prepare(connection: AsyncConnection[Any], limits: StorageLimits) -> None:
    """Make a new connection what the gateway needs; raise UnavailableError or an error of psycopg."""
    milliseconds = str(max(1, round(limits.busy_timeout_seconds * 1_000)))
    row = await (await connection.execute(_SESSION, (milliseconds,))).fetchone()
    if row is None or row[-1] != "UTF8":
        message = "its database is not in UTF-8: make one with ENCODING 'UTF8'"
        raise UnavailableError(message)
    if await version_of(connection) < SCHEMA_VERSION:
        await _migrate(connection)


async def version_of(connection: AsyncConnection[Any]) -> int:
    """Return the schema version of the database, 0 where it has none; raise UnavailableError where it is none of ours.

    What is not there is asked for without an error, which would end a transaction.
    """
    row = await (await connection.execute("SELECT to_regclass('nexus_schema') IS NOT NULL")).fetchone()
    if row is None or not row[0]:
        return 0
    found = await (await connection.execute("SELECT version FROM nexus_schema")).fetchone()
    version: int = found[0] if found else 0
    if not 0 <= version <= SCHEMA_VERSION:
        message = f"its database has schema version {version}, and this program knows {SCHEMA_VERSION}"
        raise UnavailableError(message)
    return version


async def _migrate(connection: AsyncConnection[Any]) -> None:
    async with connection.transaction():
        await connection.execute(_LOCK, (_LOCK_NUMBER,))
        version = await version_of(connection)
        for statements in _STEPS[version:]:
            for statement in statements:
                await connection.execute(statement)
        if version < SCHEMA_VERSION:
            await connection.execute(_MAKE_VERSION)
            await connection.execute(_SET_VERSION, (SCHEMA_VERSION,))
