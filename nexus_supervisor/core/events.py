"""Events: what happened, in the past tense; the only way into the fleet.

Decided here: the facts that an event carries. Not decided here: what follows from them (``fleet.py``). Every event is
legal in every state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.messages import FromWorker
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.readings import Reading
from nexus_supervisor.core.settings import Settings
from nexus_supervisor.core.shape import NO_SHAPE, Shape

__all__ = [
    "Archived",
    "PrepareFailed",
    "Prepared",
    "Candidate",
    "CandidateRefused",
    "CandidateSeen",
    "CommitRecorded",
    "Elapsed",
    "Event",
    "GateEnded",
    "LookFailed",
    "Measured",
    "PushAsked",
    "Recalled",
    "RecordFailed",
    "Recorded",
    "Rehearsed",
    "RestartAsked",
    "RollbackAsked",
    "ScaleAsked",
    "SpawnFailed",
    "Spawned",
    "SteerAsked",
    "StopAsked",
    "Touched",
    "UpgradeAsked",
    "UpgradeFailed",
    "Verb",
    "WorkerExited",
    "WorkerSaid",
]

Verb = Literal["promote", "pause", "resume", "abort"]
"""What steers a running rollout."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hold what the directory holds and what of it can go live.

    ``wanted`` is all of it, ``digest`` what can go live now, ``base`` the content that the verdict was reached against.
    ``held`` are keys that wait for a restart, ``blocked`` says why nothing can go on without them: ``digest`` is
    ``base`` then. ``settings`` are those of ``digest``, ``shape`` compares it with ``base``. ``widened`` are keys of
    entries that may do more than in ``base``. ``gone`` are live entries of ``base`` that no file has any more,
    ``revoked`` is ``base`` without them: None where nothing is gone or what remains is invalid (``remains`` says why).
    ``lessens`` are earlier ``wanted`` that this one differs from by nothing but the removal of entries that run.
    """

    wanted: Digest
    digest: Digest
    base: Digest
    held: tuple[str, ...]
    blocked: tuple[Problem, ...]
    gone: tuple[str, ...]
    settings: Settings
    shape: Shape = NO_SHAPE
    widened: tuple[str, ...] = ()
    revoked: Digest | None = None
    remains: tuple[Problem, ...] = ()
    revoked_settings: Settings | None = None
    revoked_shape: Shape = NO_SHAPE
    lessens: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Touched:
    """Something may have changed.

    ``hints`` are paths relative to DIR, None: anything. ``urgent``: wait neither for quiet nor for names to come back.
    """

    hints: tuple[str, ...] | None
    urgent: bool


@dataclass(frozen=True, slots=True)
class CandidateSeen:
    """The directory was read and is valid."""

    ticket: int
    candidate: Candidate
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class CandidateRefused:
    """The directory was read and is not valid.

    ``revoked`` is the content of ``base`` less ``gone``, or None where nothing is gone or what remains is invalid
    (``remains`` says why); ``settings`` are those of ``revoked``, ``shape`` compares it with ``base``. ``doubtful`` are
    live entries that only a file which can't be read may still hold: nobody can say whether they are gone.
    """

    ticket: int
    problems: tuple[Problem, ...]
    unstable: bool
    base: Digest
    gone: tuple[str, ...]
    revoked: Digest | None
    remains: tuple[Problem, ...]
    settings: Settings | None
    doubtful: tuple[str, ...] = ()
    shape: Shape = NO_SHAPE


@dataclass(frozen=True, slots=True)
class LookFailed:
    """The compiler died or ran out of its limits while it looked."""

    ticket: int
    reason: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """The candidate record of a version is durable."""

    version: Version


@dataclass(frozen=True, slots=True)
class CommitRecorded:
    """The commit record of a version is durable."""

    version: Version


@dataclass(frozen=True, slots=True)
class RecordFailed:
    """A record could not be made durable; nothing may be concluded from the file any more."""

    version: Version
    reason: str


@dataclass(frozen=True, slots=True)
class Archived:
    """``compiled/<version>/`` and the pointer are complete, or could not be written (``failure`` says why)."""

    version: Version
    failure: str | None


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process was started."""

    slot: str
    incarnation: int
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """A process could not be started."""

    slot: str
    incarnation: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerSaid:
    """A worker sent a message."""

    message: FromWorker


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """A worker is gone. ``status`` says how, in words; ``clean`` means exit code 0."""

    slot: str
    incarnation: int
    status: str
    clean: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a restart starts processes from is there: sockets are bound, programs are imported."""

    serial: int = 0


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    """What a restart would start processes from can't be had: an address, or a program that can't be imported."""

    reason: str
    serial: int = 0


@dataclass(frozen=True, slots=True)
class PushAsked:
    """Somebody asked to look now, and to be told the verdict.

    ``now`` asks for the shorter gate, ``strategy`` for another one than the settings' (empty: theirs). ``allow`` names
    shape guards that don't count, ``force`` has content tried that failed before. ``push_id`` names the request: a
    second one of the same name is the same request.
    """

    ticket: int
    reason: str
    requester: str
    expect: int | None
    until_retired: bool
    now: bool = False
    strategy: str = ""
    allow: tuple[str, ...] = ()
    force: bool = False
    push_id: str = ""


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """Somebody asked for new processes, with everything that the directory holds.

    ``now``: the old ones don't wait for requests in hand. ``force`` has content tried that failed before.
    """

    ticket: int
    reason: str
    requester: str
    now: bool = False
    push_id: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class RollbackAsked:
    """Somebody asked to go back to the content of an older version; None: of the previous one with other content."""

    ticket: int
    version: int | None
    reason: str
    requester: str
    push_id: str = ""


@dataclass(frozen=True, slots=True)
class ScaleAsked:
    """Somebody asked for another number of workers of a program: for ``workers``, or for ``by`` more or less.

    ``program`` is the name of a group; empty: the first.
    """

    ticket: int
    program: str
    workers: int | None
    by: int
    reason: str
    requester: str


@dataclass(frozen=True, slots=True)
class SteerAsked:
    """Somebody steers the running rollout."""

    ticket: int
    verb: Verb
    reason: str
    requester: str


@dataclass(frozen=True, slots=True)
class Recalled:
    """An older version was read again and judged: what of it can go live, or why it can't be used.

    ``version`` is the version that was recalled, 0 where there is none. Of the candidate, ``held`` are the keys that
    stay as they run, ``gone`` entries that no file has any more and that ``digest`` does without.
    """

    ticket: int
    version: Version
    candidate: Candidate | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """Every worker's counters were read, by slot and incarnation."""

    readings: Mapping[tuple[str, int], Reading]


