"""A queue of letters to write, in a table of SQLite.

A worker *claims* jobs for a time, its lease, in a transaction of its own; a job that is done is marked so in the
transaction that stores its letter. Where a worker dies, the lease ends and another worker claims the job. The number
of the attempt tells a late worker that its job is somebody else's by now.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = Path(__file__).parent / "data" / "queue.db"

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id       INTEGER PRIMARY KEY,
    address  TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'done', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due      REAL NOT NULL DEFAULT 0,  -- waiting: not before; claimed: the end of the lease; Unix time
    worker   INTEGER,                  -- the process that claimed it last
    error    TEXT
);
CREATE INDEX IF NOT EXISTS jobs_to_do ON jobs (id) WHERE state IN ('waiting', 'claimed');
CREATE TABLE IF NOT EXISTS letters (
    job     INTEGER PRIMARY KEY REFERENCES jobs,
    text    TEXT NOT NULL,
    version INTEGER NOT NULL,          -- of the configuration that it was written with
    worker  INTEGER NOT NULL
);
"""
BURY = """
UPDATE jobs SET state = 'dead', error = 'its worker died, or took longer than its lease'
WHERE state = 'claimed' AND due <= :now AND attempts >= :max_attempts
"""
CLAIM = """
UPDATE jobs SET state = 'claimed', attempts = attempts + 1, due = :now + :lease_seconds, worker = :worker
WHERE id IN (SELECT id FROM jobs WHERE state IN ('waiting', 'claimed') AND due <= :now ORDER BY id LIMIT :batch)
RETURNING id, address, attempts
"""
DONE = "UPDATE jobs SET state = 'done', error = NULL WHERE id = :id AND state = 'claimed' AND attempts = :attempt"
FAILED = """
UPDATE jobs SET state = CASE WHEN attempts >= :max_attempts THEN 'dead' ELSE 'waiting' END,
    due = :now + :pause_seconds, error = :error
WHERE id = :id AND state = 'claimed' AND attempts = :attempt
"""
SEND = "INSERT INTO letters (job, text, version, worker) VALUES (:id, :text, :version, :worker)"


@dataclass(frozen=True)
class Job:
    """One job that this worker has claimed."""

    id: int
    address: str
    attempt: int


class Queue:
    """The queue in one file."""

    def __init__(self, path: Path = PATH) -> None:
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(SCHEMA)

    def add(self, addresses: list[str]) -> list[int]:
        """Add a job for each address, and return their numbers."""
        with self._transaction() as connection:
            added = [connection.execute("INSERT INTO jobs (address) VALUES (?)", (one,)).lastrowid for one in addresses]
        return [number for number in added if number is not None]

    def claim(self, batch: int, max_attempts: int, lease_seconds: float) -> list[Job]:
        """Take the oldest jobs that are due; nobody else gets them while the lease lasts."""
        now = time.time()
        with self._transaction() as connection:
            connection.execute(BURY, {"now": now, "max_attempts": max_attempts})
            facts = {"now": now, "lease_seconds": lease_seconds, "batch": batch, "worker": os.getpid()}
            claimed = [Job(*row) for row in connection.execute(CLAIM, facts)]
        return sorted(claimed, key=lambda job: job.id)

    def done(self, job: Job, text: str, version: int) -> bool:
        """Store the letter and that the job is done, both or none; return whether the job was still ours."""
        facts = {"id": job.id, "attempt": job.attempt, "text": text, "version": version, "worker": os.getpid()}
        with self._transaction() as connection:
            ours = connection.execute(DONE, facts).rowcount == 1
            if ours:
                connection.execute(SEND, facts)
        return ours

    def failed(self, job: Job, error: str, max_attempts: int, pause_seconds: float) -> None:
        """Have a job tried again after a pause, or call it dead after its last attempt."""
        facts = {"id": job.id, "attempt": job.attempt, "error": error, "max_attempts": max_attempts}
        with self._transaction() as connection:
            connection.execute(FAILED, {**facts, "now": time.time(), "pause_seconds": pause_seconds})

    def ends(self) -> list[str]:
        """Return a line for each job that has come to its end."""
        rows = self._connection.execute(
            "SELECT id, coalesce(text, 'dead: ' || error) FROM jobs LEFT JOIN letters ON job = id "
            "WHERE state IN ('done', 'dead') ORDER BY id"
        )
        return [f"{number}: {told}" for number, told in rows]

    def is_finished(self) -> bool:
        """Return whether every job has come to its end."""
        found = self._connection.execute("SELECT count(*) FROM jobs WHERE state IN ('waiting', 'claimed')").fetchone()
        return bool(found[0] == 0)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock of the file from the beginning: who waits for it waits here."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def opened() -> closing[Queue]:
    """Open the queue of this directory for a ``with`` block."""
    return closing(Queue())
