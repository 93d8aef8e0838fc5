"""Effects: what to do, in the imperative; the only way out of the fleet.

Decided here: what an effect says. Not decided here: how it is done (``supervisor/perform.py`` has one short function
for each). Effects are performed in the order of the list. Content never enters the core: effects name it by digest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.messages import Activate, Discard, Drain, Limit, Probe
from nexus_supervisor.core.notices import Facts, Notice
from nexus_supervisor.core.problems import Problem

__all__ = [
    "Adopt",
    "Announce",
    "Answer",
    "Archive",
    "Prepare",
    "Burn",
    "Settle",
    "Commit",
    "Complete",
    "Dump",
    "Effect",
    "End",
    "Exit",
    "HandOver",
    "Keep",
    "Kill",
    "Look",
    "Measure",
    "Note",
    "Outcome",
    "Pin",
    "Quarantine",
    "Recall",
    "Record",
    "Rehearse",
    "Release",
    "RunGate",
    "Send",
    "SendStage",
    "Spawn",
    "Terminate",
]


@dataclass(frozen=True, slots=True)
class Look:
    """Have the directory read and judged; ``whole`` means that nothing is held back."""

    ticket: int
    hints: tuple[str, ...] | None
    whole: bool


@dataclass(frozen=True, slots=True)
class Recall:
    """Have an older version read again and judged against what runs; answered by Recalled.

    None: the newest version before the committed one that has other content.
    """

    ticket: int
    version: int | None


@dataclass(frozen=True, slots=True)
class Record:
    """Sign a version and make its journal record durable; answered by Recorded or RecordFailed.

    One that ``revokes``, or goes back, may have the last reserve of a full disk. ``kind`` is why it is on its way.
    """

    version: Version
    digest: Digest
    rollback_of: Version | None
    reason: str
    requester: str
    revokes: bool = False
    kind: str = "push"


@dataclass(frozen=True, slots=True)
class Commit:
    """Make the commit record of a version durable; answered by CommitRecorded or RecordFailed."""

    version: Version


@dataclass(frozen=True, slots=True)
class Burn:
    """Journal that a number will never be used, and why."""

    version: Version
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """Journal how the journey of a version ended, why, who had asked for it, and which numbers speak for that.

    ``outcome`` is ``committed``, ``rejected``, ``rolled_back``, ``superseded`` or ``aborted``; ``condemned``
    follows where workers died on it after its commit.
    """

    version: Version
    outcome: str
    reason: str
    requester: str
    numbers: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """Journal how a request ended, under its id; ``verb`` is ``push``, ``restart`` or ``rollback``."""

    push_id: str
    verb: str
    reason: str
    requester: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Pin:
    """Journal that this content of the directory is not applied by itself; None: nothing is pinned any more."""

    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Release:
    """Journal that a content which failed may be tried again, who wants that, and why."""

    digest: Digest
    reason: str
    requester: str


@dataclass(frozen=True, slots=True)
class Measure:
    """Read every worker's counters; answered by Measured."""


@dataclass(frozen=True, slots=True)
class RunGate:
    """Ask the external gate about a version; answered by GateEnded. It is told the one before, and the kind."""

    version: Version
    before: Version | None
    kind: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Journal that a content failed and is not offered again by itself."""

    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class Archive:
    """Write ``compiled/<version>/`` and the pointer; answered by Archived."""

    version: Version


@dataclass(frozen=True, slots=True)
class Complete:
    """Let workers see that the version is complete on disk, so that they may say that they are ready."""

    version: Version


@dataclass(frozen=True, slots=True)
class Dump:
    """Have a worker write down the stacks of its threads; it may be unable to, and says nothing."""

    slot: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Terminate:
    """Tell a worker by a signal to end (SIGTERM), where it doesn't hear what is sent; its exit is reported."""

    slot: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a process for a slot, with the settings of the content that it will boot.

    ``floor`` is the committed version: nothing below it may ever be accepted by that process. ``fresh``: a rollout
    starts it, so it is made from what the rollout had prepared. ``trial``: it is the trial worker, without sockets.
    ``program`` names the group of the settings whose program it runs; the trial worker runs that of the first one.
    """

    slot: str
    slot_number: int
    incarnation: int
    digest: Digest
    floor: int
    fresh: bool = False
    trial: bool = False
    program: str = ""


@dataclass(frozen=True, slots=True)
class SendStage:
    """Send a version to a worker; ``holds`` are the digests of the contents that it has."""

    slot: str
    incarnation: int
    push: int
    version: Version
    holds: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a small message to a worker."""

    slot: str
    incarnation: int
    message: Activate | Discard | Drain | Limit | Probe


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker at once (SIGKILL); its exit is reported like any other."""

    slot: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Prepare what a restart starts processes from, beside what is in use; answered by Prepared or PrepareFailed.

    That is the listening sockets of the content's settings, and its programs, imported anew. The answer repeats
    ``serial``: an earlier restart may have been left while it was prepared.
    """

    digest: Digest
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Settle:
    """Let go of what was prepared, or of what was in use before it; ``adopted`` says which of the two stays.

    Processes that were started from what goes are not touched by that.
    """

    adopted: bool


@dataclass(frozen=True, slots=True)
class Adopt:
    """Tell the compiler what runs now."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class Keep:
    """Forget every content but these."""

    digests: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell people."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class Outcome:
    """Say how a request ended: the exit code of the command, one word, one sentence, and what supports it."""

    exit_code: int
    word: str
    text: str
    problems: tuple[Problem, ...] = ()
    version: Version | None = None
    workers: int = 0
    held: tuple[str, ...] = ()
    numbers: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer the request of this ticket."""

    ticket: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Try the code that is to take over in a process of its own; answered by Rehearsed."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """Have that code take over in this process, at once; answered by UpgradeFailed, or by nothing any more."""


@dataclass(frozen=True, slots=True)
class Exit:
    """End the supervisor with this exit code."""

    code: int
    reason: str


Effect = (
    Look
    | Recall
    | Record
    | Commit
    | Burn
    | End
    | Note
    | Pin
    | Quarantine
    | Release
    | Measure
    | RunGate
    | Archive
    | Complete
    | Spawn
    | SendStage
    | Send
    | Dump
    | Terminate
    | Kill
    | Prepare
    | Settle
    | Adopt
    | Keep
    | Announce
    | Answer
    | Rehearse
    | HandOver
    | Exit
)
