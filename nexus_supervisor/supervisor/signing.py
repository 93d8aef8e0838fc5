"""Signing: the supervisor's statement about one version, in bytes and with its signature.

Decided here: that only manifests of our own audience are signed, and what is left out where signing is off. Not decided
here: what a manifest says (``core/manifest.py``), and when one is made (``core/fleet.py``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nexus_supervisor.core import manifest as manifests
from nexus_supervisor.core import sshsig
from nexus_supervisor.core.manifest import Parent
from nexus_supervisor.core.trust import Trust
from nexus_supervisor.supervisor.archive import Stored

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Content
    from nexus_supervisor.supervisor.keys import Keys

__all__ = ["Signer"]


class Signer:
    """Sign manifests for one audience; without keys signing is off and every signature is empty."""

    def __init__(self, keys: Keys | None, audience: str) -> None:
        self._keys = keys
        self.trust = Trust(audience, None if keys is None else keys.public_key)

    @property
    def key_id(self) -> str:
        """Return the fingerprint of the key, or "" where signing is off."""
        return "" if self._keys is None else self._keys.key_id

    def sign(self, manifest: bytes) -> bytes:
        """Return the armored signature of a manifest's bytes, or b"" where signing is off."""
        if self._keys is None:
            return b""
        signature = self._keys.sign(sshsig.sign_blob(sshsig.NAMESPACE, manifest))
        return sshsig.armor(self._keys.public_key, signature, sshsig.NAMESPACE)

    def issue(
        self, content: Content, *, version: int, parent: Stored | None, created_at: str, rollback_of: int | None = None
    ) -> Stored:
        """Return a content as a signed version on top of ``parent``; ``created_at`` is RFC 3339 in UTC."""
        before = None
        if parent is not None:
            before = Parent(parent.manifest.version, hashlib.sha256(parent.manifest_bytes).hexdigest())
        manifest = manifests.describe(
            content,
            audience=self.trust.audience,
            version=version,
            parent=before,
            created_at=created_at,
            key_id=self.key_id,
            rollback_of=rollback_of,
        )
        raw = manifest.encode()
        return Stored(version, manifest, raw, self.sign(raw), content)
