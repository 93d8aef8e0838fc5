"""Compiling once, without a supervisor: for ``nexus-supervisor check``.

Decided here: that it runs in a process of its own, with the limits of every other compile. Not decided here: the
verdict (``compile.py``) and how it is shown (``cli/``).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.process import ask_alone, how_it_ended
from nexus_supervisor.core import canonical
from nexus_supervisor.core.compilation import FROM_COMPILER, TO_COMPILER, Adopted, Begin, Look, Refused, Seen
from nexus_supervisor.core.options import LimitSettings
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.errors import UnfinishedError
from nexus_supervisor.wire import Wire, close_all, received_payload

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["compile_once"]

_MAX_PAYLOAD_BYTES = 1 << 30


def compile_once(directory: Path, overrides: Mapping[str, Any], pepper: bytes | None = None) -> Seen | Refused:
    """Compile a directory in a child process and return the verdict, its payload in it; nothing is written.

    Without a pepper a random one is used: the digests then mean nothing outside this verdict.
    """
    begin = Begin(str(directory.resolve()), canonical.encode(dict(overrides)), pepper or os.urandom(32))
    verdict, status = ask_alone("nexus_supervisor.compiler", lambda connection: _ask(connection, begin))
    return verdict if verdict is not None else _died(status)


def _ask(connection: socket.socket, begin: Begin) -> Seen | Refused | None:
    """Return the verdict, or None where the child died; raise UnfinishedError where it takes too long."""
    connection.settimeout(LimitSettings().compile_timeout_seconds)
    wire = Wire(connection, FROM_COMPILER, TO_COMPILER)
    try:
        wire.send(begin)
        wire.send(Look(1, None, whole=True))
        received = wire.receive()
    except TimeoutError:
        message = "the compiler gave no verdict within supervisor.limits.compile_timeout_seconds"
        raise UnfinishedError(message) from None
    except (BrokenPipeError, ConnectionResetError):
        return None
    if received is None:
        return None
    verdict, descriptors = received
    try:
        return None if isinstance(verdict, Adopted) else _whole(verdict, descriptors)
    finally:
        close_all(descriptors)


def _whole(verdict: Seen | Refused, descriptors: list[int]) -> Seen | Refused:
    """Return a verdict with its payload in it."""
    beside = descriptors.pop(0) if verdict.payload_beside and descriptors else None  # closed where it is read
    payload = received_payload(verdict.payload, beside, _MAX_PAYLOAD_BYTES)
    return replace(verdict, payload=None if payload is None else bytes(payload), payload_beside=False)


def _died(status: int) -> Refused:
    """Return the verdict on a directory whose compiler ended without one."""
    why = "a file, a model or a hook costs more than supervisor.limits allows, or ends the process by itself"
    message = f"the compiler {how_it_ended(status)} before its verdict: {why}"
    return Refused(1, (Problem("", 0, "", "limit", message),), False, (), None, None, payload_beside=False, remains=())  # noqa: FBT003
