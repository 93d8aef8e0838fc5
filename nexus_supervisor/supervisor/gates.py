"""The external gate: a command and an address that somebody else answers for.

Decided here: how they are asked about a version, what counts as yes, and that an answer comes in time, whatever they
do. Not decided here: when they are asked and what a refusal leads to (``core/``).

Each question runs in a thread of its own, which may hang in a name server for longer than we wait; the deadline is kept
by the event loop. A new question ends the one before.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING

from nexus_supervisor.core.events import Event, GateEnded
from nexus_supervisor.supervisor.child import environment
from nexus_supervisor.supervisor.questions import AddressQuestion, CommandQuestion, Question

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from nexus_supervisor.core.effects import RunGate
    from nexus_supervisor.core.settings import ExternalGateSettings

__all__ = ["Gates"]

_CLOSE_SECONDS = 1.0


class Gates:
    """Hold the question that is open, if any. ``post`` takes one GateEnded for each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: Path, post: Callable[[Event], None]) -> None:
        self._loop, self._directory, self._post = loop, directory, post
        self._asking: _Asking | None = None

    def run(self, effect: RunGate, gate: ExternalGateSettings, secret: Iterable[str]) -> None:
        """Ask about a version; ``secret`` names the variables that no command may see."""
        self._end(f"was asked about version {effect.version} instead")
        facts = {
            "version": str(effect.version),
            "previous_version": "" if effect.before is None else str(effect.before),
            "kind": effect.kind,
        }
        questions: list[Question] = []
        if gate.command:
            variables = environment(os.environ, secret) | {f"NEXUS_{name.upper()}": one for name, one in facts.items()}
            questions.append(CommandQuestion(gate.command, self._directory, variables))
        if gate.url:
            questions.append(AddressQuestion(gate.url, facts, gate.timeout_seconds))
        late = f"did not answer within {gate.timeout_seconds:g} s"
        self._asking = asking = _Asking(effect, questions, partial(self._loop_call, self._answered))
        asking.deadline = self._loop.call_later(gate.timeout_seconds, self._overdue, asking, late)
        asking.thread.start()

    def close(self) -> None:
        """End what is asked, with every process of it; nothing is posted any more."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.stop()
            asking.thread.join(_CLOSE_SECONDS)

    def _loop_call(self, call: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(partial(call, *arguments))

    def _answered(self, asking: _Asking, refusal: str) -> None:
        """Pass an answer on, unless the question was given up."""
        if self._asking is asking:
            self._asking = None
            asking.stop()
            self._post(GateEnded(asking.effect.version, not refusal, refusal))

    def _overdue(self, asking: _Asking, late: str) -> None:
        if self._asking is asking:
            self._end(late)

    def _end(self, reason: str) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.stop()
            self._post(GateEnded(asking.effect.version, passed=False, reason=f"{asking.subject} {reason}"))


class _Asking:
    """Ask one question after the other in a thread, until one refuses; ``answered`` gets why, or an empty text."""

    def __init__(self, effect: RunGate, questions: list[Question], answered: Callable[[_Asking, str], None]) -> None:
        self.effect = effect
        self.deadline: asyncio.TimerHandle | None = None
        self.thread = threading.Thread(target=self._ask, name=f"gate-{effect.version}", daemon=True)
        self._questions, self._answered = questions, answered
        self._current: Question | None = None

    @property
    def subject(self) -> str:
        """Return who is asked just now, as the subject of a sentence."""
        current = self._current
        return "the external gate" if current is None else current.subject

    def stop(self) -> None:
        """Give up: end the process or the connection that is open."""
        if self.deadline is not None:
            self.deadline.cancel()
        for question in self._questions:
            question.stop()

    def _ask(self) -> None:
        for question in self._questions:
            self._current = question
            try:
                refusal = question.refusal()
            except Exception as error:  # noqa: BLE001 - the fleet waits for an answer, whatever went wrong
                refusal = f"could not be asked ({type(error).__name__})"
            if refusal:
                self._answered(self, f"{question.subject} {refusal}")
                return
        self._answered(self, "")
