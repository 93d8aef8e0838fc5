"""The hand-over: everything that a supervisor leaves to the one that takes its place in the same process.

Decided here: what crosses, in which form, and which hand-overs are refused. Not decided here: when it happens
(``upgrading.py``), how it is gathered and taken up (``supervisor/upgrade.py``, ``supervisor/resume.py``).

Neither key nor pepper nor the value of a secret is among it: secrets cross as descriptors of sealed memory, the others
are read anew. What the journal holds is read from there.

Two messages follow each other: a preface, whose form never changes, so that whoever reads it can say why it can't take
the rest, and the hand-over itself. Workers and zygotes go on with the code that they have, so what they say and hear
must be what the new code says and hears: ``protocol()`` tells by the shapes of all messages, and by SERIES.
"""

from __future__ import annotations

import dataclasses
import hashlib
import typing
from dataclasses import dataclass
from typing import Any

from nexus_supervisor.core.cells import BANK_WORDS, WORD_BYTES
from nexus_supervisor.core.codec import Codec
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.forking import FROM_ZYGOTE, TO_ZYGOTE, Load
from nexus_supervisor.core.framing import HEADER_BYTES
from nexus_supervisor.core.messages import FROM_WORKER, TO_WORKER
from nexus_supervisor.core.roster import Process, Slot
from nexus_supervisor.core.standing import Standing
from nexus_supervisor.errors import ProtocolError, RejectedError

__all__ = [
    "FORMAT",
    "HandedColumn",
    "HandedContent",
    "HandedCount",
    "HandedFleet",
    "HandedInherited",
    "HandedListeners",
    "HandedNotice",
    "HandedNotices",
    "HandedOutput",
    "HandedPipe",
    "HandedProbation",
    "HandedProgram",
    "HandedRows",
    "HandedSocket",
    "HandedStream",
    "HandedWorker",
    "HandedZygote",
    "Handover",
    "Preface",
    "decode",
    "encode",
    "protocol",
]

FORMAT = 1
"""Of the hand-over; a supervisor takes none but its own."""

SERIES = 1
"""Raised where workers and supervisor come to mean something else by the same messages, memory or descriptors."""

_MAX_BYTES = 1 << 30
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Preface:
    """Say what follows: its format, the protocol of the workers, and the version of the package that wrote it."""

    format: int
    protocol: str
    package: str


# --- the fleet -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HandedCount:
    """Hold how many workers of a program somebody asked for, and instead of which number."""

    program: str
    workers: int
    instead_of: int


@dataclass(frozen=True, slots=True)
class HandedProbation:
    """Hold which version is on probation, since when, who died on it, and when one was last gone back from."""

    version: Version | None
    since: float
    deaths: dict[str, tuple[float, ...]]
    returned_at: float | None


@dataclass(frozen=True, slots=True)
class HandedFleet:
    """Hold the facts of the fleet that the journal doesn't hold.

    ``version`` and ``digest`` are what is committed: what the journal says must be the same. Every process serves.
    """

    version: Version
    digest: Digest
    slots: tuple[Slot, ...]
    processes: tuple[Process, ...]
    incarnations: dict[str, int]
    pushes: int
    counts: tuple[HandedCount, ...]
    standing: Standing
    wanted: Digest | None
    probation: HandedProbation


# --- the shell -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HandedPipe:
    """Hold a pipe by its descriptor, with the beginning of a message that has arrived."""

    descriptor: int
    unread: bytes


@dataclass(frozen=True, slots=True)
class HandedWorker:
    """Hold a worker process."""

    slot: str
    incarnation: int
    pid: int
    pipe: HandedPipe


@dataclass(frozen=True, slots=True)
class HandedZygote:
    """Hold a zygote that has imported its program, and how many workers it was asked for."""

    pid: int
    pipe: HandedPipe
    load: Load
    asked: int


@dataclass(frozen=True, slots=True)
class HandedSocket:
    """Hold a listening socket; ``device`` and ``inode`` are those of the file that has to be removed, or 0."""

    descriptor: int
    address: str
    key: str
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class HandedProgram:
    """Hold which sockets a program listens on, by their descriptors."""

    name: str
    sockets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HandedInherited:
    """Hold the sockets that the process was started with; their numbers stay what they are."""

    sockets: tuple[int, ...]
    names: dict[str, tuple[int, ...]]
    refused: dict[str, str]
    remark: str


@dataclass(frozen=True, slots=True)
class HandedListeners:
    """Hold all listening sockets."""

    sockets: tuple[HandedSocket, ...]
    programs: tuple[HandedProgram, ...]
    inherited: HandedInherited


@dataclass(frozen=True, slots=True)
class HandedColumn:
    """Hold which column of the counters a process writes."""

    slot: str
    incarnation: int
    column: int


@dataclass(frozen=True, slots=True)
class HandedRows:
    """Hold the memory of the counters: its measures, and who has which row and which column."""

    descriptor: int
    rows: int
    columns: int
    taken: dict[str, dict[str, int]]
    free: tuple[int, ...]
    processes: tuple[HandedColumn, ...]


