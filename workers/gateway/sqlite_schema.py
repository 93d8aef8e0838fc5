"""The schema of a SQLite file: how each file gets it, whichever worker comes first.

Decided here: the tables, the mode (write-ahead log, ``synchronous`` FULL, so that a commit is on disk when it returns)
and how an older file becomes a newer one. Not decided here: when a file is opened (``sqlite_file.py``) and what is
written (``sqlite_statements.py``).

A newer schema only ever adds: workers of the version before, which write until a restart has replaced them, go on with
the connections that they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .storage import UnavailableError

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SCHEMA_VERSION", "prepare"]

SCHEMA_VERSION = 2

_STEPS = (
    (
        """
        CREATE TABLE IF NOT EXISTS memories (
            id         TEXT PRIMARY KEY NOT NULL,
            source     TEXT NOT NULL,
            namespace  TEXT NOT NULL,
            created_at TEXT NOT NULL,
            tier       INTEGER NOT NULL,
            profile    TEXT NOT NULL,
            actor_type TEXT NOT NULL,
            actor_id   TEXT NOT NULL,
            body       TEXT NOT NULL
        )
        """,
    ),
    (
        "CREATE INDEX IF NOT EXISTS memories_by_namespace ON memories (namespace, id)",
        """
        CREATE TABLE IF NOT EXISTS idempotency (
            source      TEXT NOT NULL,
            key         TEXT NOT NULL,
            id          TEXT NOT NULL,
            body_digest BLOB NOT NULL,
            expires_ms  INTEGER NOT NULL,
            PRIMARY KEY (source, key)
        )
        """,
        "CREATE INDEX IF NOT EXISTS idempotency_by_end ON idempotency (expires_ms)",
    ),
)
"""What makes schema version 1 of an empty file, version 2 of version 1, and so on."""


def prepare(connection: sqlite3.Connection) -> None:
    """Bring the file to our mode and schema; every worker does this at once, and each finds it done or does it."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            message = "its file system can't keep a write-ahead log"
            raise UnavailableError(message)
    connection.execute("PRAGMA synchronous = FULL")
    if _version(connection) < SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        for statements in _STEPS[_version(connection) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    """Return the schema version of the file, 0 where it has none; raise UnavailableError where it is none of ours."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version <= SCHEMA_VERSION:
        message = f"its file has schema version {version}, and this program knows {SCHEMA_VERSION}"
        raise UnavailableError(message)
    return version
