"""The compiler process: ``python -m nexus_supervisor.compiler FD``, one message in, one answer out.

Decided here: that nothing which a file or a model does ends the loop. Not decided here: the answers (``compile.py``)
and what the process may use (``limits.py``). EOF on the socket ends it with 0.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from nexus_supervisor.compiler.compile import Answer, Compiler
from nexus_supervisor.compiler.limits import set_limits, settle
from nexus_supervisor.core.compilation import (
    FROM_COMPILER,
    TO_COMPILER,
    Adopt,
    Adopted,
    Begin,
    Look,
    Recall,
    Refused,
    Seen,
)
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.errors import NexusError, ProtocolError
from nexus_supervisor.wire import Wire, close_all, inline_or_beside, open_sealed, received_payload, sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.core.compilation import FromCompiler, ToCompiler

__all__ = ["main", "serve"]

_MAX_PAYLOAD_BYTES = 1 << 30


def main(arguments: list[str]) -> int:
    """Serve on the descriptor that the command line names; return the exit code."""
    connection = settle(arguments)
    try:
        serve(Wire(connection, TO_COMPILER, FROM_COMPILER))
    except NexusError as error:
        sys.stderr.write(f"nexus compiler: {error}\n")
        return error.exit_code
    except (BrokenPipeError, ConnectionResetError):
        return 0
    return 0


def serve(wire: Wire[ToCompiler, FromCompiler]) -> None:
    """Answer until the other side is gone."""
    received = wire.receive()
    if received is None:
        return
    begin, _ = received
    if not isinstance(begin, Begin):
        message = f"expected Begin first, found {type(begin).__name__}"
        raise ProtocolError(message)
    sys.path.insert(0, begin.directory)
    compiler = Compiler(begin)
    while (received := wire.receive()) is not None:
        _send(wire, _answer(compiler, *received))


def _answer(compiler: Compiler, message: ToCompiler, descriptors: list[int]) -> Answer:
    set_limits(compiler.settings.supervisor.limits)
    match message:
        case Look():
            close_all(descriptors)
            return _judged(compiler, message.ticket, lambda: compiler.look(message))
        case Recall():
            payload, _ = _beside(message, descriptors)
            return _judged(compiler, message.ticket, lambda: compiler.recall(message, payload))
        case Adopt():
            payload, secrets = _beside(message, descriptors)
            return compiler.adopt(message, payload, secrets)
    text = f"a {type(message).__name__} is only expected once, first of all"
    raise ProtocolError(text)


def _judged(compiler: Compiler, ticket: int, judge: Callable[[], Answer]) -> Answer:
    """Judge; whatever goes wrong in our own code becomes a refusal, and everything is read again next time."""
    try:
        return judge()
    except MemoryError:
        compiler.forget()
        text = "the compiler ran out of memory: raise supervisor.limits.compile_memory_mb, or make files smaller"
        return _internal(ticket, Problem("", 0, "supervisor.limits.compile_memory_mb", "limit", text))
    except BaseException as error:  # noqa: BLE001 - the loop goes on whatever a look meets
        compiler.forget()
        text = f"the compiler failed with {type(error).__name__} at {_place(error)}: please report this"
        return _internal(ticket, Problem("", 0, "", "internal", text))


def _internal(ticket: int, problem: Problem) -> Answer:
    return Answer(Refused(ticket, (problem,), False, (), None, None, payload_beside=False, remains=()))  # noqa: FBT003


def _place(error: BaseException) -> str:
    """Return the module and line of our code where an error came up; no content of anything."""
    trace, place = error.__traceback__, "an unknown place"
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if str(name).startswith("nexus_supervisor."):
            place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _beside(message: Adopt | Recall, descriptors: list[int]) -> tuple[bytes | memoryview | None, memoryview | None]:
    """Return the payload of a message and the secrets, if they came with it."""
    waiting = list(descriptors)
    try:
        beside = waiting.pop(0) if message.payload_beside and waiting else None
        payload = received_payload(message.payload, beside, _MAX_PAYLOAD_BYTES)
        has_secrets = isinstance(message, Adopt) and message.secrets_beside and waiting
        return payload, open_sealed(waiting[0], _MAX_PAYLOAD_BYTES) if has_secrets else None
    finally:
        close_all(waiting)


def _send(wire: Wire[ToCompiler, FromCompiler], answer: Answer) -> None:
    """Send an answer; large payloads and secret values travel beside it as sealed memory, in this order."""
    message = answer.message
    descriptors: list[int] = []
    try:
        if not isinstance(message, Adopted) and message.payload is not None:
            payload, beside = inline_or_beside(message.payload, "nexus-payload")
            descriptors += beside
            message = replace(message, payload=payload, payload_beside=bool(beside))
        if isinstance(message, Seen) and message.revoked_payload is not None:
            payload, beside = inline_or_beside(message.revoked_payload, "nexus-revoked")
            descriptors += beside
            message = replace(message, revoked_payload=payload, revoked_payload_beside=bool(beside))
        if answer.secrets is not None and not isinstance(message, Refused):
            descriptors.append(sealed(answer.secrets, "nexus-secrets"))
            message = replace(message, secrets_beside=True)
        wire.send(message, descriptors)
    finally:
        close_all(descriptors)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # a thread that a model started must not keep the process
