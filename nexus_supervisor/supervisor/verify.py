"""Verify: check everything that a directory's store holds, and change nothing.

Decided here: what is compared with what, and how the findings are told. Not decided here: what a valid version is
(``core/trust.py``, ``archive.py``) and what a start would do about damage (``recovery.py``).

A supervisor may run meanwhile: it appends to the journal, and it adds and prunes version directories. What is only just
being written is read again.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nexus_supervisor.core import chain, sshsig
from nexus_supervisor.core.ledger import Ledger
from nexus_supervisor.core.records import Candidate, Record
from nexus_supervisor.core.trust import Distrust, Trust
from nexus_supervisor.errors import DamageError, DirectoryError
from nexus_supervisor.supervisor import durable, journal, keys
from nexus_supervisor.supervisor.archive import Archive, Stored

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.manifest import Manifest

__all__ = ["Report", "read_by", "signers", "verify"]

_STATE: Final = "state"
_JOURNAL: Final = f"{_STATE}/{journal.FILE}"
_READS: Final = 20
_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Report:
    """Hold what was found, one sentence a line, and whether all of it is as it should be."""

    lines: tuple[str, ...]
    ok: bool


def verify(directory: Path, allowed_signers: Path | None) -> Report:
    """Check every version kept, the pointer, the journal's chain and the parents; write nothing.

    ``allowed_signers`` None means the directory's own file; whoever can replace ``compiled/`` can replace that as well.
    Raise DirectoryError where there is no such directory, KeyFileError where a named file allows nobody.
    """
    if not directory.is_dir():
        message = f"{directory} is not a directory: name the one that the supervisor runs on"
        raise DirectoryError(message)
    inspection = _Inspection(directory, signers(directory, allowed_signers))
    inspection.inspect()
    return Report(tuple(inspection.lines), not inspection.damaged)


def read_by(public_keys: tuple[bytes, ...], manifest: bytes, signature: bytes) -> Manifest:
    """Return a manifest that one of these keys signed, any manifest where there are none; raise Distrust otherwise."""
    refusals: list[Distrust] = []
    for public_key in public_keys or (None,):
        try:
            return Trust("", public_key).verified(manifest, signature)
        except Distrust as error:
            refusals.append(error)
    raise refusals[0]


def signers(directory: Path, allowed_signers: Path | None) -> tuple[bytes, ...]:
    """Return the public keys that may have signed; none where the directory has no file of its own."""
    own = directory / keys.FOLDER / keys.ALLOWED_SIGNERS
    if allowed_signers is None and not own.exists():
        return ()
    return keys.read_allowed_signers(allowed_signers or own)


class _Inspection:
    """Go through one store and write down what is found."""

    def __init__(self, directory: Path, public_keys: tuple[bytes, ...]) -> None:
        self.lines: list[str] = []
        self.damaged = False
        self._directory, self._public_keys = directory, public_keys
        self._manifests: dict[int, tuple[Manifest, bytes]] = {}

    def inspect(self) -> None:
        """Check the journal first: directories that come to be meanwhile are newer than it, not unknown to it."""
        self._say(self._key_line())
        ledger = self._journal()
        archive = Archive(self._directory)
        for version in archive.versions():
            self._version(archive, version)
        self._pointer(archive, ledger)
        self._lineage()
        self._say("everything verifies" if not self.damaged else "not everything verifies")

    def _key_line(self) -> str:
        if not self._public_keys:
            return "signatures: no allowed_signers file, so only digests are checked"
        return f"signatures: checked against {', '.join(map(sshsig.fingerprint, self._public_keys))}"

    def _journal(self) -> Ledger:
        try:
            scan = _read_journal(self._directory)
        except FileNotFoundError:
            if Archive(self._directory).versions():
                self._damage(f"{_JOURNAL} is missing, although versions are kept")
            else:
                self._say("nothing is stored yet")
            return Ledger()
        except OSError as error:
            self._damage(f"{_JOURNAL} can't be read: {error.strerror}")
            return Ledger()
        self._say(f"{_JOURNAL}: {len(scan.records)} records in an unbroken chain")
        if scan.damage:
            self._damage(f"{_JOURNAL}: {scan.damage}, after {scan.end} good bytes. A start keeps that end aside")
        for record in scan.records:
            self._record(record)
        return Ledger(scan.records)

    def _record(self, record: Record) -> None:
        if not isinstance(record, Candidate):
            return
        try:
            manifest = self._read(record.manifest, record.signature)
        except Distrust as error:
            self._damage(f"{_JOURNAL}: version {record.version}: {error}")
            return
        if manifest.version != record.version:
            self._damage(f"{_JOURNAL}: version {record.version} holds the manifest of version {manifest.version}")
        else:
            self._know(manifest, record.manifest, _JOURNAL)

    def _version(self, archive: Archive, version: int) -> None:
        try:
            stored = archive.load(version, self._read)
        except DamageError as error:
            if version in archive.versions():
                self._damage(str(error))
            return
        self._know(stored.manifest, stored.manifest_bytes, f"compiled/{version:06d}")
        self._say(_intact(stored))

    def _pointer(self, archive: Archive, ledger: Ledger) -> None:
        pointed, versions = archive.pointer(), archive.versions()
        if pointed is None and not versions:
            return
        committed = ledger.committed[-1] if ledger.committed else None
        if pointed is None or pointed not in versions:
            self._damage("compiled/current names no version that is kept: a start writes it again")
        elif committed is not None and pointed < committed:
            self._say(f"compiled/current: version {pointed}; version {committed} is committed and still to be written")
        else:
            self._say(f"compiled/current: version {pointed}")

    def _lineage(self) -> None:
        """Compare what each manifest says about earlier versions with those that are there."""
        for version, (manifest, _) in sorted(self._manifests.items()):
            parent = manifest.parent
            known = self._manifests.get(parent.version) if parent is not None else None
            if parent is not None and known is not None and hashlib.sha256(known[1]).hexdigest() != parent.sha256:
                self._damage(f"version {version} was built on another version {parent.version} than the one kept")
            origin = self._manifests.get(manifest.rollback_of) if manifest.rollback_of is not None else None
            if origin is not None and origin[0].digest != manifest.digest:
                self._damage(f"version {version} does not hold the content of version {manifest.rollback_of}")
        audiences = {manifest.audience for manifest, _ in self._manifests.values()}
        if len(audiences) > 1:
            self._say(f"note: versions were made under the names {', '.join(sorted(audiences))}")

    def _know(self, manifest: Manifest, raw: bytes, where: str) -> None:
        known = self._manifests.setdefault(manifest.version, (manifest, raw))
        if known[1] != raw:
            self._damage(f"{where}: version {manifest.version} has two manifests that differ")

    def _read(self, manifest: bytes, signature: bytes) -> Manifest:
        """Return a manifest that one of the allowed keys signed; raise Distrust otherwise."""
        if not self._public_keys and signature:
            self._damage("a version is signed, and no allowed_signers file says by whom: name one")
        return read_by(self._public_keys, manifest, signature)

    def _say(self, line: str) -> None:
        self.lines.append(line)

    def _damage(self, line: str) -> None:
        self.damaged = True
        if (text := f"DAMAGED: {line}") not in self.lines:
            self.lines.append(text)


def _read_journal(directory: Path) -> chain.Scan:
    """Return the journal's records; an end that is incomplete may be in the act of being written, so read again."""
    with durable.directory(directory / _STATE) as state:
        scan = chain.scan(durable.read(state, journal.FILE, journal.MAX_BYTES))
        for _ in range(_READS):
            if scan.damage != chain.INCOMPLETE:
                break
            time.sleep(_PAUSE_SECONDS)
            scan = chain.scan(durable.read(state, journal.FILE, journal.MAX_BYTES))
    return scan


def _intact(stored: Stored) -> str:
    manifest = stored.manifest
    entries = ", ".join(f"{section.entries} {name}" for name, section in manifest.sections.items())
    signed = f"signed with {manifest.key_id}" if stored.signature else "not signed"
    return f"compiled/{stored.version:06d}: intact ({entries}; {signed}, {manifest.created_at})"
