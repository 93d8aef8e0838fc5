"""Small valid builders for everything that is signed and stored: content, keys, versions, a store with a history.

Decided here: one way to make each, with as few words as a test needs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nexus_supervisor.core import canonical
from nexus_supervisor.core import delta as deltas
from nexus_supervisor.core.content import Content, Entries, Entry, Section
from nexus_supervisor.core.records import Candidate, Committed
from nexus_supervisor.supervisor.keys import Keys
from nexus_supervisor.supervisor.signing import Signer
from nexus_supervisor.supervisor.store import Store, Stored

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.trust import Trust

AUDIENCE = "nexus"
AT = "2026-11-24T08:00:00Z"
SIGNER = Signer(Keys(Ed25519PrivateKey.from_private_bytes(bytes(range(32)))), AUDIENCE)
UNSIGNED = Signer(None, AUDIENCE)


def content(**tiers: int) -> Content:
    """Return content with one live section ``sources`` (an entry for each name) and one held one."""
    sources = Entries(Entry.of(name, canonical.encode({"name": name, "tier": tier})) for name, tier in tiers.items())
    main = Entries([Entry.of("main", b'{"db_path":"main.db","type":"sqlite"}')])
    return Content({"sources": Section("live", sources), "destinations": Section("restart", main)})


def issue(version: int, what: Content, parent: Stored | None = None, signer: Signer = SIGNER) -> Stored:
    """Return a version of a content, signed."""
    return signer.issue(what, version=version, parent=parent, created_at=AT)


def candidate(stored: Stored, base: Content | None = None) -> Candidate:
    """Return the journal's record of a version, as a delta against ``base``."""
    delta = deltas.encode(stored.content.delta_from(base))
    return Candidate(stored.version, stored.manifest_bytes, stored.signature, delta, "edited", "directory")


class History:
    """Do with a store what the supervisor does: record, commit, archive, one version after the other."""

    def __init__(
        self,
        directory: Path,
        signer: Signer = SIGNER,
        *,
        kept: int = 20,
        days: float = 0.0,
        limit: int = 1 << 20,
        remembered: int = 1_000,
    ) -> None:
        self.directory, self.signer = directory, signer
        self._kept, self._days, self._limit, self._remembered = kept, days, limit, remembered
        directory.mkdir(exist_ok=True)
        self.store = self.open()
        self.last = self.store.recovered.committed

    def open(self, trust: Trust | None = None) -> Store:
        """Open the directory's store, as another start would."""
        return Store.open(
            self.directory,
            trust or self.signer.trust,
            kept_versions=self._kept,
            journal_limit_bytes=self._limit,
            kept_days=self._days,
            kept_history=self._remembered,
        )

    def offer(self, version: int, **tiers: int) -> Stored:
        """Issue a version and record it durably."""
        stored = issue(version, content(**tiers), self.last, self.signer)
        self.store.record(candidate(stored, None if self.last is None else self.last.content), durable=True)
        return stored

    def commit(self, version: int, *, archive: bool = True, **tiers: int) -> Stored:
        """Take a version from offer to commit, and archive it."""
        stored = self.offer(version, **tiers)
        self.store.record(Committed(version), durable=True)
        if archive:
            self.store.archive(stored)
        self.last = stored
        return stored

    def restart(self) -> Store:
        """Close the store and open it again."""
        self.store.close()
        self.store = self.open()
        return self.store

    def path(self, name: str) -> Path:
        """Return a path in the directory."""
        return self.directory / name


def tiers(stored: Stored | None) -> dict[str, int]:
    """Return what a version's sources say, for short assertions."""
    assert stored is not None
    return {name: json.loads(entry.body)["tier"] for name, entry in stored.content.sections["sources"].entries.items()}
