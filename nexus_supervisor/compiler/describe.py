"""Describing what a directory declares, without compiling it: for ``nexus-supervisor schema`` and ``diff``.

Decided here: what is asked, and that models are imported in a process of their own. Not decided here: the answer
(``describer.py``) and how it is shown (``cli/``).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.process import ask_alone, how_it_ended
from nexus_supervisor.core.options import LimitSettings
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.errors import RejectedError, UnfinishedError

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.changes import Pattern

__all__ = ["DAEMON", "SECTION_KEY", "Described", "described", "received_whole", "restart_fields"]

DAEMON = "daemon"
"""The name under which the schema of daemon.toml goes."""

SECTION_KEY = "x-nexus-section"
"""The key by which a schema of ours is known; its value names the section."""

_MODULE = "nexus_supervisor.compiler.describer"
_MAX_ANSWER_BYTES = 64 << 20
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Described:
    """Hold the JSON Schema of each section's files and of daemon.toml, by name; and what could not be described."""

    documents: Mapping[str, Any]
    sections: tuple[str, ...]
    problems: tuple[Problem, ...]


def described(directory: Path, overrides: Mapping[str, Any], only: str | None = None) -> Described:
    """Describe all sections of a directory and daemon.toml, or only one of them, in a child process.

    Of sections, ``sections`` has the names of all; a name that is none has no document. Raise RejectedError where a
    model ends the process, UnfinishedError where it takes too long.
    """
    answer = _answer("schemas", directory, overrides=dict(overrides), only=only)
    problems = tuple(Problem(**one) for one in answer["problems"])
    return Described(answer["documents"], tuple(answer["sections"]), problems)


def restart_fields(directory: Path, models: Mapping[str, str]) -> tuple[dict[str, tuple[Pattern, ...]], dict[str, str]]:
    """Return, by section, where the fields are whose change needs a restart, and why some are not known.

    ``models`` names the model of each section; they are imported in a child process.
    """
    answer = _answer("fields", directory, models=dict(models))
    fields = {section: tuple(map(tuple, patterns)) for section, patterns in answer["fields"].items()}
    return fields, dict(answer["unknown"])


def _answer(question: str, directory: Path, **more: Any) -> dict[str, Any]:
    request = json.dumps({"question": question, "directory": str(directory.resolve()), **more}).encode()
    raw, status = ask_alone(_MODULE, lambda connection: _exchanged(connection, request))
    if status != 0 or not raw:
        message = f"the process that imports the models {how_it_ended(status)}: `nexus-supervisor check` may say why"
        raise RejectedError(message)
    answer: dict[str, Any] = json.loads(raw)
    return answer


def _exchanged(connection: socket.socket, request: bytes) -> bytes:
    """Send all, receive all; nothing where the process is gone."""
    connection.settimeout(LimitSettings().compile_timeout_seconds)
    try:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return received_whole(connection)
    except TimeoutError:
        message = "importing the models took longer than supervisor.limits.compile_timeout_seconds"
        raise UnfinishedError(message) from None
    except (BrokenPipeError, ConnectionResetError):
        return b""


def received_whole(connection: socket.socket) -> bytes:
    """Return what comes until EOF; raise RejectedError where that is too much."""
    received = bytearray()
    while piece := connection.recv(_PIECE_BYTES):
        received += piece
        if len(received) > _MAX_ANSWER_BYTES:
            message = f"the schemas have more than {_MAX_ANSWER_BYTES >> 20} MiB: this is no model for people"
            raise RejectedError(message)
    return bytes(received)