@dataclass(frozen=True, slots=True)
class GateEnded:
    """The external gate of a version has decided; ``reason`` says why it refuses."""

    version: Version
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class UpgradeAsked:
    """Somebody asked that the code of the supervisor as it is now takes over."""

    ticket: int
    reason: str
    requester: str


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The code that is to take over was tried: it can, or ``failure`` says why not."""

    failure: str


@dataclass(frozen=True, slots=True)
class UpgradeFailed:
    """The supervisor could not be handed over, and is the same as before."""

    reason: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody asked to end; ``now`` means without waiting for requests in hand.

    ``dump``: every worker writes down its stacks, and ends by itself as soon as there was time for that.
    """

    requester: str
    now: bool
    dump: bool = False


@dataclass(frozen=True, slots=True)
class Elapsed:
    """Time passed; sent when ``Fleet.deadline()`` is due."""


Event = (
    Touched
    | CandidateSeen
    | CandidateRefused
    | LookFailed
    | Recorded
    | CommitRecorded
    | RecordFailed
    | Archived
    | Spawned
    | SpawnFailed
    | WorkerSaid
    | WorkerExited
    | Prepared
    | PrepareFailed
    | PushAsked
    | RestartAsked
    | RollbackAsked
    | ScaleAsked
    | SteerAsked
    | Recalled
    | Measured
    | GateEnded
    | UpgradeAsked
    | Rehearsed
    | UpgradeFailed
    | StopAsked
    | Elapsed
)
