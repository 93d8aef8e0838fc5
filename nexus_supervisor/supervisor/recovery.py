"""Recovery: from what the disk holds at start to the version that may run.

Decided here: which versions count as committed, where each one's bytes are taken from, and what people are told about
damage. Not decided here: what is signed and trusted (``core/trust.py``) and how it is written back (``store.py``).

The journal is what we trust; ``compiled/`` is what it led to. A version is taken from its directory if every byte of
that verifies, else it is built again from the journal's deltas, else the next older one is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nexus_supervisor.core import delta as deltas
from nexus_supervisor.core.content import EMPTY, Content, Delta
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.past import Past
from nexus_supervisor.core.records import Answered, Candidate, Record
from nexus_supervisor.core.trust import Distrust, Trust
from nexus_supervisor.errors import DamageError, ProtocolError
from nexus_supervisor.supervisor.archive import Archive, Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nexus_supervisor.core.ledger import Ledger
    from nexus_supervisor.core.manifest import Manifest
    from nexus_supervisor.supervisor.journal import Tail

__all__ = ["Found", "Recovered", "Recovery", "damage_notice", "tail_notice"]

_JOURNAL: Final = "state/journal"
_MAX_TRIES: Final = 64
"""How many versions are tried in the search for an intact one: a lost key must not make a start endless."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Hold what a start found.

    ``committed`` is the newest intact committed version and ``previous`` the newest one before it with other content.
    ``highest`` is the highest number found anywhere; the next is one more. ``incarnations`` gives the last one of each
    slot. ``alarms`` is what people have to be told, ``history`` what became of the versions, ``answered`` how requests
    ended, by their ids, oldest first.
    """

    committed: Stored | None
    previous: Stored | None
    highest: int
    pinned: str | None
    quarantined: Mapping[str, str]
    incarnations: Mapping[str, int]
    alarms: tuple[Notice, ...]
    history: tuple[Past, ...]
    answered: Mapping[str, Answered]


@dataclass(frozen=True, slots=True)
class Found:
    """Hold one version and whether its directory is intact (else it has to be written again)."""

    stored: Stored
    archived: bool


class Recovery:
    """Find versions in an archive and the records of a journal; collect ``alarms`` on the way."""

    def __init__(self, archive: Archive, trust: Trust, records: Iterable[Record]) -> None:
        self.alarms: list[Notice] = []
        self._archive, self._trust = archive, trust
        self._candidates = {record.version: record for record in records if isinstance(record, Candidate)}
        self._manifests: dict[int, Manifest] = {}

    def newest(self, ledger: Ledger) -> list[Found]:
        """Return the committed version and the previous one with other content, as far as they can be had."""
        found: list[Found] = []
        for version in self._committed(ledger)[:_MAX_TRIES]:
            one = self._find(version)
            if one is not None and all(one.stored.content.digest != known.stored.content.digest for known in found):
                found.append(one)
            if len(found) == 2:
                break
        return found

    def _committed(self, ledger: Ledger) -> list[int]:
        """Return all committed versions, newest first.

        A directory is only written for a committed version, so one that the journal knows nothing about counts, too:
        it is older than the journal's first record, or the journal was lost. The pointer is only written after the
        commit was durable, so where the journal knows no end of that version, its end was lost.
        """
        archived = {version for version in self._archive.versions() if version not in self._candidates}
        pointed = self._archive.pointer()
        if pointed is not None and ledger.outcome(pointed) == "offered":
            archived.add(pointed)
        lost = {version for version in archived if version > ledger.highest}
        if lost:
            text = (
                f"state/journal does not know version {max(lost)}, which compiled/ holds: the journal was lost or "
                "replaced by an older one. What compiled/ holds is used where it verifies."
            )
            self.alarms.append(Notice("journal_failed", "error", text, {"version": max(lost), "file": _JOURNAL}))
        return sorted(archived | set(ledger.committed), reverse=True)

    def _find(self, version: int) -> Found | None:
        damage: DamageError | None = None
        try:
            return Found(self._load(version), archived=True)
        except DamageError as error:
            if version in self._archive.versions():
                damage = error
        try:
            stored = self._rebuild(version)
        except DamageError as error:
            self.alarms.append(damage_notice(version, damage or error, "This version is not used."))
            return None
        if damage is not None:
            self.alarms.append(damage_notice(version, damage, "It is written again from the journal."))
        return Found(stored, archived=False)

    def _load(self, version: int) -> Stored:
        stored = self._archive.load(version, self._trust.read)
        candidate = self._candidates.get(version)
        if candidate is not None and candidate.manifest != stored.manifest_bytes:
            message = f"version {version} in compiled/ is not the one that the journal holds"
            raise DamageError(message, file=f"compiled/{version:06d}/manifest.json")
        return stored

    def _rebuild(self, version: int) -> Stored:
        """Build a version from the journal: back to content that is known, then forward, each step checked."""
        steps: list[tuple[Manifest, Delta]] = []
        content: Content | None = None
        number: int | None = version
        while number is not None:
            manifest, delta = self._step(number)
            steps.append((manifest, delta))
            content, number = self._base(delta, number)
        for manifest, delta in reversed(steps):
            content = _apply(content, manifest, delta)
        candidate = self._candidates[version]
        return Stored(version, steps[0][0], candidate.manifest, candidate.signature, content or EMPTY)

    def _step(self, number: int) -> tuple[Manifest, Delta]:
        manifest = self._manifest(number)
        try:
            return manifest, deltas.decode(self._candidates[number].delta)
        except ProtocolError as error:
            message = f"version {number} in the journal can't be understood: {error}"
            raise DamageError(message, file=_JOURNAL) from error

    def _base(self, delta: Delta, number: int) -> tuple[Content | None, int | None]:
        """Return the content that a delta builds on, or the version in the journal that has it."""
        if delta.base is None or delta.base == EMPTY.digest:
            return EMPTY, None
        for earlier in self._holders(delta.base, number):
            try:
                return self._load(earlier).content, None
            except DamageError:
                # the directory of that version is no help; its record may be
                if earlier in self._candidates:
                    return None, earlier
        message = f"version {number} in the journal builds on content {delta.base[:12]}, which is not there"
        raise DamageError(message, file=_JOURNAL)

    def _holders(self, digest: str, below: int) -> Iterator[int]:
        """Yield earlier versions whose content may be this one: from the journal newest first, then directories."""
        for number in sorted((number for number in self._candidates if number < below), reverse=True):
            if self._states(number, digest):
                yield number
        yield from (number for number in reversed(self._archive.versions()) if self._archived_as(number, digest))

    def _states(self, number: int, digest: str) -> bool:
        try:
            return self._manifest(number).digest == digest
        except DamageError:
            # a record that doesn't verify holds nothing
            return False

    def _archived_as(self, number: int, digest: str) -> bool:
        if number in self._candidates:
            return False
        try:
            return self._load(number).manifest.digest == digest
        except DamageError:
            # a directory that doesn't verify holds nothing
            return False

    def _manifest(self, number: int) -> Manifest:
        """Return the manifest that the journal holds for a version; it is verified once."""
        if number not in self._manifests:
            candidate = self._candidates.get(number)
            if candidate is None:
                message = f"version {number} is neither in compiled/ nor in the journal"
                raise DamageError(message, reason="file_read_error", file=_JOURNAL)
            try:
                manifest = self._trust.read(candidate.manifest, candidate.signature)
            except Distrust as error:
                message = f"version {number} in the journal does not verify: {error}"
                raise DamageError(message, file=_JOURNAL) from error
            self._manifests[number] = manifest
        return self._manifests[number]


def damage_notice(version: int, damage: DamageError, consequence: str) -> Notice:
    """Return the security notice about a stored version that doesn't verify."""
    text = f"Version {version} is damaged on disk: {damage}. {consequence}"
    return Notice(
        "config_signature_invalid", "error", text, {"reason": damage.reason, "version": version, "file": damage.file}
    )


def tail_notice(tail: Tail, version: int) -> Notice:
    """Return the notice about bytes that were cut off the journal's end."""
    text = (
        f"The journal ended in {tail.size} bytes that are no record ({tail.damage}): they are kept in "
        f"state/{tail.file}, and number {version} is not used. After a power cut this is normal."
    )
    return Notice("journal_failed", "warning", text, {"file": f"state/{tail.file}", "bytes": tail.size})


def _apply(content: Content | None, manifest: Manifest, delta: Delta) -> Content:
    try:
        after = (content or EMPTY).after(delta)
        Trust.check_content(manifest, after)
    except (ProtocolError, Distrust) as error:
        message = f"version {manifest.version} can't be built from the journal: {error}"
        raise DamageError(message, file=_JOURNAL) from error
    return after
