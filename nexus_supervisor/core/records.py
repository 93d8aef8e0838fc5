"""Records: what the journal holds, one closed union.

Decided here: the records, their fields and their bytes. Not decided here: how they are chained (``chain.py``), what
they add up to (``ledger.py``) and how they reach the disk (``supervisor/journal.py``). No record holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from nexus_supervisor.core.codec import Codec
from nexus_supervisor.core.problems import Problem

__all__ = [
    "MAX_RECORD_BYTES",
    "RECORDS",
    "Answered",
    "Burnt",
    "Candidate",
    "Checkpoint",
    "Committed",
    "Ended",
    "Pinned",
    "Quarantined",
    "Record",
    "Released",
    "Remembered",
    "Spawned",
    "Unpinned",
]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Make a version known for good, before its first byte is sent.

    ``version`` stays the first field, so that its number can be found even among damaged bytes. ``delta`` is an encoded
    ``Delta`` against content that an earlier record or a version directory gives. ``origin`` says where the content
    came from (``directory``, ``rollback``, …), ``kind`` why it is on its way, ``requester`` who asked for it,
    ``changes`` in one line what is different, ``at`` when (unix seconds).
    """

    version: int
    manifest: bytes
    signature: bytes
    delta: bytes = field(repr=False)
    reason: str
    origin: str
    kind: str = ""
    requester: str = ""
    changes: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Committed:
    """Say that every worker was moved to this version."""

    version: int


@dataclass(frozen=True, slots=True)
class Burnt:
    """Say that this number is used up and that no worker will ever get it."""

    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Spawned:
    """Say that a process was started for a slot; ``token_digest`` is of the secret by which it can be recognized."""

    slot: str
    incarnation: int
    pid: int
    start_time: float
    token_digest: bytes


@dataclass(frozen=True, slots=True)
class Pinned:
    """Say that the directory's content of this digest is not applied by itself."""

    digest: str


@dataclass(frozen=True, slots=True)
class Unpinned:
    """Say that nothing is pinned any more."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Say that a content failed and is not offered again by itself."""

    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class Released:
    """Say that a content which failed may be tried again, who wants that, and why."""

    digest: str
    reason: str
    requester: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """Say how a version's journey ended, why, who had asked for it, when, and which numbers (JSON) speak for that."""

    version: int
    outcome: str
    reason: str
    requester: str
    at: float = 0.0
    numbers: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Answered:
    """Say how a request ended, under the id that its client gave it; ``version`` is 0 where it speaks of none.

    It is the whole answer, cut to what a journal should hold: who asks again under that id gets it again. ``numbers``
    is canonical JSON.
    """

    push_id: str
    verb: str
    reason: str
    requester: str
    exit_code: int
    outcome: str
    text: str
    version: int
    at: float
    workers: int = 0
    held: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    numbers: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Remembered:
    """Carry one line of the history into a journal that was made shorter: canonical JSON of a ``Past``."""

    version: int
    line: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Sum up everything before it: the first record of a journal that was made shorter.

    ``version`` is the highest number ever used, ``chain`` the last hash of the journal that this one replaces.
    """

    version: int
    committed: int | None
    chain: bytes
    pinned: str | None
    quarantined: dict[str, str]


Record = (
    Candidate
    | Committed
    | Burnt
    | Spawned
    | Pinned
    | Unpinned
    | Quarantined
    | Released
    | Ended
    | Answered
    | Remembered
    | Checkpoint
)

MAX_RECORD_BYTES: Final = 1 << 30
"""Whole content of the largest directory that limits allow fits into one record."""

RECORDS: Codec[Record] = Codec(Record, MAX_RECORD_BYTES)
