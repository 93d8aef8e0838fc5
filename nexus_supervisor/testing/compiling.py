"""Compiling a directory for a test: by the compiler, in a process of its own, as ``nexus-supervisor check`` does.

Decided here: what is asked, and that a refusal names every problem. Not decided here: the verdict (``compiler/``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nexus_supervisor.compiler.process import ask_alone, how_it_ended
from nexus_supervisor.core import canonical, delta
from nexus_supervisor.core.codec import unpack
from nexus_supervisor.core.compilation import (
    FROM_COMPILER,
    TO_COMPILER,
    Adopted,
    Begin,
    FromCompiler,
    Look,
    Refused,
    Seen,
    ToCompiler,
)
from nexus_supervisor.core.content import EMPTY, Content
from nexus_supervisor.core.options import LimitSettings
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import Settings, overrides_from_environment
from nexus_supervisor.errors import RejectedError, UnfinishedError
from nexus_supervisor.supervisor.contents import settings_of
from nexus_supervisor.supervisor.keys import load_pepper
from nexus_supervisor.wire import Wire, close_all, received_payload

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Compiled", "compiled"]

_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Compiled:
    """Hold what a valid directory holds: its content, its settings, and the secret values that workers get."""

    content: Content
    settings: Settings
    secrets: Mapping[str, str] = field(repr=False)


def compiled(directory: Path) -> Compiled:
    """Compile a directory; raise RejectedError with every problem.

    Secrets are hashed under the directory's pepper, or, where it has no keys yet, under a random one.
    """
    overrides, mistakes = overrides_from_environment(os.environ)
    problems = [Problem("environment", 0, one.key, one.code, one.message) for one in mistakes]
    if not directory.is_dir():
        problems.append(Problem(str(directory), 0, "", "missing", "expected a directory that holds daemon.toml"))
    if problems:
        raise _refusal(directory, problems)
    pepper = load_pepper(directory) if (directory / "keys" / "pepper").exists() else os.urandom(32)
    begin = Begin(str(directory), canonical.encode(overrides), pepper)
    answer, status = ask_alone("nexus_supervisor.compiler", lambda connection: _ask(connection, begin))
    if answer is None:
        how = f"the compiler {how_it_ended(status)} before its verdict"
        raise _refusal(directory, [Problem("", 0, "", "limit", how)])
    verdict, secrets = answer
    if isinstance(verdict, Refused):
        raise _refusal(directory, verdict.problems)
    content = EMPTY if verdict.payload is None else EMPTY.after(delta.decode(verdict.payload))
    return Compiled(content, settings_of(content, overrides), secrets)


def _ask(connection: socket.socket, begin: Begin) -> tuple[Seen | Refused, Mapping[str, str]] | None:
    """Return the verdict with its payload in it, and the secret values; None where the compiler died."""
    connection.settimeout(LimitSettings().compile_timeout_seconds)
    wire: Wire[FromCompiler, ToCompiler] = Wire(connection, FROM_COMPILER, TO_COMPILER)
    try:
        wire.send(begin)
        wire.send(Look(1, None, whole=True))
        received = wire.receive()
    except TimeoutError:
        message = "the compiler gave no verdict within supervisor.limits.compile_timeout_seconds"
        raise UnfinishedError(message) from None
    except (BrokenPipeError, ConnectionResetError):
        return None
    return None if received is None else _opened(*received)


def _opened(message: FromCompiler, descriptors: list[int]) -> tuple[Seen | Refused, Mapping[str, str]] | None:
    """Return a verdict with its payload in it, and the secret values beside it; the descriptors are closed."""
    if isinstance(message, Adopted):
        close_all(descriptors)
        return None
    rest = list(descriptors)
    try:
        payload = _part(message.payload, rest, beside=message.payload_beside)
        secrets = _part(None, rest, beside=isinstance(message, Seen) and message.secrets_beside)
    finally:
        close_all(rest)
    whole = replace(message, payload=payload, payload_beside=False)
    return whole, {} if secrets is None else unpack(secrets)


def _part(inline: bytes | None, rest: list[int], *, beside: bool) -> bytes | None:
    found = received_payload(inline, rest.pop(0) if beside else None, _MAX_BYTES)
    return None if found is None else bytes(found)


def _refusal(directory: Path, problems: Sequence[Problem]) -> RejectedError:
    """Return the error that names every problem, one a line."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = "".join(f"\n  {problem}" for problem in problems)
    return RejectedError(f"{directory} is not valid: {count}{lines}", problems)
