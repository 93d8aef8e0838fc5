"""Versions on their way to disk: one thread for the journal, one for compiled/.

Decided here: that nothing in the loop waits for a disk, and that the journal never waits for a version directory. Not
decided here: what is recorded and when (``core/journeys.py``), and how (``store.py``).
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from nexus_supervisor.core import canonical, effects
from nexus_supervisor.core.events import Archived, CommitRecorded, Event, Recorded, RecordFailed
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.records import (
    Answered,
    Burnt,
    Candidate,
    Committed,
    Ended,
    Pinned,
    Quarantined,
    Record,
    Released,
    Spawned,
    Unpinned,
)
from nexus_supervisor.errors import DamageError, NexusError
from nexus_supervisor.supervisor import clock
from nexus_supervisor.supervisor.signals import deafen

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from nexus_supervisor.core.content import Digest, Version
    from nexus_supervisor.supervisor.store import Retention, Store, Stored

    Loaded = Callable[[Stored | None, tuple[Problem, ...]], None]

__all__ = ["Records"]

T = TypeVar("T")
_KEPT_VERSIONS = 8
MAX_LISTED = 20
"""How many problems and keys of an answer the journal holds."""


class Records:
    """Hold the store, its two threads, and the issued versions that may still be needed.

    ``post`` takes events from any thread; ``told`` takes what the store wants people to know, from any thread.
    """

    def __init__(self, store: Store, post: Callable[[Event], None], told: Callable[[Notice], None]) -> None:
        self._store, self._post, self._told = store, post, told
        self._journal = ThreadPoolExecutor(1, "journal", initializer=deafen)
        self._archive = ThreadPoolExecutor(1, "archive", initializer=deafen)
        self._issued: deque[Stored] = deque(maxlen=_KEPT_VERSIONS)
        self.committed: Stored | None = store.recovered.committed

    def issued(self, version: Version) -> Stored:
        """Return a version that was issued lately, or the committed one; raise KeyError otherwise."""
        committed = (self.committed,) if self.committed is not None else ()
        stored: Stored
        for stored in (*self._issued, *committed):
            if stored.version == version:
                return stored
        raise KeyError(version)

    def candidate(self, stored: Stored, delta: bytes, effect: effects.Record, changes: str) -> None:
        """Make a version durable; Recorded or RecordFailed follows. One that revokes may have the last reserve."""
        self._issued.append(stored)
        record = Candidate(
            stored.version,
            stored.manifest_bytes,
            stored.signature,
            delta,
            effect.reason,
            "directory" if effect.rollback_of is None else "rollback",
            effect.kind,
            effect.requester,
            changes,
            clock.wall(),
        )
        self._append(record, Recorded(effect.version), effect.version, reserve=effect.revokes)

    def commit(self, version: Version) -> None:
        """Make a commit durable; CommitRecorded or RecordFailed follows."""
        self.committed = self.issued(version)
        self._append(Committed(version), CommitRecorded(version), version)

    def burn(self, version: Version, reason: str) -> None:
        """Note that a number is used up."""
        self._append(Burnt(version, reason), None, version, durable=False)

    def ended(self, effect: effects.End) -> None:
        """Note how a version's journey ended, who had asked for it, and which numbers speak for that."""
        numbers = canonical.encode(effect.numbers)
        record = Ended(effect.version, effect.outcome, effect.reason, effect.requester, clock.wall(), numbers)
        self._append(record, None, effect.version, durable=False)

    def answered(self, note: effects.Note) -> None:
        """Note how a request ended: the whole answer, as far as a journal should hold it."""
        outcome = note.outcome
        record = Answered(
            note.push_id,
            note.verb,
            note.reason,
            note.requester,
            outcome.exit_code,
            outcome.word,
            outcome.text,
            outcome.version or 0,
            clock.wall(),
            outcome.workers,
            outcome.held[:MAX_LISTED],
            outcome.problems[:MAX_LISTED],
            canonical.encode(outcome.numbers),
        )
        self._append(record, None, None, durable=False)

    def pin(self, digest: Digest | None) -> None:
        """Make durable which content of the directory is not applied by itself: a power cut must not undo that."""
        self._append(Unpinned() if digest is None else Pinned(digest), None, None)

    def quarantine(self, digest: Digest, reason: str) -> None:
        """Note that a content failed."""
        self._append(Quarantined(digest, reason), None, None, durable=False)

    def release(self, effect: effects.Release) -> None:
        """Note that a content which failed may be tried again."""
        record = Released(effect.digest, effect.reason, effect.requester, clock.wall())
        self._append(record, None, None, durable=False)

    def spawned(self, record: Spawned) -> None:
        """Note that a process was started."""
        self._append(record, None, None, durable=False)

    def keep(self, retention: Retention) -> None:
        """Keep so much from now on."""
        self._watched(self._journal.submit(self._store.keep, retention))

    def recall(self, version: int | None, loaded: Loaded) -> None:
        """Have an older version read from compiled/, every byte of it checked.

        ``loaded`` is called in the thread of compiled/, with the version or with what is wrong with it.
        """

        def load() -> None:
            try:
                found = self._store.recall(version)
            except Exception as error:  # noqa: BLE001 - the fleet waits for an answer, whatever went wrong
                loaded(None, (_problem(error),))
            else:
                loaded(found, ())

        self._watched(self._archive.submit(load))

    def archive(self, version: Version) -> None:
        """Write a committed version to compiled/; Archived follows."""
        stored = self.issued(version)

        def write() -> None:
            failure = None
            try:
                self._store.archive(stored)
            except Exception as error:  # noqa: BLE001 - the fleet waits for an answer, whatever went wrong
                failure = _in_words(error)
            self._post(Archived(version, failure))

        self._watched(self._archive.submit(write))

    def flush(self, seconds: float) -> None:
        """Wait until what is queued is written; raise TimeoutError where the disk takes longer than that."""
        for pool in (self._archive, self._journal):
            pool.submit(int).result(seconds)

    def close(self) -> None:
        """Let what is queued be written, then close the journal."""
        self._archive.shutdown()
        self._journal.shutdown()
        self._store.close()

    def _append(
        self, record: Record, done: Event | None, version: Version | None, *, durable: bool = True, reserve: bool = True
    ) -> None:
        """Append a record in the journal's thread; one that needs not be durable never has the last reserve."""

        def write() -> None:
            try:
                notices = self._store.record(record, durable=durable, reserve=reserve and durable)
            except Exception as error:  # noqa: BLE001 - the fleet waits for an answer, whatever went wrong
                reason = _in_words(error)
                if version is not None and done is not None:
                    self._post(RecordFailed(version, reason))
                else:
                    self._told(Notice("journal_failed", "error", f"A record was lost: {reason}.", {"version": version}))
                return
            if done is not None:
                self._post(done)
            for notice in notices:
                self._told(notice)

        self._watched(self._journal.submit(write))

    def _watched(self, future: Future[T]) -> None:
        """Let no mistake of ours vanish in a thread."""
        future.add_done_callback(lambda done: done.result())


def _problem(error: Exception) -> Problem:
    """Return why a version can't be recalled."""
    file = error.file if isinstance(error, DamageError) else ""
    return Problem(file or ".", 0, "", "unreadable" if file else "missing", _in_words(error))


def _in_words(error: Exception) -> str:
    """Return what went wrong: the sentence of an error that is meant for people, else only its kind."""
    return str(error) if isinstance(error, (OSError, NexusError)) else f"a mistake of ours ({type(error).__name__})"
