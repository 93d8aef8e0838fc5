"""The store: everything about versions that outlives the supervisor.

Decided here: how journal and version directories are kept in step, and when the journal is made shorter. Not decided
here: the order of a rollout (``core/fleet.py``), what a record or a directory looks like (``journal.py``,
``archive.py``) and what a start may use (``recovery.py``).

``record`` belongs to one thread and ``archive`` to one other; what they share is one tuple, replaced as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nexus_supervisor.core import delta as deltas
from nexus_supervisor.core.ledger import Ledger
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.records import Burnt, Candidate, Committed, Record
from nexus_supervisor.core.trust import MAX_VERSION_STEP
from nexus_supervisor.errors import DirectoryError
from nexus_supervisor.supervisor.archive import Archive, Stored
from nexus_supervisor.supervisor.journal import Journal, JournalError, Opened
from nexus_supervisor.supervisor.recovery import Found, Recovered, Recovery, tail_notice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexus_supervisor.core.content import Content
    from nexus_supervisor.core.trust import Trust

__all__ = ["Recovered", "Store", "Stored"]

_STATE: Final = "state"
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


class Store:
    """Keep the versions of one directory; open it under the directory's lock."""

    def __init__(
        self, opened: Opened, archive: Archive, trust: Trust, *, kept_versions: int, journal_limit_bytes: int
    ) -> None:
        self._journal, self._archive, self._trust = opened.journal, archive, trust
        self._ledger = Ledger(opened.records)
        self._kept_versions = max(2, kept_versions)
        self._limit = self._compact_at = journal_limit_bytes
        self.holds_signatures = archive.signed() or _any_signed(opened.records)
        self.recovered = self._recover(opened)
        self._kept = Kept(self.recovered.committed, self.recovered.previous)

    @classmethod
    def open(cls, directory: Path, trust: Trust, *, kept_versions: int, journal_limit_bytes: int) -> Store:
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
            return cls(opened, archive, trust, kept_versions=kept_versions, journal_limit_bytes=journal_limit_bytes)
        except BaseException:
            opened.journal.close()
            raise

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
        self._archive.prune(self._kept_versions, frozenset(one.version for one in kept if one is not None))

    def load(self, version: int) -> Stored:
        """Return one version from its directory, every byte of it checked; raise DamageError otherwise."""
        return self._archive.load(version, self._trust.read)

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
        self._compact_at = max(self._limit, 2 * self._journal.size)

    def _essence(self, kept: Kept) -> Iterator[Record]:
        yield self._ledger.checkpoint(self._journal.chain)
        base: Content | None = None
        past = {one.version: one for one in self._ledger.history}
        for stored in (kept.previous, kept.committed):
            if stored is not None:
                known = past.get(stored.version)
                reason, origin = (known.reason, known.origin) if known else ("", "")
                delta = deltas.encode(stored.content.delta_from(base))
                yield Candidate(stored.version, stored.manifest_bytes, stored.signature, delta, reason, origin)
                yield Committed(stored.version)
                base = stored.content
        yield from self._ledger.spawned.values()


def _kept(found: list[Found]) -> Kept:
    return Kept(*(*(one.stored for one in found), None, None)[:2])


def _any_signed(records: tuple[Record, ...]) -> bool:
    return any(record.signature for record in records if isinstance(record, Candidate))
