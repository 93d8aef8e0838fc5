"""Trust: which manifest may replace which.

Decided here: in which order a manifest is judged (signature, then form, then audience, then version) and which
reasons refuse it. The supervisor, its workers and ``verify`` all use exactly this. Not decided here: what the signature
format is (``sshsig.py``) and what a manifest may say (``manifest.py``).

The version rule is one line: greater than the floor, or the very same bytes again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

from nexus_supervisor.core import manifest as manifests
from nexus_supervisor.core import sshsig
from nexus_supervisor.core.manifest import EPOCH, Manifest
from nexus_supervisor.errors import DamageError, NexusError, ProtocolError

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Content, Version

__all__ = ["MAX_VERSION_STEP", "NO_FLOOR", "Distrust", "Floor", "Judgement", "Reason", "Trust"]

MAX_VERSION_STEP: Final = 1_000_000
"""How far a version may be above the floor: one absurd number, signed once, must not use up all numbers."""


class Reason(StrEnum):
    """Say in one word why a version is not trusted."""

    signature_mismatch = "signature_mismatch"
    sig_file_missing = "sig_file_missing"
    file_read_error = "file_read_error"
    malformed = "malformed"
    wrong_audience = "wrong_audience"
    wrong_epoch = "wrong_epoch"
    rolled_back = "rolled_back"
    equivocation = "equivocation"
    fast_forward = "fast_forward"
    digest_mismatch = "digest_mismatch"


class Distrust(NexusError):
    """Say that a version is refused, and why (exit code 3)."""

    exit_code: ClassVar[int] = 3

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Floor:
    """Hold the highest version accepted so far and the SHA-256 of its manifest's bytes.

    With ``manifest_sha256`` None only the number is known (a fresh process): that version itself is accepted once.
    """

    version: int
    manifest_sha256: str | None


NO_FLOOR: Final = Floor(0, None)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Say that a manifest is trusted; ``repeated`` where it is the floor's own, byte for byte."""

    manifest: Manifest
    sha256: str
    repeated: bool

    @property
    def floor(self) -> Floor:
        """Return the floor for whatever comes next."""
        return Floor(self.manifest.version, self.sha256)


@dataclass(frozen=True, slots=True)
class Trust:
    """Hold what a version is judged by: for whom it must be made and which key must have signed it.

    ``public_key`` None means that signing is off: no signatures, while digests and the version rule stay.
    """

    audience: str
    public_key: bytes | None

    def __post_init__(self) -> None:
        """Refuse a public key for which signatures can be forged."""
        if self.public_key is not None:
            sshsig.check_public_key(self.public_key)

    def judge(self, manifest: bytes, signature: bytes, floor: Floor) -> Judgement:
        """Return the judgement on a manifest that is offered on top of ``floor``; raise Distrust to refuse it."""
        stated = self.read(manifest, signature)
        sha256 = hashlib.sha256(manifest).hexdigest()
        return Judgement(stated, sha256, _may_follow(stated.version, sha256, floor))

    def read(self, manifest: bytes, signature: bytes) -> Manifest:
        """Return the manifest if it is ours, whatever its version; raise Distrust otherwise."""
        stated = self.verified(manifest, signature)
        if stated.audience != self.audience:
            text = f"the manifest is for {stated.audience!r}, and this is {self.audience!r}"
            raise Distrust(Reason.wrong_audience, text)
        if stated.epoch != EPOCH:
            text = f"the manifest is of epoch {stated.epoch}, and this is epoch {EPOCH}"
            raise Distrust(Reason.wrong_epoch, text)
        return stated

    def verified(self, manifest: bytes, signature: bytes) -> Manifest:
        """Return the manifest if our key signed it, for whomever it is; raise Distrust otherwise.

        The signature is verified before a single byte is parsed.
        """
        self._verify(manifest, signature)
        try:
            return manifests.decode(manifest)
        except ProtocolError as error:
            raise Distrust(Reason.malformed, str(error)) from error

    def _verify(self, manifest: bytes, signature: bytes) -> None:
        if self.public_key is None:
            return
        if not signature:
            text = f"the manifest has no signature, and one of key {sshsig.fingerprint(self.public_key)} is needed"
            raise Distrust(Reason.sig_file_missing, text)
        try:
            sshsig.verify(self.public_key, sshsig.NAMESPACE, manifest, signature)
        except DamageError as error:
            raise Distrust(Reason.signature_mismatch, str(error)) from error

    @staticmethod
    def check_content(manifest: Manifest, content: Content) -> None:
        """Raise Distrust where a content is not the one that the manifest states."""
        if content.digest == manifest.digest:
            return
        names = content.sections.keys() | manifest.sections.keys()
        differing = sorted(name for name in names if not _agree(manifest, content, name))
        text = f"version {manifest.version} does not hold what was stated: {', '.join(differing)} differ"
        raise Distrust(Reason.digest_mismatch, text)


def _may_follow(version: Version, sha256: str, floor: Floor) -> bool:
    """Return whether this is the floor's own manifest again; raise Distrust where it may not follow the floor."""
    if version < floor.version:
        text = f"version {version} is older than version {floor.version}, which was accepted before"
        raise Distrust(Reason.rolled_back, text)
    if version == floor.version:
        if floor.manifest_sha256 not in (None, sha256):
            text = f"version {version} was accepted before with other bytes: two statements under one number"
            raise Distrust(Reason.equivocation, text)
        return floor.manifest_sha256 == sha256
    if version > floor.version + MAX_VERSION_STEP:
        text = f"version {version} is more than {MAX_VERSION_STEP} above version {floor.version}"
        raise Distrust(Reason.fast_forward, text)
    return False


def _agree(manifest: Manifest, content: Content, name: str) -> bool:
    stated, held = manifest.sections.get(name), content.sections.get(name)
    if stated is None or held is None:
        return False
    return (stated.apply, stated.entries, stated.root) == (held.apply, len(held.entries), held.root)
