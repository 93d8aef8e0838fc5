"""Which versions were offered, committed and refused.

Decided here: the next number, what "the previous content" is, and which content is quarantined. Not decided here: when
something is committed, refused or pinned (``journeys.py``, ``directory.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_supervisor.core.content import Digest, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_QUARANTINED", "Committed", "History"]

MAX_QUARANTINED = 256
"""How many contents stay quarantined; the oldest of more is forgotten."""


@dataclass(frozen=True, slots=True)
class Committed:
    """Name one committed version and its content."""

    version: Version
    digest: Digest


class History:
    """Hold the highest number ever used, the committed and the previous version, and what is quarantined.

    ``pinned`` is the content of the directory that is not applied by itself, since somebody went back from it.
    ``proving`` is for how many seconds the committed version had been live when this began; None where it revoked or
    went back, or nobody knows.
    """

    def __init__(
        self,
        highest: int = 0,
        committed: Committed | None = None,
        previous: Committed | None = None,
        quarantined: Mapping[str, str] | None = None,
        pinned: Digest | None = None,
        proving: float | None = None,
    ) -> None:
        self.highest = highest
        self.committed = committed
        self.previous = previous
        self.quarantined: dict[Digest, str] = {Digest(digest): reason for digest, reason in (quarantined or {}).items()}
        self.pinned = pinned
        self.proving = proving

    def number(self) -> Version:
        """Take the next number; it is used up, whatever comes of it."""
        self.highest += 1
        return Version(self.highest)

    def commit(self, version: Version, digest: Digest) -> None:
        """Make a version the committed one. Its content is no longer quarantined: it ran everywhere."""
        if self.committed is not None and self.committed.digest != digest:
            self.previous = self.committed
        self.committed = Committed(version, digest)
        self.quarantined.pop(digest, None)

    def quarantine(self, digest: Digest, reason: str) -> None:
        """Refuse a content from now on; the oldest of too many is forgotten. Committed content never is refused."""
        if self.committed is not None and self.committed.digest == digest:
            return
        while len(self.quarantined) >= MAX_QUARANTINED:
            del self.quarantined[next(iter(self.quarantined))]
        self.quarantined[digest] = reason

    def release(self, digest: Digest) -> None:
        """Have a content no longer refused: somebody wants it tried again."""
        self.quarantined.pop(digest, None)

    @property
    def version(self) -> Version | None:
        """Return the committed version, or None before the first."""
        return None if self.committed is None else self.committed.version

    @property
    def digest(self) -> Digest | None:
        """Return the committed digest, or None before the first."""
        return None if self.committed is None else self.committed.digest
