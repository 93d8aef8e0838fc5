"""What a process may use in which files are parsed and models are imported.

Decided here: the limits that such a process sets itself, that nobody of its own user may look into it, which signals it
leaves to others, and that no text of an exception is printed by it: it may hold a secret. Not decided here: how large
the limits are (``core/options.py``) and as whom it runs (``supervisor/isolation.py``).
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

from nexus_supervisor.models.importing import place_of

if TYPE_CHECKING:
    from nexus_supervisor.core.options import LimitSettings

__all__ = ["gain_nothing", "set_limits", "settle"]

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h


def settle(arguments: list[str]) -> socket.socket:
    """Make this process one that models may be imported in; return the socket that the command line names."""
    connection = socket.socket(fileno=int(arguments[0]))
    connection.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGIO):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gain_nothing()
    sys.dont_write_bytecode = True
    sys.excepthook = lambda _kind, error, _trace: _told(error)
    sys.unraisablehook = lambda unraisable: _told(unraisable.exc_value)
    threading.excepthook = lambda failed: _told(failed.exc_value)
    return connection


def gain_nothing() -> None:
    """Gain no rights by what is exec'd, and let no process of the same user, such as a worker, look in or take over.

    What is written by a compiler that was taken over would be signed.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
            if library.prctl(option, value, 0, 0, 0) != 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))


def _told(error: BaseException | None) -> None:
    """Say that an exception reached nobody: its type and place."""
    if error is not None:
        sys.stderr.write(f"nexus compiler: {type(error).__name__}{place_of(error)} reached nobody\n")


def set_limits(limits: LimitSettings) -> None:
    """Bound memory, and the processor time from now on; only the soft limits, so that they can be set again."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime) + limits.compile_cpu_seconds
    for kind, wanted in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, limits.compile_memory_mb << 20),
    ):
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
