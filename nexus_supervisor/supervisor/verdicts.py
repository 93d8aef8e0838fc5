"""Verdicts: what the compiler's answers mean, where they add up.

Decided here: that an answer counts only if the contents that it names are those that it describes, by names that the
contract allows; such contents are kept. Not decided here: when the compiler is asked (``compiling.py``) and what a
verdict leads to (``core/``).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from nexus_supervisor.core import delta
from nexus_supervisor.core.content import EMPTY
from nexus_supervisor.core.events import Candidate, CandidateRefused, CandidateSeen
from nexus_supervisor.core.shape import NO_SHAPE
from nexus_supervisor.errors import ProtocolError
from nexus_supervisor.wire import received_payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexus_supervisor.core.compilation import Refused, Seen
    from nexus_supervisor.core.content import Content, Digest, SectionDelta
    from nexus_supervisor.core.settings import Settings
    from nexus_supervisor.supervisor.contents import Contents

__all__ = ["Reading"]

_MAX_PAYLOAD_BYTES = 1 << 30
_NAME = re.compile(r"[a-z0-9_-]{1,64}")


class Reading:
    """Read one answer; ``base`` is the content that the compiler had been told when it was asked.

    What belongs to the answer is taken from ``descriptors``; what is left there is the caller's to close.
    """

    def __init__(self, contents: Contents, base: Digest | None, descriptors: list[int]) -> None:
        self._contents, self._descriptors = contents, descriptors
        self._before = contents.find(base) or EMPTY

    def seen(self, message: Seen) -> CandidateSeen:
        """Return what was found valid; raise ProtocolError or OSError where the answer doesn't add up."""
        return CandidateSeen(message.ticket, self.candidate(message), message.warnings)

    def candidate(self, message: Seen) -> Candidate:
        """Return the candidate of an answer; raise ProtocolError or OSError where that doesn't add up."""
        content = self._content(message.digest, self._payload(message.payload, message.payload_beside))
        less = self._payload(message.revoked_payload, message.revoked_payload_beside)
        secrets = self._descriptors.pop(0) if message.secrets_beside and self._descriptors else None
        kept = self._contents.put(content, secrets)
        base, revoked, settings = self._before.digest, message.revoked, None
        if revoked is not None:
            settings = kept.settings if revoked == content.digest else self._revoked(revoked, less)
        return Candidate(
            message.wanted,
            content.digest,
            base,
            message.held,
            message.blocked,
            message.gone,
            kept.settings,
            shape=self._contents.shape(base, content.digest),
            widened=message.widened,
            revoked=revoked,
            remains=message.remains,
            revoked_settings=settings,
            revoked_shape=NO_SHAPE if revoked is None else self._contents.shape(base, revoked),
            lessens=message.lessens,
        )

    def refused(self, message: Refused) -> CandidateRefused:
        """Return what was found wrong; raise ProtocolError or OSError where the answer doesn't add up."""
        base, revoked, settings, shape = self._before.digest, message.revoked, None, NO_SHAPE
        payload = self._payload(message.payload, message.payload_beside)
        if revoked is not None:
            settings = self._revoked(revoked, payload)
            shape = self._contents.shape(base, revoked)
        return CandidateRefused(
            message.ticket,
            message.problems,
            message.unstable,
            base,
            message.gone,
            revoked,
            message.remains,
            settings,
            message.doubtful,
            shape,
        )

    def _revoked(self, digest: Digest, raw: bytes | memoryview | None) -> Settings:
        """Keep what is left of what runs, with its secrets; return its settings."""
        content = self._content(digest, raw)
        return self._contents.put(content, self._secrets_of(self._before.digest)).settings

    def _payload(self, inline: bytes | None, beside: bool) -> bytes | memoryview | None:  # noqa: FBT001 - of a message
        descriptor = self._descriptors.pop(0) if beside and self._descriptors else None
        return received_payload(inline, descriptor, _MAX_PAYLOAD_BYTES)

    def _content(self, digest: Digest, raw: bytes | memoryview | None) -> Content:
        """Return the content that an answer describes; raise ProtocolError where it is not the one that it names."""
        if raw is None:
            content = self._before
        else:
            change = delta.decode(raw)
            _check_names(change.sections)
            content = self._before.after(change)
        if content.digest != digest:
            message = f"it named content {digest[:12]} and described {content.digest[:12]}"
            raise ProtocolError(message)
        return content

    def _secrets_of(self, digest: Digest) -> int | None:
        """Return a descriptor of our own for the secret values of a content that is kept."""
        held = self._contents.get(digest).secrets if digest != EMPTY.digest else None
        return None if held is None else os.dup(held)


def _check_names(sections: Mapping[str, SectionDelta]) -> None:
    """Raise ProtocolError for a section or entry whose name the contract doesn't allow."""
    for section, change in sections.items():
        for name in (section, *change.changed, *change.removed):
            if not _NAME.fullmatch(name):
                message = f"it named an entry {name[:64]!r}"
                raise ProtocolError(message)
