"""One SQLite file: how it is opened, and what an error means to the client.

Decided here: when a connection is kept and when it is made anew, and the words for each error. Not decided here: mode
and schema (``sqlite_schema.py``), what is written and read (``sqlite_statements.py``), and in which thread
(``sqlite_writer.py``, ``sqlite_reader.py``).

Every worker has its own connections and waits for the locks of others no longer than ``busy_timeout_seconds``. A file
that was deleted or replaced is noticed before each use, or what was answered with 201 would go to a file that nobody
sees.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .sqlite_schema import prepare
from .storage import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SqliteFile"]

_PREPARE_PAUSE_SECONDS = 0.01

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


class SqliteFile:
    """Hold one connection to one file; used by one thread at a time."""

    def __init__(self, path: Path, busy_timeout_seconds: float) -> None:
        self._path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to the file that the path names now; an error closes it and is an UnavailableError."""
        try:
            yield self._open()
        except UnavailableError:
            self.close()
            raise
        except sqlite3.Error as error:
            self.close()
            raise UnavailableError(_reason(error)) from None
        except OSError as error:
            self.close()
            message = f"it can't be reached: {error.strerror}"
            raise UnavailableError(message) from None

    def close(self) -> None:
        """Close the connection; what is not committed is gone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._identity is None or self._identity != _identity(self._path):
            self.close()
        if self._connection is None:
            if not self._path.parent.is_dir():
                message = "the directory of its db_path does not exist: make it"
                raise UnavailableError(message)
            self._identity = _identity(self._path)  # first: a file that is replaced meanwhile is noticed later
            self._connection = self._connect_patiently()
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


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file, None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _connect(path: Path, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Open the file and prepare it; the threads of a pool take turns, so the connection isn't bound to one."""
    connection = sqlite3.connect(path, timeout=busy_timeout_seconds, isolation_level=None, check_same_thread=False)
    try:
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _reason(error: sqlite3.Error) -> str:
    """Return the rest of a sentence for an error of SQLite; its own text may hold paths, so it is not shown."""
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    primary = "_".join(name.split("_")[:2])
    return _REASONS.get(primary, f"its database reports {name}")
