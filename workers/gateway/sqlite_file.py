"""One SQLite file: how it is opened, and what an error means to the client.

Decided here: the mode (write-ahead log, ``synchronous`` FULL, so that a commit is on disk when it returns), the schema,
and the words for each error. Not decided here: which records share a transaction, and in which thread
(``sqlite_writer.py``).

Every worker has its own connection and takes the file's write lock by ``BEGIN IMMEDIATE``, waiting for the others no
longer than ``busy_timeout_seconds``. A file that was deleted or replaced is noticed before each transaction, or what
was answered with 201 would go to a file that nobody sees.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .records import Record

__all__ = ["SCHEMA_VERSION", "SqliteFile", "UnavailableError"]

SCHEMA_VERSION = 1
_PREPARE_PAUSE_SECONDS = 0.01

_SCHEMA = """
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
"""
_INSERT = """
INSERT INTO memories (id, source, namespace, created_at, tier, profile, actor_type, actor_id, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_REASONS = {
    "SQLITE_BUSY": "it is locked by somebody else",
    "SQLITE_LOCKED": "it is locked by somebody else",
    "SQLITE_READONLY": "it can't be written to",
    "SQLITE_PERM": "it can't be written to",
    "SQLITE_CANTOPEN": "it can't be opened",
    "SQLITE_FULL": "its disk is full",
    "SQLITE_IOERR": "its disk reports an error",
    "SQLITE_CORRUPT": "it is damaged",
    "SQLITE_NOTADB": "it is not a SQLite database",
}


class UnavailableError(Exception):
    """Say in the rest of a sentence why a destination can't take a record now."""


class SqliteFile:
    """Hold the connection to one file; used by one thread."""

    def __init__(self, path: Path, busy_timeout_seconds: float) -> None:
        self._path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)

    def write(self, records: list[Record]) -> str | None:
        """Commit all records in one transaction; return why none of them was written, or None."""
        try:
            connection = self._open()
            if records:
                _insert(connection, records)
        except UnavailableError as error:
            return str(error)
        except sqlite3.Error as error:
            self.close()
            return _reason(error)
        except OSError as error:
            self.close()
            return f"it can't be reached: {error.strerror}"
        return None

    def close(self) -> None:
        """Close the connection; what is not committed is gone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity != _identity(self._path):
            self.close()
        if self._connection is None:
            if not self._path.parent.is_dir():
                message = "the directory of its db_path does not exist: make it"
                raise UnavailableError(message)
            self._connection = self._connect_patiently()
            self._identity = _identity(self._path)
        return self._connection

    def _connect_patiently(self) -> sqlite3.Connection:
        """Connect, trying again while others prepare the file: a change of the journal mode doesn't wait by itself."""
        deadline = time.monotonic() + self._busy_timeout_seconds
        while True:
            try:
                return _connect(self._path, self._busy_timeout_seconds)
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() >= deadline:
                    raise
            time.sleep(_PREPARE_PAUSE_SECONDS)


def _identity(path: Path) -> tuple[int, int]:
    """Return device and inode of a file, zeros where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def _connect(path: Path, busy_timeout_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy_timeout_seconds, isolation_level=None)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Bring the file to our mode and schema; every worker does this at once, and each finds it done or does it."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            message = "its file system can't keep a write-ahead log"
            raise UnavailableError(message)
    connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        message = f"its file has schema version {version}, and this program knows {SCHEMA_VERSION}"
        raise UnavailableError(message)
    if version < SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _insert(connection: sqlite3.Connection, records: list[Record]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        _INSERT,
        [_row(record) for record in records],
    )
    connection.execute("COMMIT")


def _row(record: Record) -> tuple[str | int, ...]:
    return (
        record.id,
        record.source,
        record.namespace,
        record.created_at,
        record.tier,
        record.profile,
        record.actor_type,
        record.actor_id,
        record.body,
    )


def _reason(error: sqlite3.Error) -> str:
    """Return the rest of a sentence for an error of SQLite; its own text may hold paths, so it is not shown."""
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    primary = "_".join(name.split("_")[:2])
    return _REASONS.get(primary, f"its database reports {name}")
