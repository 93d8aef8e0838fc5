"""Storage: what every kind of destination offers, and in which words it refuses.

Decided here: the interface between the gateway and the places that records go to, and the number that bounds each
thing that can grow in them. Not decided here: how a record is kept (``sqlite_*.py``, ``postgres*.py``), which one a
destination has (``destinations.py``), and what a query may see (``retrieval.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .records import Record
    from .retrieval import Found, Search

__all__ = ["Once", "ReusedKeyError", "Storage", "StorageLimits", "UnavailableError"]


class UnavailableError(Exception):
    """Say in the rest of a sentence why a destination can't take or give records now."""


class ReusedKeyError(Exception):
    """Say that an idempotency key came with another body than the first time."""


@dataclass(frozen=True, slots=True)
class StorageLimits:
    """Bound what may wait in one worker for one destination, what one query may cost, and how long each may take."""

    waiting_records: int = 1_024
    waiting_bytes: int = 64 * 1024 * 1024
    batch_records: int = 256
    busy_timeout_seconds: float = 5.0
    answer_timeout_seconds: float = 15.0
    forgotten_keys: int = 512
    """Expired idempotency keys that one transaction removes: more than it can add."""
    waiting_queries: int = 64
    query_timeout_seconds: float = 5.0
    """How long one query may run; it waits for those before it no longer than ``answer_timeout_seconds``."""
    scanned_rows: int = 50_000
    scanned_bytes: int = 64 * 1024 * 1024
    """What one query reads, at most, of records that its policy or its words then leave out."""


@dataclass(frozen=True, slots=True)
class Once:
    """Ask that a record is stored once: the same source and key within the window is the same record.

    ``body_digest`` is the SHA-256 of the bytes that the client sent, ``now_ms`` wall-clock milliseconds since 1970. The
    window that counts is the one that the key was stored with.
    """

    source: str
    key: str
    window_seconds: int
    body_digest: bytes = field(repr=False)
    now_ms: int

    @property
    def expires_ms(self) -> int:
        """Return the moment at which the key may be used anew, where it is stored now."""
        return self.now_ms + self.window_seconds * 1_000


class Storage(Protocol):
    """Be one open destination of one worker; used from one event loop, which it never keeps waiting."""

    def start(self) -> None:
        """Begin to work; what can't be reached is told by each call, not here."""

    async def write(self, record: Record, once: Once | None) -> str:
        """Return the id under which the record is stored, durably.

        That is ``record.id``, or with ``once`` the id that its key was stored with before, and then nothing is written.
        The key is stored in the transaction of the record, so that the answer holds for all workers and after a
        restart. Raise ReusedKeyError where the key came with another body, UnavailableError where nothing can be said.
        """

    async def search(self, wanted: Search) -> Found:
        """Return what a query finds; raise UnavailableError.

        Records go through a ``retrieval.Sieve``, newest first (descending ``id``), until it has enough. Conditions may
        be left to the database as far as it never leaves out what the sieve would take.
        """

    async def probe(self) -> None:
        """Return when records can be stored; raise UnavailableError otherwise."""

    async def close(self) -> None:
        """Write what waits, then let go of everything."""
