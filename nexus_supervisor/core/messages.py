"""What supervisor and worker say to each other: one closed union in each direction.

Decided here: the messages and their fields. Not decided here: their bytes (``codec.py``), what they lead to
(``lifecycle.py``, ``rollout.py``, ``fleet.py`` on one side, ``agent/`` on the other). A new message is added here; mypy
then lists every place that has to know it, by ``assert_never``.

Every message of a worker names its slot and incarnation, so that the last words of a dead process are recognised. A
push id names one attempt to move one slot to one version.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nexus_supervisor.core.codec import Codec
from nexus_supervisor.core.content import Digest, Version

__all__ = [
    "FROM_WORKER",
    "TO_WORKER",
    "Activate",
    "Active",
    "Booted",
    "Discard",
    "Drain",
    "Drained",
    "Erred",
    "FromWorker",
    "Limit",
    "Probe",
    "Probed",
    "Ready",
    "Rejected",
    "Retired",
    "Stage",
    "Staged",
    "Start",
    "ToWorker",
]


@dataclass(frozen=True, slots=True)
class Start:
    """Tell a fresh process who it is: always the first message.

    Descriptors beside it: the listening sockets, in the order of ``listeners`` (each ``host:port`` or ``unix:PATH``),
    then the memfd of the shared counters. ``public_key`` is the raw Ed25519 key (32 bytes), None where signing is off.
    ``floor`` is the highest version that this slot may have served: only a greater one, or exactly ``floor`` again, is
    accepted first. ``hooks`` is the module of the application's hooks, or empty; ``threads`` how many requests a
    program that serves in threads takes at a time. ``max_snapshot_seconds`` is that setting where the command line or
    the environment gives it; None: each version's own. ``trial`` makes it the trial worker: it gets no descriptors and
    no traffic, and tries in a child of its own each version that it is to stage. ``limits`` are those of
    ``agent/confine.py``. ``tls`` names the section with the certificates that listening sockets speak TLS with; empty:
    they don't.
    """

    slot: str
    incarnation: int
    slot_number: int
    slots: int
    directory: str
    audience: str
    program: str
    app: str
    public_key: bytes | None
    floor: int
    listeners: tuple[str, ...]
    counter_rows: int
    drain_timeout_seconds: float
    log_level: str
    log_format: str
    hooks: str
    threads: int
    max_snapshot_seconds: float | None
    trial: bool = False
    tls: str = ""
    limits: tuple[int, ...] = (0, 0, 0)
    pepper: bytes = field(repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Stage:
    """Offer a version: verify it, apply it beside the current one, answer Staged or Rejected.

    ``payload`` is an encoded ``Delta`` against ``base`` (the digest that the worker holds; None: whole content). It is
    None where the payload travels as a sealed memfd, or where ``base`` already is the content (a rollback, a new number
    for the same content). Descriptors beside it: the payload memfd if ``payload_beside``, then the memfd of secret
    values if ``secrets_beside``, then that of ``rows`` if ``rows_beside``. ``rows`` is the packed map section → entry →
    row in the shared counters, of the entries that the payload brings.
    """

    push: int
    version: Version
    manifest: bytes
    signature: bytes
    base: Digest | None
    payload: bytes | None = field(repr=False)
    payload_beside: bool
    secrets_beside: bool
    rows: bytes | None = field(repr=False)
    rows_beside: bool


@dataclass(frozen=True, slots=True)
class Activate:
    """Make the staged version current: one assignment."""

    push: int
    version: Version


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget the staged version."""

    push: int
    version: Version


@dataclass(frozen=True, slots=True)
class Drain:
    """Stop accepting, finish what is in hand, then exit with 0."""

    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Limit:
    """Bound what one trial may cost, from the next one on. Only the trial worker is told; no answer."""

    cpu_seconds: float
    memory_mb: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Call the application's hook ``probe`` with the version that is active; answered by Probed."""

    push: int
    version: Version


ToWorker = Start | Stage | Activate | Discard | Drain | Limit | Probe


@dataclass(frozen=True, slots=True)
class Booted:
    """Say that the process runs and has read its Start."""

    slot: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Staged:
    """Say that the version is verified, applied and ready to be activated; ``digest`` is of what was built."""

    slot: str
    incarnation: int
    push: int
    version: Version
    digest: Digest


@dataclass(frozen=True, slots=True)
class Rejected:
    """Say that the version was refused and that nothing changed.

    ``reason`` is a word of ``trust.Verdict`` (``signature_mismatch``, ``rolled_back``, ``equivocation``, …) or
    ``not_applicable`` (the delta doesn't fit what this worker holds) or ``model`` (it can't be built).
    """

    slot: str
    incarnation: int
    push: int
    version: Version
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Active:
    """Say that the version is what requests that begin now get."""

    slot: str
    incarnation: int
    push: int
    version: Version
    digest: Digest


@dataclass(frozen=True, slots=True)
class Retired:
    """Say that no request uses any version older than ``oldest`` any more, and what outlives its last request.

    Times are of the machine's monotonic clock, in seconds. ``replaced_at`` is when a newer version took the place of
    ``oldest``; None where it is the current one. ``lingering`` counts retired snapshots that something still refers to
    (a cache, a kept task, a traceback), ``lingering_since`` is when the first of them was retired, or None.
    """

    slot: str
    incarnation: int
    oldest: Version
    replaced_at: float | None = None
    lingering: int = 0
    lingering_since: float | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """Say that the program serves."""

    slot: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Drained:
    """Say that nothing is in hand any more and that the process is about to exit.

    ``cut`` is how many requests or jobs were cut off at the deadline.
    """

    slot: str
    incarnation: int
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Probed:
    """Say how the application's own probe of a version ended: ``passed``, ``failed``, or ``none`` where there is none.

    ``detail`` says why it failed, without secrets.
    """

    slot: str
    incarnation: int
    push: int
    version: Version
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Erred:
    """Say which exception was the first to leave a request of this version, or ended the program.

    That is its type and place, never its text, but for an error of ours, which is a sentence without secrets.
    """

    slot: str
    incarnation: int
    version: Version
    what: str


FromWorker = Booted | Staged | Rejected | Active | Retired | Ready | Drained | Probed | Erred

TO_WORKER: Codec[ToWorker] = Codec(ToWorker)
FROM_WORKER: Codec[FromWorker] = Codec(FromWorker)
