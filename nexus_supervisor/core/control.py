"""What a client and the supervisor say to each other over the control socket: one closed union in each direction.

Decided here: the requests, the answers and their fields. Not decided here: who may connect (``control_server.py``) and
how answers are shown (``cli/``). The supervisor answers each request with exactly one answer, except ``FollowNotices``,
which is answered by ``Noticed`` until the client leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

from nexus_supervisor.core.codec import Codec

__all__ = [
    "ANSWERS",
    "REQUESTS",
    "Answer",
    "Ended",
    "FollowNotices",
    "Noticed",
    "PushRequest",
    "Refusal",
    "Request",
    "RestartRequest",
    "StatusReport",
    "StatusRequest",
    "StopRequest",
]


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Ask for the status; answered by StatusReport."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """Look now and answer when the verdict on what the directory holds is known; answered by Ended.

    ``expect`` is the version that must be live (checked first; another one ends with exit code 6), or None. ``wait`` is
    ``active`` or ``retired``.
    """

    reason: str
    expect: int | None
    wait: str


@dataclass(frozen=True, slots=True)
class RestartRequest:
    """Replace every worker, applying what is held; answered by Ended when all are replaced."""

    reason: str
    now: bool


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Drain and end; answered by Ended once accepted, and the connection closes when the supervisor is gone."""

    now: bool


@dataclass(frozen=True, slots=True)
class FollowNotices:
    """Ask for notices: those still kept with a number of at least ``since``, then new ones as they happen."""

    since: int


Request = StatusRequest | PushRequest | RestartRequest | StopRequest | FollowNotices


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


Answer = StatusReport | Ended | Refusal | Noticed

REQUESTS: Codec[Request] = Codec(Request)
ANSWERS: Codec[Answer] = Codec(Answer)
