"""The ledger: what the journal's records add up to.

Decided here: what each record changes. Not decided here: which stored version is intact (``supervisor/recovery.py``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, assert_never

from nexus_supervisor.core.records import (
    Burnt,
    Candidate,
    Checkpoint,
    Committed,
    Ended,
    Pinned,
    Quarantined,
    Record,
    Spawned,
    Unpinned,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_PAST", "MAX_QUARANTINED", "Ledger", "Past"]

MAX_PAST: Final = 1000
"""How many versions the ledger remembers by name."""

MAX_QUARANTINED: Final = 256
"""How many contents stay quarantined; the oldest of more is forgotten."""


@dataclass(frozen=True, slots=True)
class Past:
    """Say what became of one version: ``outcome`` is ``offered``, ``committed``, ``burnt`` or the word of its Ended."""

    version: int
    origin: str
    reason: str
    outcome: str
    detail: str = ""
    requester: str = ""


class Ledger:
    """Add up records, one by one."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.highest = 0
        self.committed: deque[int] = deque(maxlen=MAX_PAST)
        self.pinned: str | None = None
        self.quarantined: dict[str, str] = {}
        self.spawned: dict[str, Spawned] = {}
        self._past: dict[int, Past] = {}
        for record in records:
            self.note(record)

    def note(self, record: Record) -> None:
        """Take one more record into account."""
        match record:
            case Candidate():
                self._name(record.version, origin=record.origin, reason=record.reason)
            case Committed():
                self._commit(record.version)
            case Burnt():
                self._name(record.version, outcome="burnt", detail=record.reason)
            case Ended(outcome=outcome, reason=reason, requester=requester):
                self._name(record.version, outcome=outcome, detail=reason, requester=requester)
            case Spawned():
                self.spawned[record.slot] = record
            case Pinned():
                self.pinned = record.digest
            case Unpinned():
                self.pinned = None
            case Quarantined():
                self._quarantine(record)
            case Checkpoint():
                self._resume(record)
            case _:
                assert_never(record)

    def checkpoint(self, chain: bytes) -> Checkpoint:
        """Return the record that sums up all so far, with the journal's last hash."""
        committed = self.committed[-1] if self.committed else None
        return Checkpoint(self.highest, committed, chain, self.pinned, dict(self.quarantined))

    @property
    def unfinished(self) -> bool:
        """Return whether a version was offered after the committed one and nothing is known of its end."""
        return bool(self._past) and next(reversed(self._past.values())).outcome == "offered"

    def outcome(self, version: int) -> str:
        """Return what became of a version, or "" where nothing is known of it."""
        return self._past[version].outcome if version in self._past else ""

    @property
    def history(self) -> tuple[Past, ...]:
        """Return what became of the versions, oldest first."""
        return tuple(self._past.values())

    def _commit(self, version: int) -> None:
        if not self.committed or self.committed[-1] != version:
            self.committed.append(version)
        self._name(version, outcome="committed")

    def _resume(self, record: Checkpoint) -> None:
        self.highest = max(self.highest, record.version)
        self.pinned, self.quarantined = record.pinned, dict(record.quarantined)
        if record.committed is not None:
            self._commit(record.committed)

    def _quarantine(self, record: Quarantined) -> None:
        self.quarantined[record.digest] = record.reason
        while len(self.quarantined) > MAX_QUARANTINED:
            del self.quarantined[next(iter(self.quarantined))]

    def _name(self, version: int, **facts: Any) -> None:
        self.highest = max(self.highest, version)
        known = self._past.get(version) or Past(version, "", "", "offered")
        self._past[version] = replace(known, **facts)
        while len(self._past) > MAX_PAST:
            del self._past[next(iter(self._past))]
