"""Compiling once, without a supervisor: for ``nexus-supervisor check``.

Decided here: that it runs in a process of its own, with the limits of every other compile. Not decided here: the
verdict (``compile.py``) and how it is shown (``cli/``).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import canonical
from nexus_supervisor.core.compilation import FROM_COMPILER, TO_COMPILER, Adopted, Begin, Look, Refused, Seen
from nexus_supervisor.core.options import LimitSettings
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.errors import UnfinishedError
from nexus_supervisor.wire import Wire, close_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["compile_once"]

_STANDARD_ERROR = 2


def compile_once(directory: Path, overrides: Mapping[str, Any], pepper: bytes | None = None) -> Seen | Refused:
    """Compile a directory in a child process and return the verdict; nothing is written.

    Without a pepper a random one is used: the digests then mean nothing outside this verdict.
    """
    begin = Begin(str(directory.resolve()), canonical.encode(dict(overrides)), pepper or os.urandom(32))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "nexus_supervisor.compiler", str(theirs.fileno())]
        child = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=_STANDARD_ERROR)
        theirs.close()
        try:
            verdict = _ask(ours, begin)
        except BaseException:
            child.kill()
            raise
        finally:
            ours.close()
            status = child.wait()
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
    close_all(descriptors)
    return None if isinstance(verdict, Adopted) else verdict


def _died(status: int) -> Refused:
    """Return the verdict on a directory whose compiler ended without one."""
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
    message = f"the compiler {how} before its verdict: a file or a model costs more than supervisor.limits allows"
    return Refused(1, (Problem("", 0, "", "limit", message),), False, (), None, None, payload_beside=False, remains=())  # noqa: FBT003
