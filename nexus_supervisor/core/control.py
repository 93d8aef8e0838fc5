"""What a client and the supervisor say to each other over the control socket: one closed union in each direction.

Decided here: the requests, the answers and their fields. Not decided here: who may connect (``control_server.py``) and
how answers are shown (``cli/``). The supervisor answers each request with exactly one answer, except ``FollowNotices``,
which is answered by ``Noticed`` until the client leaves, and ``FollowOutput``, which is answered by ``OutputLine``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nexus_supervisor.core.codec import Codec

__all__ = [
    "ANSWERS",
    "PUSH_ID",
    "REQUESTS",
    "Answer",
    "Ended",
    "FollowNotices",
    "FollowOutput",
    "Noticed",
    "OutputLine",
    "PushRequest",
    "Refusal",
    "Request",
    "RestartRequest",
    "RollbackRequest",
    "ScaleRequest",
    "StatusReport",
    "StatusRequest",
    "SteerRequest",
    "StopRequest",
    "UpgradeRequest",
]

PUSH_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
"""The form of the id under which a request is known."""


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Ask for the status; answered by StatusReport. ``sizes``: with what is costly to measure, once that is known."""

    sizes: bool = False


@dataclass(frozen=True, slots=True)
class PushRequest:
    """Look now and answer when the verdict on what the directory holds is known; answered by Ended.

    ``expect`` is the version that must be live (checked first; another one ends with exit code 6), or None. ``wait`` is
    ``active`` or ``retired``. ``now`` asks for the shorter gate and ``force`` has content tried that failed before:
    both need a reason. ``strategy`` replaces that of the settings, ``allow`` names guards that don't count. A request
    whose ``push_id`` was heard before is that same request: it is answered as that one was or will be.
    """

    reason: str
    expect: int | None
    wait: str
    now: bool = False
    strategy: str = ""
    allow: tuple[str, ...] = ()
    force: bool = False
    push_id: str = ""


@dataclass(frozen=True, slots=True)
class RestartRequest:
    """Replace every worker, applying what is held; answered by Ended when all are replaced.

    ``force`` has content tried that failed before; that wants a reason.
    """

    reason: str
    now: bool
    push_id: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """Go back to the content of an older version (None: the previous one); answered by Ended when that is known."""

    version: int | None
    reason: str
    push_id: str = ""


@dataclass(frozen=True, slots=True)
class SteerRequest:
    """Steer the running rollout: ``promote``, ``pause``, ``resume`` or ``abort``; answered by Ended when accepted."""

    verb: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScaleRequest:
    """Have ``workers`` workers of a program (empty: the first), or ``by`` more or less where that is None.

    Answered by Ended when accepted.
    """

    program: str
    workers: int | None
    by: int
    reason: str


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Drain and end; answered by Ended once accepted, and the connection closes when the supervisor is gone."""

    now: bool


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """Have the code as it is now take over; answered by Ended where it doesn't: else the connection just ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class FollowNotices:
    """Ask for notices: those still kept with a number of at least ``since``, then new ones as they happen."""

    since: int


@dataclass(frozen=True, slots=True)
class FollowOutput:
    """Ask for what workers wrote: the newest ``lines`` kept lines of a slot (empty: of all), and each new one.

    Answered by OutputLine until the client leaves; without ``follow`` by those that are kept, then by Ended.
    """

    slot: str
    lines: int
    follow: bool


Request = (
    StatusRequest
    | PushRequest
    | RestartRequest
    | RollbackRequest
    | ScaleRequest
    | SteerRequest
    | StopRequest
    | UpgradeRequest
    | FollowNotices
    | FollowOutput
)


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Answer with the status: canonical JSON with the fields that contract and docs name."""

    document: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """Answer how it ended: the exit code, one word, one sentence, and the facts as canonical JSON.

    ``outcome`` is APPLIED, REJECTED, HELD, ROLLED_BACK, INCONCLUSIVE, CONFLICT or ACCEPTED. ``problems`` are lines of
    the form ``file:line: key: message``.
    """

    exit_code: int
    outcome: str
    text: str
    problems: tuple[str, ...]
    document: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answer that the request can't be served, and why."""

    exit_code: int
    text: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """Deliver one notice: its number (rising by one), unix time in seconds and canonical JSON of the notice."""

    number: int
    at: float
    document: bytes


@dataclass(frozen=True, slots=True)
class OutputLine:
    """Deliver one line that a worker wrote, escaped: who wrote it, where (``stream``), and unix time when it was read.

    ``stream`` is ``stdout``, ``stderr``, or ``missing`` where ``text`` tells of lines that were dropped.
    """

    slot: str
    incarnation: int
    pid: int
    stream: str
    at: float
    text: str


Answer = StatusReport | Ended | Refusal | Noticed | OutputLine

REQUESTS: Codec[Request] = Codec(Request)
ANSWERS: Codec[Answer] = Codec(Answer)
