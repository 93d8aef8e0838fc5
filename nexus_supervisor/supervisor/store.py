"""The store: everything about versions that outlives the supervisor.

Decided here: how journal and version directories are kept in step, when the journal is made shorter, and what is kept
for how long. Not decided here: the order of a rollout (``core/fleet.py``), what a record or a directory looks like
(``journal.py``, ``archive.py``) and what a start may use (``recovery.py``).

``record`` belongs to one thread, ``archive`` and ``recall`` to one other; what they share are two tuples, each replaced
as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nexus_supervisor.core import delta as deltas
from nexus_supervisor.core.ledger import MAX_PAST, Ledger
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.past import Past
from nexus_supervisor.core.records import Burnt, Candidate, Committed, Record
from nexus_supervisor.core.trust import MAX_VERSION_STEP
from nexus_supervisor.errors import DirectoryError, RejectedError
from nexus_supervisor.supervisor import clock
from nexus_supervisor.supervisor.archive import Archive, Stored, listed
from nexus_supervisor.supervisor.journal import Journal, JournalError, Opened
from nexus_supervisor.supervisor.recovery import Found, Recovered, Recovery, tail_notice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexus_supervisor.core.content import Content
    from nexus_supervisor.core.options import LimitSettings
    from nexus_supervisor.core.trust import Trust

__all__ = ["Recovered", "Retention", "Store", "Stored"]

_STATE: Final = "state"
_DAY_SECONDS: Final = 86_400.0
_FARTHEST: Final = MAX_VERSION_STEP // 2


class Kept(NamedTuple):
    """Name the committed version and the previous one with other content, both of them archived."""

    committed: Stored | None
    previous: Stored | None

    def after(self, stored: Stored) -> Kept:
        """Return what is kept once this version is archived; an older one changes nothing."""
        if self.committed is None:
            return Kept(stored, self.previous)
        if stored.version < self.committed.version:
            return self
        same = stored.content.digest == self.committed.content.digest
        return Kept(stored, self.previous if same else self.committed)


class Retention(NamedTuple):
    """Say how much is kept: versions in compiled/, by number and by age (0: any), history, and journal."""

    versions: int
    days: float
    history: int
    journal_bytes: int

    @classmethod
    def of(cls, limits: LimitSettings) -> Retention:
        """Return what settings ask for."""
        return cls(limits.kept_versions, limits.kept_days, limits.kept_history, limits.journal_max_bytes)

    def oldest(self, now: float) -> float:
        """Return the time before which a version is too old, in unix seconds like ``now``."""
        return now - self.days * _DAY_SECONDS if self.days else 0.0


class Store:
    """Keep the versions of one directory; open it under the directory's lock."""

    def __init__(self, opened: Opened, archive: Archive, trust: Trust, retention: Retention) -> None:
        self._journal, self._archive, self._trust = opened.journal, archive, trust
        self._ledger = Ledger(opened.records, retention.history)
        self._retention = retention
        self._compact_at = retention.journal_bytes
        self.holds_signatures = archive.signed() or _any_signed(opened.records)
        self.recovered = self._recover(opened)
        self._kept = Kept(self.recovered.committed, self.recovered.previous)

    @classmethod
    def open(
        cls,
        directory: Path,
        trust: Trust,
        *,
        kept_versions: int,
        journal_limit_bytes: int,
        kept_days: float = 0.0,
        kept_history: int = MAX_PAST,
    ) -> Store:
        """Open or create ``compiled/`` and ``state/`` and recover what they hold.

        Raise DirectoryError or JournalError where they can't be used. Damage that can be lived with is an alarm in
        ``recovered`` instead.
        """
        state = directory / _STATE
        archive = Archive(directory)
        try:
            state.mkdir(mode=0o700, exist_ok=True)
            state.chmod(0o700)
            archive.prepare()
        except OSError as error:
            message = f"{error.filename or directory} can't be used for versions ({error.strerror}): see who owns it"
            raise DirectoryError(message) from error
        opened = Journal.open(state)
        try:
            return cls(opened, archive, trust, Retention(kept_versions, kept_days, kept_history, journal_limit_bytes))
        except BaseException:
            opened.journal.close()
            raise

    def keep(self, retention: Retention) -> None:
        """Keep so much from the next record and the next version on; called in the thread of ``record``."""
        self._retention = retention
        self._compact_at = retention.journal_bytes
        self._ledger.keep(retention.history)

    def record(self, record: Record, *, durable: bool, reserve: bool = True) -> tuple[Notice, ...]:
        """Append one record, on the disk when this returns if ``durable``; return what people have to be told.

        Raise JournalError where the record is not in the journal: nothing may be built on it then.
        """
        self._journal.append(record, durable=durable, reserve=reserve)
        self._ledger.note(record)
        return () if isinstance(record, Candidate) else self._tidy()

    def archive(self, stored: Stored) -> None:
        """Write a committed version's directory and the pointer, durable when this returns; then prune.

        A second time does nothing. Raise OSError where the disk refuses; what was there before stays.
        """
        self._archive.write(stored)
        kept = self._kept.after(stored)
        if kept.committed is stored:
            self._archive.point(stored.version)
        self._kept = kept
        always = frozenset(one.version for one in kept if one is not None)
        self._archive.prune(self._retention.versions, self._retention.oldest(clock.wall()), always)

    def load(self, version: int) -> Stored:
        """Return one version from its directory, every byte of it checked; raise DamageError otherwise."""
        return self._archive.load(version, self._trust.read)

    def recall(self, version: int | None) -> Stored:
        """Return an older version; None: the newest before the committed one that has other content.

        Raise RejectedError where there is none, DamageError where its directory doesn't verify.
        """
        if version is None:
            if (previous := self._kept.previous) is None:
                message = "no version with other content was committed before: there is nothing to go back to"
                raise RejectedError(message)
            version = previous.version
        kept = self._archive.versions()
        if version not in kept:
            message = (
                f"version {version} can't be used: compiled/ keeps {f'only {listed(kept)}' if kept else 'none yet'}"
            )
            raise RejectedError(message)
        return self.load(version)

    def close(self) -> None:
        """Close the journal; a second time does nothing."""
        self._journal.close()

    def _recover(self, opened: Opened) -> Recovered:
        recovery = Recovery(self._archive, self._trust, opened.records)
        found = recovery.newest(self._ledger)
        known = self._ledger.highest
        highest = self._highest(opened, found)
        if opened.tail is not None:
            self._note(Burnt(highest, "the journal's end was damaged"))
            recovery.alarms.append(tail_notice(opened.tail, highest))
        recovery.alarms += self._write_back(found)
        committed, previous = kept = _kept(found)
        recovery.alarms += self._make_known(kept, known)
        quarantined = dict(self._ledger.quarantined)
        if committed is not None:
            quarantined.pop(committed.content.digest, None)
        return Recovered(
            committed=committed,
            previous=previous,
            highest=highest,
            pinned=self._ledger.pinned,
            quarantined=quarantined,
            incarnations={slot: spawned.incarnation for slot, spawned in self._ledger.spawned.items()},
            alarms=tuple(recovery.alarms),
            history=self._ledger.history,
            answered=dict(self._ledger.answered),
        )

    def _highest(self, opened: Opened, found: list[Found]) -> int:
        """Return the highest number that was ever given, as far as that can be known.

        A number that only a damaged directory or a damaged end names counts no farther than workers would follow: they
        refuse a leap, so that an empty directory with a huge name would otherwise stop every push from then on.
        """
        sure = max((self._ledger.highest, *(one.stored.version for one in found)))
        farthest = (found[0].stored.version if found else 0) + _FARTHEST
        named = (*self._archive.versions(), *(opened.tail.numbers if opened.tail is not None else ()))
        highest = max((sure, *(number for number in named if number <= farthest)))
        return highest if opened.tail is None else max(highest, sure + 1)

    def _write_back(self, found: list[Found]) -> Iterator[Notice]:
        """Bring directories and pointer to what was recovered."""
        try:
            for one in found:
                if not one.archived:
                    self._archive.write(one.stored)
            if found:
                self._archive.point(found[0].stored.version)
        except OSError as error:
            text = (
                f"compiled/ can't be brought up to date ({error.strerror}): see that its disk has room and who owns it."
            )
            yield Notice("journal_failed", "error", text, {"file": "compiled"})

    def _make_known(self, kept: Kept, highest: int) -> Iterator[Notice]:
        """Let the journal know what only directories knew; ``highest`` is the highest number that it knew."""
        if kept.committed is None or kept.committed.version <= max(self._ledger.committed, default=0):
            return
        if kept.committed.version > highest:
            yield from self._compact(kept)
            self._ledger.note(Committed(kept.committed.version))
        else:
            self._note(Committed(kept.committed.version))

    def _note(self, record: Record) -> None:
        self._journal.append(record, durable=True)
        self._ledger.note(record)

    def _tidy(self) -> tuple[Notice, ...]:
        """Take the ballast back if it was given away, and shorten a journal that is over its limit.

        Only while no version is under way, and once the committed one is archived: what is dropped is never missed.
        """
        self._journal.ballast.hold()
        kept = self._kept
        if self._journal.size <= self._compact_at or self._ledger.unfinished or kept.committed is None:
            return ()
        if not self._ledger.committed or kept.committed.version != self._ledger.committed[-1]:
            return ()
        return tuple(self._compact(kept))

    def _compact(self, kept: Kept) -> Iterator[Notice]:
        """Replace the journal by a checkpoint and what it takes to build the kept versions again."""
        try:
            self._journal.rewrite(self._essence(kept))
        except JournalError as error:
            yield Notice("journal_failed", "warning", f"The journal stays long: {error}.", {"file": "state/journal"})
        self._compact_at = max(self._retention.journal_bytes, 2 * self._journal.size)

    def _essence(self, kept: Kept) -> Iterator[Record]:
        """Yield what a shorter journal holds: the sum, the history, and the versions that are kept."""
        yield self._ledger.checkpoint(self._journal.chain)
        yield from self._ledger.memories()
        base: Content | None = None
        for stored in (kept.previous, kept.committed):
            if stored is not None:
                yield self._candidate(stored, base)
                yield Committed(stored.version)
                base = stored.content

    def _candidate(self, stored: Stored, base: Content | None) -> Candidate:
        known = self._ledger.past(stored.version) or Past(stored.version)
        return Candidate(
            stored.version,
            stored.manifest_bytes,
            stored.signature,
            deltas.encode(stored.content.delta_from(base)),
            known.reason,
            known.origin,
            known.kind,
            known.requester,
            known.changes,
            known.at,
        )


def _kept(found: list[Found]) -> Kept:
    return Kept(*(*(one.stored for one in found), None, None)[:2])


def _any_signed(records: tuple[Record, ...]) -> bool:
    return any(record.signature for record in records if isinstance(record, Candidate))
