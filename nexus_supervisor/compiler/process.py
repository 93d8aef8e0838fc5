"""A process of the compiler's for one question: started, asked, and waited for.

Decided here: how such a process starts and ends. Not decided here: what it is asked and what it answers.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ask_alone", "how_it_ended"]

Answer = TypeVar("Answer")

_STANDARD_ERROR = 2


def ask_alone(module: str, ask: Callable[[socket.socket], Answer]) -> tuple[Answer, int]:
    """Run a module with one end of a socket pair, talk to it by ``ask``; return what that returns, and how it ended.

    The process is killed where ``ask`` raises. What models print goes to standard error.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", module, str(theirs.fileno())]
        child = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=_STANDARD_ERROR)
        theirs.close()
        try:
            answer = ask(ours)
        except BaseException:
            child.kill()
            raise
        finally:
            ours.close()
            status = child.wait()
    return answer, status


def how_it_ended(status: int) -> str:
    """Say how a process ended: by which signal, or with which exit code."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
