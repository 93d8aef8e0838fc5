"""The ledger: what the journal's records add up to.

Decided here: what each record changes, and how much of the past is remembered. Not decided here: which stored version
is intact (``supervisor/recovery.py``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, assert_never

from nexus_supervisor.core import manifest as manifests
from nexus_supervisor.core.history import MAX_QUARANTINED
from nexus_supervisor.core.past import Past, facts_of, moment
from nexus_supervisor.core.records import (
    Answered,
    Burnt,
    Candidate,
    Checkpoint,
    Committed,
    Ended,
    Pinned,
    Quarantined,
    Record,
    Released,
    Remembered,
    Spawned,
    Unpinned,
)
from nexus_supervisor.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_PAST", "MAX_PUSHES", "MAX_QUARANTINED", "Ledger", "Past"]

MAX_PAST: Final = 1_000
"""How many versions and requests the ledger remembers, where nobody says otherwise."""

MAX_PUSHES: Final = 16
"""How many requests a version names; the oldest of more is named by itself alone."""

_NAMED: Final = ("origin", "reason", "kind", "requester", "changes", "at")
"""What a candidate's record says of its past, where it says something."""


class Ledger:
    """Add up records, one by one, and remember the newest ``kept`` versions and requests."""

    def __init__(self, records: Iterable[Record] = (), kept: int = MAX_PAST) -> None:
        self.highest = 0
        self.committed: deque[int] = deque(maxlen=MAX_PAST)
        self.pinned: str | None = None
        self.quarantined: dict[str, str] = {}
        self.spawned: dict[str, Spawned] = {}
        self.answered: dict[str, Answered] = {}
        self._past: dict[int, Past] = {}
        self._kept = kept
        for record in records:
            self.note(record)

    def note(self, record: Record) -> None:  # noqa: C901, PLR0912 - one line for each record
        """Take one more record into account."""
        match record:
            case Candidate():
                self._offer(record)
            case Committed():
                self._commit(record.version)
            case Burnt():
                self._name(record.version, outcome="burnt", detail=record.reason)
            case Ended():
                self._end(record)
            case Answered():
                self._answer(record)
            case Remembered():
                self._remember(record)
            case Spawned():
                self.spawned[record.slot] = record
            case Pinned():
                self.pinned = record.digest
            case Unpinned():
                self.pinned = None
            case Quarantined():
                self._quarantine(record)
            case Released():
                self.quarantined.pop(record.digest, None)
            case Checkpoint():
                self._resume(record)
            case _:
                assert_never(record)

    def keep(self, kept: int) -> None:
        """Remember so many versions and requests from now on; what is over that is forgotten at once."""
        self._kept = kept
        self._forget()

    def checkpoint(self, chain: bytes) -> Checkpoint:
        """Return the record that sums up all so far, with the journal's last hash."""
        committed = self.committed[-1] if self.committed else None
        return Checkpoint(self.highest, committed, chain, self.pinned, dict(self.quarantined))

    def memories(self) -> Iterable[Record]:
        """Yield the records that carry the history, and the latest process of each slot, into a shorter journal."""
        for past in self.history:
            yield Remembered(past.version, past.encode())
        yield from self.answered.values()
        yield from self.spawned.values()

    @property
    def unfinished(self) -> bool:
        """Return whether nothing is known of the end of the newest version."""
        return bool(self._past) and self._past[max(self._past)].outcome == "offered"

    def past(self, version: int) -> Past | None:
        """Return what became of a version, or None where nothing is known of it."""
        return self._past.get(version)

    def outcome(self, version: int) -> str:
        """Return the word for what became of a version, or "" where nothing is known of it."""
        return self._past[version].outcome if version in self._past else ""

    @property
    def history(self) -> tuple[Past, ...]:
        """Return what became of the versions, oldest first."""
        return tuple(past for _, past in sorted(self._past.items()))

    def _offer(self, record: Candidate) -> None:
        """Name a candidate; what an older format doesn't say of it, its manifest does."""
        facts: dict[str, Any] = {name: getattr(record, name) for name in _NAMED if getattr(record, name)}
        self._name(record.version, **_stated(record) | facts)

    def _commit(self, version: int) -> None:
        if not self.committed or self.committed[-1] != version:
            self.committed.append(version)
        self._name(version, outcome="committed")

    def _end(self, record: Ended) -> None:
        facts: dict[str, Any] = {"outcome": record.outcome, "detail": record.reason, "ended_at": record.at}
        if record.requester:
            facts["requester"] = record.requester
        if numbers := facts_of(record.numbers):
            facts["numbers"] = numbers
        self._name(record.version, **facts)

    def _answer(self, record: Answered) -> None:
        """Remember an answer, and name it with the version that it speaks of, if that is remembered."""
        self.answered.pop(record.push_id, None)
        self.answered[record.push_id] = record
        known = self._past.get(record.version)
        if known is not None and record.push_id not in known.pushes:
            self._name(record.version, pushes=(*known.pushes, record.push_id)[-MAX_PUSHES:])
        self._forget()

    def _remember(self, record: Remembered) -> None:
        self._past[record.version] = Past.decode(record.version, record.line)
        self.highest = max(self.highest, record.version)
        self._forget()

    def _resume(self, record: Checkpoint) -> None:
        self.highest = max(self.highest, record.version)
        self.pinned, self.quarantined = record.pinned, dict(record.quarantined)
        if record.committed is not None:
            self.committed.append(record.committed)

    def _quarantine(self, record: Quarantined) -> None:
        self.quarantined[record.digest] = record.reason
        while len(self.quarantined) > MAX_QUARANTINED:
            del self.quarantined[next(iter(self.quarantined))]

    def _name(self, version: int, **facts: Any) -> None:
        self.highest = max(self.highest, version)
        self._past[version] = replace(self._past.get(version) or Past(version), **facts)
        self._forget()

    def _forget(self) -> None:
        while len(self._past) > self._kept:
            del self._past[next(iter(self._past))]
        while len(self.answered) > self._kept:
            del self.answered[next(iter(self.answered))]


def _stated(record: Candidate) -> dict[str, Any]:
    """Return what a candidate's manifest says; nothing where it can't be read, which whoever needs it will tell."""
    try:
        manifest = manifests.decode(record.manifest)
    except ProtocolError:
        return {}
    created = moment(manifest.created_at)
    return {"digest": manifest.digest, "rollback_of": manifest.rollback_of, "at": created}
