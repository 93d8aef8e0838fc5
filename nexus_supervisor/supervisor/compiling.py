"""The compiler as the supervisor sees it: told what runs, asked to look, killed and started again at will.

Decided here: that an answer counts only where it adds up, and how long one may take. Not decided here: when to look and
what a verdict leads to (``core/``). The compiler holds no key; what it says is bounded and checked like any input.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
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
    Refused,
    Seen,
    ToCompiler,
)
from nexus_supervisor.core.content import EMPTY, Content, Digest, SectionDelta
from nexus_supervisor.core.events import Candidate, CandidateRefused, CandidateSeen, LookFailed
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.errors import ProtocolError
from nexus_supervisor.supervisor.child import Child
from nexus_supervisor.supervisor.pipe import Pipe
from nexus_supervisor.wire import close_all, inline_or_beside, received_payload

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from nexus_supervisor.supervisor.contents import Contents

__all__ = ["Compiling", "Verdict"]

Verdict = CandidateSeen | CandidateRefused | LookFailed

Resolved = Callable[[tuple[Problem, ...], int | None], None]
"""Takes what is missing or differs, and the descriptor of the secret values, if there are any."""

_MODULE = "nexus_supervisor.compiler"
_MAX_PAYLOAD_BYTES = 1 << 30
_NAME = re.compile(r"[a-z0-9_-]{1,64}")


class Compiling:
    """Hold the compiler process, what it was told, and the look that it is on."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        begin: Begin,
        variables: Mapping[str, str],
        contents: Contents,
        verdict: Callable[[Verdict], None],
    ) -> None:
        self._loop, self._begin, self._variables = loop, begin, variables
        self._contents, self._verdict = contents, verdict
        self.environment: frozenset[str] = frozenset()
        self._adopted: Digest | None = None
        self._told: Digest | None = None
        self._look: Look | None = None
        self._base: Digest | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._child: Child | None = None
        self._pipe: Pipe[FromCompiler, ToCompiler] | None = None
        self._resolved: Resolved | None = None
        self._tickets = 0
        self._generation = 0

    def look(
        self,
        ticket: int,
        hints: tuple[str, ...] | None,
        timeout_seconds: float,
        *,
        whole: bool = False,
        bare: bool = False,
    ) -> None:
        """Have the directory read and judged; ``verdict`` is called with the answer, whatever happens.

        A look for everything is made by a new process: a restart means new code, and that process imports it.
        """
        if whole:
            self._drop()
        self._look = Look(ticket, hints, whole, bare)
        self._deadline = self._loop.call_later(timeout_seconds, self._overdue)
        try:
            pipe = self._ready()
            self._base = self._told
            pipe.send(self._look)
        except OSError as error:
            self._lost(f"it could not be started ({error.strerror})")

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
            self._lost(f"it could not be started ({error.strerror})")

    @property
    def needed(self) -> tuple[Digest, ...]:
        """Return the content that the answer under way will be against, if there is one."""
        return (self._base,) if self._look is not None and self._base is not None else ()

    def close(self) -> None:
        """End the compiler."""
        self._cancel()
        self._look = self._resolved = None
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
            child = Child(self._loop, _MODULE, self._variables, partial(self._exited, self._generation))
            pipe = Pipe(self._loop, child.connection, (FROM_COMPILER, TO_COMPILER), self._heard, self._lost)
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
        look = self._look
        if look is None or look.ticket != message.ticket:
            close_all(descriptors)
            return
        self._cancel()
        self._look = None
        verdict: Verdict
        try:
            payload = descriptors.pop(0) if message.payload_beside and descriptors else None
            raw = received_payload(message.payload, payload, _MAX_PAYLOAD_BYTES)
            if isinstance(message, Seen):
                verdict = self._seen(message, raw, descriptors)
            else:
                verdict = self._refused(message, raw)
        except (ProtocolError, OSError) as error:
            self._lost(f"its answer does not add up: {error}")
            verdict = LookFailed(look.ticket, f"the compiler's answer does not add up: {error}")
        finally:
            close_all(descriptors)
        self._verdict(verdict)

    def _seen(self, message: Seen, raw: bytes | memoryview | None, descriptors: list[int]) -> CandidateSeen:
        content, base = self._content(message.digest, raw)
        kept = self._contents.put(content, descriptors.pop(0) if message.secrets_beside and descriptors else None)
        self.environment |= frozenset(message.environment)
        candidate = Candidate(
            message.wanted, content.digest, base, message.held, message.blocked, message.gone, kept.settings
        )
        return CandidateSeen(message.ticket, candidate, message.warnings)

    def _refused(self, message: Refused, raw: bytes | memoryview | None) -> CandidateRefused:
        revoked = settings = None
        base = self._base or EMPTY.digest
        if message.revoked is not None:
            content, base = self._content(message.revoked, raw)
            settings, revoked = self._contents.put(content, self._secrets_of(base)).settings, content.digest
        return CandidateRefused(
            message.ticket,
            message.problems,
            message.unstable,
            base,
            message.gone,
            revoked,
            message.remains,
            settings,
            message.doubtful,
        )

    def _content(self, digest: Digest, raw: bytes | memoryview | None) -> tuple[Content, Digest]:
        """Return the content that an answer describes and what it was against; raise ProtocolError.

        That is what the compiler had been told when the look was sent, whatever it was told since.
        """
        before = self._contents.find(self._base) or EMPTY
        if raw is None:
            content = before
        else:
            change = delta.decode(raw)
            _check_names(change.sections)
            content = before.after(change)
        if content.digest != digest:
            message = f"it named content {digest[:12]} and described {content.digest[:12]}"
            raise ProtocolError(message)
        return content, before.digest

    def _secrets_of(self, digest: Digest) -> int | None:
        """Return a descriptor of our own for the secret values of a content that is kept."""
        held = self._contents.get(digest).secrets if digest != EMPTY.digest else None
        return None if held is None else os.dup(held)

    def _overdue(self) -> None:
        self._lost("it did not answer in time")

    def _exited(self, generation: int, status: str, _: bool) -> None:  # noqa: FBT001 - the shape of a callback
        if generation == self._generation and self._child is not None:
            self._lost(status)

    def _lost(self, reason: str | None) -> None:
        """Forget a compiler that is gone or must go; the next look starts another."""
        if reason is None:  # it has left: its exit status says why, and follows at once
            return
        look, resolved = self._look, self._resolved
        self.close()
        text = f"the compiler was lost: {reason}"
        if resolved is not None:
            resolved((Problem(".", 0, "", "internal", text),), None)
        if look is not None:
            self._verdict(LookFailed(look.ticket, text))

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _check_names(sections: Mapping[str, SectionDelta]) -> None:
    """Raise ProtocolError for a section or entry whose name the contract doesn't allow."""
    for section, change in sections.items():
        for name in (section, *change.changed, *change.removed):
            if not _NAME.fullmatch(name):
                message = f"it named an entry {name[:64]!r}"
                raise ProtocolError(message)
