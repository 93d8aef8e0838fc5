"""The thread that writes to one SQLite file: many requests, one transaction, one fsync.

Decided here: which records share a transaction (all that wait, up to a limit), how much may wait, and who is told what.
Not decided here: how the file is kept (``sqlite_file.py``), what a record holds (``records.py``) and who may write it
(``permissions.py``).

The event loop never waits for the disk: it gets a future for each record.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import sqlite_statements
from .records import Record
from .sqlite_file import SqliteFile
from .storage import Once, ReusedKeyError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from .storage import StorageLimits

__all__ = ["SqliteWriter"]

_log = logging.getLogger(__name__)

_Outcome = str | ReusedKeyError | UnavailableError
"""How a job ends: with the id that is stored, or with what is raised."""


@dataclass(frozen=True, slots=True)
class _Job:
    """Hold one record, or None for a probe, and the future that tells its end."""

    record: Record | None
    once: Once | None
    size: int
    end: asyncio.Future[str]


class SqliteWriter:
    """Write records to one SQLite file; used from one event loop, works in one thread of its own."""

    def __init__(self, name: str, path: Path, limits: StorageLimits) -> None:
        self.name = name
        self._limits = limits
        self._file = SqliteFile(path, limits.busy_timeout_seconds)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting_records = 0
        self._waiting_bytes = 0
        self._thread = threading.Thread(target=self._work, name=f"destination {name}", daemon=True)

    def start(self) -> None:
        """Start the thread; the file is opened by the first record or probe."""
        self._thread.start()

    async def write(self, record: Record, once: Once | None = None) -> str:
        """Return the id that is on disk; raise UnavailableError where that can't be said, or ReusedKeyError."""
        size = len(record.body)
        if self._waiting_records >= self._limits.waiting_records or (
            self._waiting_records and self._waiting_bytes + size > self._limits.waiting_bytes
        ):
            message = "too many writes wait for it"
            raise UnavailableError(message)
        return await self._end(record, once, size)

    async def probe(self) -> None:
        """Return when the file is open and is the one that its path names; raise UnavailableError otherwise."""
        await self._end(None, None, 0)

    async def close(self) -> None:
        """Write what waits, then close the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _end(self, record: Record | None, once: Once | None, size: int) -> str:
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting_records += 1
        self._waiting_bytes += size
        self._jobs.put(_Job(record, once, size, end))
        try:
            async with asyncio.timeout(self._limits.answer_timeout_seconds):
                return await end
        except TimeoutError:
            message = "it did not confirm the write in time, which may have been made or not"
            raise UnavailableError(message) from None

    def _work(self) -> None:
        """Be the thread: take what waits, write it, tell everybody."""
        healthy = True
        while batch := self._take():
            outcomes, reason = self._outcomes(batch)
            if healthy and reason is not None:
                _log.warning("destination %s takes no writes: %s", self.name, reason)
                healthy = False
            elif not healthy and reason is None and any(job.record is not None for job in batch):
                _log.info("destination %s takes writes again", self.name)
                healthy = True
            batch[0].end.get_loop().call_soon_threadsafe(self._tell, batch, outcomes)
        self._file.close()

    def _outcomes(self, batch: list[_Job]) -> tuple[list[_Outcome], str | None]:
        """Write a batch; return how each job ends, and why none was written or None."""
        entries = [(job.record, job.once) for job in batch if job.record is not None]
        try:
            with self._file.connected() as connection:
                stored = sqlite_statements.store(connection, entries, self._limits.forgotten_keys) if entries else []
        except UnavailableError as error:
            return [UnavailableError(str(error)) for _ in batch], str(error)
        each = iter(stored)
        return ["" if job.record is None else next(each) for job in batch], None

    def _take(self) -> list[_Job]:
        """Wait for a job and return it with all that wait behind it; nothing more after the end mark."""
        batch: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            if len(batch) >= self._limits.batch_records:
                return batch
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            self._jobs.put(None)
        return batch

    def _tell(self, batch: list[_Job], outcomes: list[_Outcome]) -> None:
        """End every job of a batch; called in the event loop."""
        for job, outcome in zip(batch, outcomes, strict=True):
            self._waiting_records -= 1
            self._waiting_bytes -= job.size
            if job.end.done():
                continue
            if isinstance(outcome, str):
                job.end.set_result(outcome)
            else:
                job.end.set_exception(outcome)
