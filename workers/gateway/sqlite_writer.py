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

from .records import Record
from .sqlite_file import SqliteFile, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SqliteWriter", "WriterLimits"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """Bound what may wait in one worker for one file, and for how long."""

    waiting_records: int = 1_024
    waiting_bytes: int = 64 * 1024 * 1024
    batch_records: int = 256
    busy_timeout_seconds: float = 5.0
    answer_timeout_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class _Job:
    """Hold one record, or None for a probe, and the future that tells its end."""

    record: Record | None
    size: int
    end: asyncio.Future[None]


class SqliteWriter:
    """Write records to one SQLite file; used from one event loop, works in one thread of its own."""

    def __init__(self, name: str, path: Path, limits: WriterLimits) -> None:
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

    async def write(self, record: Record) -> None:
        """Return when the record is on disk; raise UnavailableError where that can't be said."""
        size = len(record.body)
        if self._waiting_records >= self._limits.waiting_records or (
            self._waiting_records and self._waiting_bytes + size > self._limits.waiting_bytes
        ):
            message = "too many writes wait for it"
            raise UnavailableError(message)
        await self._end(record, size)

    async def probe(self) -> None:
        """Return when the file is open and is the one that its path names; raise UnavailableError otherwise."""
        await self._end(None, 0)

    async def close(self) -> None:
        """Write what waits, then close the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _end(self, record: Record | None, size: int) -> None:
        end = asyncio.get_running_loop().create_future()
        self._waiting_records += 1
        self._waiting_bytes += size
        self._jobs.put(_Job(record, size, end))
        try:
            async with asyncio.timeout(self._limits.answer_timeout_seconds):
                await end
        except TimeoutError:
            message = "it did not confirm the write in time, which may have been made or not"
            raise UnavailableError(message) from None

    def _work(self) -> None:
        """Be the thread: take what waits, write it, tell everybody."""
        healthy = True
        while batch := self._take():
            reason = self._file.write([job.record for job in batch if job.record is not None])
            if healthy and reason is not None:
                _log.warning("destination %s takes no writes: %s", self.name, reason)
            elif not healthy and reason is None:
                _log.info("destination %s takes writes again", self.name)
            healthy = reason is None
            batch[0].end.get_loop().call_soon_threadsafe(self._tell, batch, reason)
        self._file.close()

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

    def _tell(self, batch: list[_Job], reason: str | None) -> None:
        """End every job of a batch; called in the event loop."""
        for job in batch:
            self._waiting_records -= 1
            self._waiting_bytes -= job.size
            if job.end.done():
                continue
            if reason is None:
                job.end.set_result(None)
            else:
                job.end.set_exception(UnavailableError(reason))
