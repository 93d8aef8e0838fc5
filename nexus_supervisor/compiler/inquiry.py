"""Inquiries: one question to a process of the compiler's, and its answer.

Decided here: that both are one JSON object, ended by EOF, how large an answer may be and how long it may take. Not
decided here: how the process starts and ends (``process.py``), what is asked (``describe.py``, ``locate.py``) and what
is answered (``describer.py``, ``locator.py``).
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.process import ask_alone, how_it_ended
from nexus_supervisor.core.options import LimitSettings
from nexus_supervisor.errors import RejectedError, UnfinishedError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["answer_of", "received_whole"]

_MAX_BYTES = 64 << 20
_PIECE_BYTES = 1 << 16


def answer_of(module: str, request: Mapping[str, Any], *, does: str) -> dict[str, Any]:
    """Return the answer of a module, which runs in a process of its own; ``does`` says in words what that does.

    Raise RejectedError where a model ends the process, UnfinishedError where it takes too long.
    """
    question = json.dumps(request).encode()
    raw, status = ask_alone(module, lambda connection: _exchanged(connection, question, does))
    if status != 0 or not raw:
        message = f"the process that {does} {how_it_ended(status)}: `nexus-supervisor check` may say why"
        raise RejectedError(message)
    answer: dict[str, Any] = json.loads(raw)
    return answer


def _exchanged(connection: socket.socket, question: bytes, does: str) -> bytes:
    """Send all, receive all; nothing where the process is gone."""
    connection.settimeout(LimitSettings().compile_timeout_seconds)
    try:
        connection.sendall(question)
        connection.shutdown(socket.SHUT_WR)
        return received_whole(connection)
    except TimeoutError:
        message = f"the process that {does} took longer than supervisor.limits.compile_timeout_seconds"
        raise UnfinishedError(message) from None
    except (BrokenPipeError, ConnectionResetError):
        return b""


def received_whole(connection: socket.socket) -> bytes:
    """Return what comes until EOF; raise RejectedError where that is too much."""
    received = bytearray()
    while piece := connection.recv(_PIECE_BYTES):
        received += piece
        if len(received) > _MAX_BYTES:
            message = f"the answer has more than {_MAX_BYTES >> 20} MiB: this is no directory for people"
            raise RejectedError(message)
    return bytes(received)