@dataclass(frozen=True, slots=True)
class HandedStream:
    """Hold one pipe that a worker writes to, with the line that has begun and how long that is so far."""

    name: str
    descriptor: int
    begun: bytes
    length: int


@dataclass(frozen=True, slots=True)
class HandedOutput:
    """Hold the pipes of a process that writes, and when they are closed where it has ended."""

    slot: str
    incarnation: int
    pid: int
    close_at: float | None
    streams: tuple[HandedStream, ...]


@dataclass(frozen=True, slots=True)
class HandedNotice:
    """Hold a notice, and when it was told."""

    number: int
    at: float
    level: str
    kind: str
    text: str
    fields: dict[str, str | int | float | bool | tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class HandedNotices:
    """Hold the notices that are kept, the next number, and the notices of security that the status shows."""

    kept: tuple[HandedNotice, ...]
    following: int
    security: tuple[HandedNotice, ...]


@dataclass(frozen=True, slots=True)
class HandedContent:
    """Hold the sealed memory with the secrets of a content."""

    digest: Digest
    secrets: int


@dataclass(frozen=True, slots=True)
class Handover:
    """Hold everything that crosses.

    ``began`` is when the old code let go, ``started`` when the daemon was started (monotonic), ``upgrades`` how often
    it has been handed over. ``audience`` and ``public_key`` are what workers verify by. ``lock`` is a descriptor, and
    so is that of ``control``, with its file. ``environment`` are the variables that no worker may see, ``room`` is how
    many slots there may be, ``generation`` that of the zygotes.
    """

    began: float
    started: float
    upgrades: int
    audience: str
    public_key: bytes | None
    lock: int
    control: HandedSocket
    environment: tuple[str, ...]
    room: int
    fleet: HandedFleet
    contents: tuple[HandedContent, ...]
    listeners: HandedListeners
    rows: HandedRows
    workers: tuple[HandedWorker, ...]
    generation: int
    zygotes: tuple[HandedZygote, ...]
    output: tuple[HandedOutput, ...]
    notices: HandedNotices


_CODEC: Codec[Preface | Handover] = Codec(Preface | Handover, _MAX_BYTES)


def encode(handover: Handover, package: str) -> bytes:
    """Return a hand-over as bytes, behind its preface; raise ProtocolError where it can't be said."""
    preface = _CODEC.encode(Preface(FORMAT, protocol(), package))
    return len(preface).to_bytes(_LENGTH_BYTES, "big") + preface + _CODEC.encode(handover)


def decode(raw: bytes | memoryview) -> tuple[Preface, Handover]:
    """Return a hand-over and its preface.

    Raise RejectedError where it is one that this code can't take, ProtocolError where it is none.
    """
    length = int.from_bytes(raw[:_LENGTH_BYTES], "big")
    preface = _CODEC.decode(bytes(raw[_LENGTH_BYTES : _LENGTH_BYTES + length]))
    if not isinstance(preface, Preface):
        text = "a hand-over must begin with its preface"
        raise ProtocolError(text)
    if preface.protocol != protocol():
        message = (
            f"the workers of version {preface.package} speak another protocol than this one: restart the daemon to get "
            "this version (stop and run)"
        )
        raise RejectedError(message)
    if preface.format != FORMAT:
        message = (
            f"version {preface.package} hands over in format {preface.format}, and this one takes format {FORMAT}: "
            "restart the daemon to get this version (stop and run)"
        )
        raise RejectedError(message)
    handover = _CODEC.decode(bytes(raw[_LENGTH_BYTES + length :]))
    if not isinstance(handover, Handover):
        text = "a hand-over must follow its preface"
        raise ProtocolError(text)
    return preface, handover


def protocol() -> str:
    """Return a digest of what supervisor, workers and zygotes say to each other, and of the memory that they share."""
    classes: dict[str, type] = {}
    for codec in (TO_WORKER, FROM_WORKER, TO_ZYGOTE, FROM_ZYGOTE):
        for one in codec.classes:
            _gather(one, classes)
    shapes = [f"series {SERIES}, frame {HEADER_BYTES}, word {WORD_BYTES}, bank {BANK_WORDS}"]
    shapes += [_shape(classes[name]) for name in sorted(classes)]
    return hashlib.sha256("\n".join(shapes).encode()).hexdigest()


def _gather(found: Any, classes: dict[str, type]) -> None:
    """Add a dataclass, and every one that its fields may hold."""
    if dataclasses.is_dataclass(found) and isinstance(found, type) and found.__name__ not in classes:
        classes[found.__name__] = found
        for hint in typing.get_type_hints(found).values():
            _gather(hint, classes)
    for argument in typing.get_args(found):
        _gather(argument, classes)


def _shape(cls: type) -> str:
    fields = dataclasses.fields(cls)
    return f"{cls.__name__}({', '.join(f'{field.name}: {field.type}' for field in fields)})"
