"""Requests of clients as the fleet hears them.

Decided here: what a request must say before the fleet hears of it at all, and which id it has. Not decided here: what
it leads to (``core/``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, assert_never, get_args

from nexus_supervisor.core import guards
from nexus_supervisor.core.control import (
    PUSH_ID,
    PushRequest,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    SteerRequest,
    UpgradeRequest,
)
from nexus_supervisor.core.events import (
    PushAsked,
    RestartAsked,
    RollbackAsked,
    ScaleAsked,
    SteerAsked,
    UpgradeAsked,
    Verb,
)
from nexus_supervisor.core.options import STRATEGIES
from nexus_supervisor.errors import UsageError

__all__ = ["STRATEGIES", "VERBS", "Asked", "asks"]

VERBS: tuple[Verb, ...] = get_args(Verb)
"""What steers a running rollout."""

MAX_REASON_CHARACTERS = 1_000
"""A reason is shown in every line of the history: longer ones belong elsewhere."""

_WAITS = ("active", "retired")
Word = TypeVar("Word", bound=str)

Asking = PushAsked | RestartAsked | RollbackAsked | ScaleAsked | SteerAsked | UpgradeAsked


@dataclass(frozen=True, slots=True)
class Asked:
    """Hold the id of a request, and how it becomes an event once ticket and requester are known."""

    push_id: str
    event: Callable[[int, str], Asking]


def asks(
    request: PushRequest | RestartRequest | RollbackRequest | ScaleRequest | SteerRequest | UpgradeRequest,
) -> Asked:
    """Return what a request asks for; raise UsageError where it can't be meant."""
    if len(request.reason) > MAX_REASON_CHARACTERS:
        message = f"a reason has at most {MAX_REASON_CHARACTERS} characters, found {len(request.reason)}"
        raise UsageError(message)
    match request:
        case PushRequest():
            return _push(request, _identity(request.push_id))
        case RestartRequest():
            return _restart(request, _identity(request.push_id))
        case RollbackRequest(version=version, reason=reason):
            named = _identity(request.push_id)
            return Asked(named, lambda ticket, who: RollbackAsked(ticket, version, reason, who, named))
        case ScaleRequest(program=program, workers=workers, by=by, reason=reason):
            return Asked("", lambda ticket, who: ScaleAsked(ticket, program, workers, by, reason, who))
        case UpgradeRequest(reason=reason):
            return Asked("", lambda ticket, who: UpgradeAsked(ticket, reason, who))
        case SteerRequest(verb=verb, reason=reason):
            known = _known("a rollout is steered by", verb, VERBS)
            return Asked("", lambda ticket, who: SteerAsked(ticket, known, reason, who))
        case _:
            assert_never(request)


def _push(request: PushRequest, push_id: str) -> Asked:
    _known("a push waits until", request.wait, _WAITS)
    if request.strategy:
        _known("a strategy is", request.strategy, STRATEGIES)
    for guard in request.allow:
        _known("a guard is", guard, guards.NAMES)
    exceptions = {"--now": request.now, "--force": request.force, "--allow": bool(request.allow)}
    asked = [option for option, given in exceptions.items() if given]
    if asked and not request.reason.strip():
        message = f"push {' '.join(asked)} needs --reason: the history must say why an exception was made"
        raise UsageError(message)

    def event(ticket: int, who: str) -> PushAsked:
        return PushAsked(
            ticket,
            request.reason,
            who,
            request.expect,
            until_retired=request.wait == "retired",
            now=request.now,
            strategy=request.strategy,
            allow=request.allow,
            force=request.force,
            push_id=push_id,
        )

    return Asked(push_id, event)


def _restart(request: RestartRequest, push_id: str) -> Asked:
    if request.force and not request.reason.strip():
        message = "restart --force needs --reason: the history must say why content that failed is tried again"
        raise UsageError(message)
    reason, now, force = request.reason, request.now, request.force
    return Asked(push_id, lambda ticket, who: RestartAsked(ticket, reason, who, now=now, push_id=push_id, force=force))


def _identity(push_id: str) -> str:
    """Return the id that the client gave, or one of ours."""
    if not push_id:
        return uuid.uuid4().hex
    if not PUSH_ID.fullmatch(push_id):
        message = "the id of a request is 1 to 64 of letters, digits and _.:-"
        raise UsageError(message)
    return push_id


def _known(sentence: str, found: str, allowed: tuple[Word, ...]) -> Word:
    """Return the allowed word that was found; raise UsageError for another one."""
    for word in allowed:
        if word == found:
            return word
    message = f"{sentence} {', '.join(allowed[:-1])} or {allowed[-1]}, found {found[:64]!r}"
    raise UsageError(message)
