"""A queue of letters to write, in a table of PostgreSQL.

A worker *claims* jobs for a time, its lease, in one statement: ``FOR UPDATE SKIP LOCKED`` passes over the rows that
another worker is claiming at this moment, so that nobody waits for anybody. A job that is done is marked so in the
transaction that stores its letter. Where a worker dies, the lease ends and another worker claims the job. The number of
the attempt tells a late worker that its job is somebody else's by now.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

LOCK = "SELECT pg_advisory_xact_lock(hashtext('mail_queue'))"
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address  text NOT NULL,
    state    text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'done', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    due      timestamptz NOT NULL DEFAULT now(),  -- waiting: not before; claimed: the end of the lease
    worker   integer,                             -- the process that claimed it last
    error    text
);
CREATE INDEX IF NOT EXISTS jobs_to_do ON jobs (id) WHERE state IN ('waiting', 'claimed');
CREATE TABLE IF NOT EXISTS letters (
    job     bigint PRIMARY KEY REFERENCES jobs,
    text    text NOT NULL,
    version bigint NOT NULL,                      -- of the configuration that it was written with
    worker  integer NOT NULL
);
"""
BURY = """
UPDATE jobs SET state = 'dead', error = 'its worker died, or took longer than its lease'
WHERE id IN (
    SELECT id FROM jobs WHERE state = 'claimed' AND due <= now() AND attempts >= %(max_attempts)s
    FOR UPDATE SKIP LOCKED
)
"""
CLAIM = """
WITH next AS (
    SELECT id FROM jobs WHERE state IN ('waiting', 'claimed') AND due <= now()
    ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET state = 'claimed', attempts = attempts + 1,
    due = now() + make_interval(secs => %(lease_seconds)s), worker = %(worker)s
FROM next WHERE jobs.id = next.id
RETURNING jobs.id, address, attempts
"""
DONE = """
WITH ended AS (
    UPDATE jobs SET state = 'done', error = NULL
    WHERE id = %(id)s AND state = 'claimed' AND attempts = %(attempt)s
    RETURNING id
)
INSERT INTO letters (job, text, version, worker) SELECT id, %(text)s, %(version)s, %(worker)s FROM ended
"""
FAILED = """
UPDATE jobs SET state = CASE WHEN attempts >= %(max_attempts)s THEN 'dead' ELSE 'waiting' END,
    due = now() + make_interval(secs => %(pause_seconds)s), error = %(error)s
WHERE id = %(id)s AND state = 'claimed' AND attempts = %(attempt)s
"""
ENDS = """
SELECT id, coalesce(text, 'dead: ' || error) FROM jobs LEFT JOIN letters ON job = id
WHERE state IN ('done', 'dead') ORDER BY id
"""


@dataclass(frozen=True)
class Job:
    """One job that this worker has claimed."""

    id: int
    address: str
    attempt: int


class Queue:
    """The queue in one database; a lost connection is replaced before the next use."""

    def __init__(self, dsn: str, connect_seconds: int) -> None:
        self._connect = partial(psycopg.connect, dsn, connect_timeout=connect_seconds)
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            dsn,
            kwargs={"connect_timeout": connect_seconds},
            min_size=0,
            max_size=1,
            open=False,
            timeout=2 * connect_seconds,
            check=ConnectionPool.check_connection,
        )

    def open(self) -> None:
        """Connect, and make the tables where they are missing; raise an error of psycopg where that can't be done."""
        with self._connect() as connection:
            connection.execute(LOCK)  # of many workers that start at once, one makes them
            connection.execute(SCHEMA)
        self._pool.open()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def add(self, addresses: list[str]) -> int:
        """Add a job for each address, and return how many."""
        with self._pool.connection() as connection:
            connection.cursor().executemany("INSERT INTO jobs (address) VALUES (%s)", [(one,) for one in addresses])
        return len(addresses)

    def claim(self, batch: int, max_attempts: int, lease_seconds: float) -> list[Job]:
        """Take the oldest jobs that are due; nobody else gets them while the lease lasts."""
        facts = {"batch": batch, "lease_seconds": lease_seconds, "max_attempts": max_attempts, "worker": os.getpid()}
        with self._pool.connection() as connection:
            connection.execute(BURY, facts)
            claimed = [Job(*row) for row in connection.execute(CLAIM, facts)]
        return sorted(claimed, key=lambda job: job.id)

    def done(self, job: Job, text: str, version: int) -> bool:
        """Store the letter and that the job is done, both or none; return whether the job was still ours."""
        facts = {"id": job.id, "attempt": job.attempt, "text": text, "version": version, "worker": os.getpid()}
        with self._pool.connection() as connection:
            return connection.execute(DONE, facts).rowcount == 1

    def failed(self, job: Job, error: str, max_attempts: int, pause_seconds: float) -> None:
        """Have a job tried again after a pause, or call it dead after its last attempt."""
        facts = {"id": job.id, "attempt": job.attempt, "error": error}
        with self._pool.connection() as connection:
            connection.execute(FAILED, {**facts, "max_attempts": max_attempts, "pause_seconds": pause_seconds})

    def ends(self) -> list[str]:
        """Return a line for each job that has come to its end."""
        with self._pool.connection() as connection:
            return [f"{number}: {told}" for number, told in connection.execute(ENDS)]

    def is_finished(self) -> bool:
        """Return whether every job has come to its end."""
        with self._pool.connection() as connection:
            left = connection.execute("SELECT 1 FROM jobs WHERE state IN ('waiting', 'claimed') LIMIT 1").fetchone()
        return left is None
