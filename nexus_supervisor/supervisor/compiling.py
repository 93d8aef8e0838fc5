"""The compiler as the supervisor sees it: told what runs, asked one thing at a time, killed and started again at will.

Decided here: in which order it is asked, and how long one answer may take. Not decided here: when to look, whether an
answer adds up (``verdicts.py``) and what it leads to (``core/``). The compiler holds no key; what it says is bounded
and checked like any input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nexus_supervisor.core import delta
from nexus_supervisor.core.compilation import (
    FROM_COMPILER,
    TO_COMPILER,
    Adopt,
    Adopted,
    Begin,
    FromCompiler,
    Look,
    Recall,
    Refused,
    Seen,
    ToCompiler,
)
from nexus_supervisor.core.content import Content, Digest, Version
from nexus_supervisor.core.events import CandidateRefused, CandidateSeen, LookFailed, Recalled
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.errors import ProtocolError
from nexus_supervisor.supervisor.child import Child, start_child
from nexus_supervisor.supervisor.isolation import Isolation
from nexus_supervisor.supervisor.pipe import Pipe
from nexus_supervisor.supervisor.verdicts import Reading
from nexus_supervisor.wire import close_all, inline_or_beside

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from nexus_supervisor.supervisor.contents import Contents

__all__ = ["Compiling", "Verdict"]

Verdict = CandidateSeen | CandidateRefused | LookFailed | Recalled

Resolved = Callable[[tuple[Problem, ...], int | None], None]
"""Takes what is missing or differs, and the descriptor of the secret values, if there are any."""

_MODULE = "nexus_supervisor.compiler"
_AS_WE_ARE = Isolation()


@dataclass(frozen=True, slots=True)
class _LookAsked:
    """Have the directory judged."""

    ticket: int
    timeout_seconds: float
    hints: tuple[str, ...] | None
    whole: bool

    def failed(self, reason: str) -> Verdict:
        """Return the verdict where there is no answer."""
        return LookFailed(self.ticket, reason)


@dataclass(frozen=True, slots=True)
class _RecallAsked:
    """Have the content of an older version judged."""

    ticket: int
    timeout_seconds: float
    version: Version
    content: Content

    def failed(self, reason: str) -> Verdict:
        """Return the verdict where there is no answer."""
        return Recalled(self.ticket, self.version, None, (Problem(".", 0, "", "internal", reason),))


class Compiling:
    """Hold the compiler process, what it was told, what it is asked, and what it will be asked next."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        begin: Begin,
        variables: Mapping[str, str],
        contents: Contents,
        verdict: Callable[[Verdict], None],
        isolation: Isolation = _AS_WE_ARE,
    ) -> None:
        self._loop, self._begin, self._variables = loop, begin, variables
        self._isolation = isolation
        self._contents, self._verdict = contents, verdict
        self.environment: frozenset[str] = frozenset()
        self._adopted: Digest | None = None
        self._told: Digest | None = None
        self._asked: _LookAsked | _RecallAsked | None = None
        self._waiting: deque[_LookAsked | _RecallAsked] = deque()
        self._base: Digest | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._child: Child | None = None
        self._pipe: Pipe[FromCompiler, ToCompiler] | None = None
        self._resolved: Resolved | None = None
        self._tickets = 0
        self._generation = 0

    def isolate(self, isolation: Isolation) -> None:
        """Have it run so from now on: one that runs otherwise is ended, and what is asked next starts another."""
        before, self._isolation = self._isolation, isolation
        if isolation.run_as != before.run_as:
            self._forget()

    def look(self, ticket: int, hints: tuple[str, ...] | None, timeout_seconds: float, *, whole: bool = False) -> None:
        """Have the directory read and judged; ``verdict`` is called with the answer, whatever happens.

        A look for everything is made by a new process: a restart means new code, and that process imports it.
        """
        self._ask(_LookAsked(ticket, timeout_seconds, hints, whole))

    def recall(self, ticket: int, version: Version, content: Content, timeout_seconds: float) -> None:
        """Have an older content judged beside what runs; ``verdict`` is called with Recalled, whatever happens."""
        self._ask(_RecallAsked(ticket, timeout_seconds, version, content))

    def _ask(self, request: _LookAsked | _RecallAsked) -> None:
        self._waiting.append(request)
        self._next()

    def _next(self) -> None:
        """Ask what waits, if nothing else is asked; the time that it may take begins now."""
        while self._asked is None and self._waiting:
            request = self._asked = self._waiting.popleft()
            self._deadline = self._loop.call_later(request.timeout_seconds, self._overdue)
            if isinstance(request, _LookAsked) and request.whole:
                self._drop()
            try:
                pipe = self._ready()
                if self._asked is request:  # else the process has ended already
                    self._base = self._told
                    self._send(pipe, request)
            except OSError as error:
                self._lost(self._not_started(error))

    def _send(self, pipe: Pipe[FromCompiler, ToCompiler], request: _LookAsked | _RecallAsked) -> None:
        if isinstance(request, _LookAsked):
            pipe.send(Look(request.ticket, request.hints, request.whole))
            return
        change = request.content.delta_from(self._contents.find(self._base) if self._base is not None else None)
        payload, beside = inline_or_beside(delta.encode(change), "nexus-recall")
        pipe.send(Recall(request.ticket, payload, bool(beside)), beside)
        close_all(beside)

    def adopt(self, digest: Digest) -> None:
        """Tell what runs from now on; later verdicts are against it. One that can't be told is of no use any more."""
        self._adopted = digest
        if self._pipe is None:
            return
        try:
            self._tell(self._pipe, digest, resolve=False)
        except OSError as error:
            self._lost(f"it could not be told what runs ({error.strerror})")

    def resolve(self, digest: Digest, timeout_seconds: float, resolved: Resolved) -> None:
        """Have every reference of a stored content resolved again; ``resolved`` is called, whatever happens."""
        self._adopted, self._resolved = digest, resolved
        self._deadline = self._loop.call_later(timeout_seconds, self._overdue)
        try:
            fresh = self._pipe is None
            pipe = self._ready(resolve=True)
            if not fresh:
                self._tell(pipe, digest, resolve=True)
        except OSError as error:
            self._lost(self._not_started(error))

    def _not_started(self, error: OSError) -> str:
        who = "" if self._isolation.uid is None else f" as user {self._isolation.uid}, who must be able to run Python"
        return f"it could not be started{who} ({error.strerror})"

    @property
    def needed(self) -> tuple[Digest, ...]:
        """Return the content that the answer under way will be against, if there is one."""
        return (self._base,) if self._asked is not None and self._base is not None else ()

    def close(self) -> None:
        """End the compiler."""
        self._waiting.clear()
        self._forget()

    def _forget(self) -> None:
        """End the process, and what it was asked."""
        self._cancel()
        self._asked = self._resolved = None
        self._drop()

    def _drop(self) -> None:
        """End the process and the pipe; what was asked stays asked."""
        pipe, child, self._pipe, self._child = self._pipe, self._child, None, None
        if pipe is not None:
            pipe.close()
        if child is not None:
            child.kill()

    def _ready(self, *, resolve: bool = False) -> Pipe[FromCompiler, ToCompiler]:
        """Return the pipe to a compiler that knows what runs; start one where there is none that lives."""
        if self._child is not None and not self._child.alive:  # its death was not told yet
            self._drop()
        if self._pipe is None:
            self._generation += 1
            exited = partial(self._exited, self._generation)
            variables = {**self._variables, **self._isolation.variables}
            child, connection = start_child(self._loop, _MODULE, variables, exited, run_as=self._isolation.run_as)
            pipe = Pipe(self._loop, connection, (FROM_COMPILER, TO_COMPILER), self._heard, self._lost)
            self._child, self._pipe, self._told = child, pipe, None
            pipe.send(self._begin)
            if self._adopted is not None:
                self._tell(pipe, self._adopted, resolve=resolve)
            return pipe  # which may have ended meanwhile, and then takes nothing more
        return self._pipe

    def _tell(self, pipe: Pipe[FromCompiler, ToCompiler], digest: Digest, *, resolve: bool) -> None:
        payload, beside = inline_or_beside(self._contents.encoded(self._told, digest), "nexus-content")
        secrets = self._contents.get(digest).secrets
        descriptors = [*beside, *([] if secrets is None else [secrets])]
        self._tickets += 1
        pipe.send(Adopt(self._tickets, digest, payload, bool(beside), secrets is not None, resolve), descriptors)
        close_all(beside)
        self._told = digest

    def _heard(self, message: FromCompiler, descriptors: list[int]) -> None:
        match message:
            case Adopted():
                self._answer_resolved(message, descriptors)
            case Seen() | Refused():
                self._answer(message, descriptors)

    def _answer_resolved(self, message: Adopted, descriptors: list[int]) -> None:
        self.environment |= frozenset(message.environment)
        resolved, self._resolved = self._resolved, None
        secrets = descriptors.pop(0) if resolved is not None and message.secrets_beside and descriptors else None
        close_all(descriptors)
        if resolved is not None:
            self._cancel()
            resolved(message.problems, secrets)

    def _answer(self, message: Seen | Refused, descriptors: list[int]) -> None:
        request = self._asked
        if request is None or request.ticket != message.ticket:
            close_all(descriptors)
            return
        try:
            verdict = self._read(request, message, Reading(self._contents, self._base, descriptors))
        except (ProtocolError, OSError) as error:
            self._lost(f"its answer does not add up: {error}")
            return
        finally:
            close_all(descriptors)
        self._cancel()
        self._asked = None
        self._verdict(verdict)
        self._next()

    def _read(self, request: _LookAsked | _RecallAsked, message: Seen | Refused, reading: Reading) -> Verdict:
        """Return the verdict that an answer is; raise ProtocolError or OSError where it doesn't add up."""
        if isinstance(message, Seen):
            self.environment |= frozenset(message.environment)
        if isinstance(request, _LookAsked):
            return reading.seen(message) if isinstance(message, Seen) else reading.refused(message)
        if isinstance(message, Refused):
            return Recalled(request.ticket, request.version, None, message.problems)
        if message.wanted != request.content.digest:
            text = f"it was asked about content {request.content.digest[:12]} and answered about {message.wanted[:12]}"
            raise ProtocolError(text)
        return Recalled(request.ticket, request.version, reading.candidate(message))

    def _overdue(self) -> None:
        self._lost("it did not answer in time")

    def _exited(self, generation: int, status: str, _: bool) -> None:  # noqa: FBT001 - the shape of a callback
        if generation == self._generation and self._child is not None:
            self._lost(status)

    def _lost(self, reason: str | None) -> None:
        """Forget a compiler that is gone or must go; what is asked next starts another."""
        if reason is None:  # it has left: its exit status says why, and follows at once
            return
        asked, resolved = self._asked, self._resolved
        self._forget()
        text = f"the compiler was lost: {reason}"
        if resolved is not None:
            resolved((Problem(".", 0, "", "internal", text),), None)
        if asked is not None:
            self._verdict(asked.failed(text))
        self._next()

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
