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
    "Bind",
    "Burn",
    "CloseListeners",
    "Commit",
    "Complete",
    "Effect",
    "End",
    "Exit",
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
    "Release",
    "RunGate",
    "Send",
    "SendStage",
    "Spawn",
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
class Spawn:
    """Start a process for a slot, with the settings of the content that it will boot.

    ``floor`` is the committed version: nothing below it may ever be accepted by that process. ``fresh``: a rollout
    starts it, so it gets the sockets that the rollout had bound. ``trial``: it is the trial worker, and gets none.
    """

    slot: str
    slot_number: int
    incarnation: int
    digest: Digest
    floor: int
    fresh: bool = False
    trial: bool = False


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
class Bind:
    """Bind the listening sockets of a content's settings beside those in use; answered by Bound or BindFailed."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class CloseListeners:
    """Close the listening sockets that only drained workers used; ``adopted`` says which of the two sets stays."""

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
    | Kill
    | Bind
    | CloseListeners
    | Adopt
    | Keep
    | Announce
    | Answer
    | Exit
)
