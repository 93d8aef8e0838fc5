"""Requests: who asked for what, and what they were told.

Decided here: that a request which comes twice under one id is one request, that an id is good for one verb, and how
many answers are remembered. Not decided here: what a request leads to, and its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.effects import Answer, Effect, Note, Outcome
from nexus_supervisor.core.events import PushAsked, RestartAsked, RollbackAsked

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NOBODY", "Answered", "Requests", "Rider"]

NOBODY = -1
"""The ticket of a request that nobody made: the fleet itself wants it, and nobody is answered."""

Rider = PushAsked | RestartAsked | RollbackAsked
"""A request that is answered by the end of something."""

Answered = tuple[str, Outcome]
"""What a request was (``push``, ``restart``, ``rollback``) and how it was answered."""

_VERBS = {PushAsked: "push", RestartAsked: "restart", RollbackAsked: "rollback"}
_MAX_ANSWERED = 1_000


class Requests:
    """Hold the requests that are open, by ticket, and the verbs and answers of those that are over, by id."""

    def __init__(self, answered: Mapping[str, Answered]) -> None:
        self._answered = dict(answered)
        self._open: dict[int, Rider] = {}
        self._twins: dict[int, list[int]] = {}

    def take(self, rider: Rider) -> list[Effect] | None:
        """Note a request; return effects where it was heard before and needs nothing more, None where it is new."""
        verb = _VERBS[type(rider)]
        if rider.push_id and rider.push_id in self._answered:
            earlier, outcome = self._answered[rider.push_id]
            return [Answer(rider.ticket, outcome if earlier == verb else _used(rider.push_id, earlier))]
        for ticket, other in self._open.items() if rider.push_id else ():
            if other.push_id == rider.push_id:
                if _VERBS[type(other)] != verb:
                    return [Answer(rider.ticket, _used(rider.push_id, _VERBS[type(other)]))]
                self._twins.setdefault(ticket, []).append(rider.ticket)
                return []
        self._open[rider.ticket] = rider
        return None

    def answer(self, ticket: int, outcome: Outcome) -> list[Effect]:
        """Return the effects that journal an answer and give it, also to every other request of the same id."""
        if ticket == NOBODY:
            return []
        rider = self._open.pop(ticket, None)
        effects: list[Effect] = []
        if rider is not None and rider.push_id:
            while len(self._answered) >= _MAX_ANSWERED:
                del self._answered[next(iter(self._answered))]
            verb = _VERBS[type(rider)]
            self._answered[rider.push_id] = verb, outcome
            effects.append(Note(rider.push_id, verb, rider.reason, rider.requester, outcome))
        return [*effects, *(Answer(one, outcome) for one in (ticket, *self._twins.pop(ticket, ())))]


def _used(push_id: str, verb: str) -> Outcome:
    """Answer a request under an id that another kind of request has."""
    text = f"The id {push_id} is that of a {verb}: name this request differently."
    return Outcome(6, "CONFLICT", text)
