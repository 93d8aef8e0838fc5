"""What the supervisor process is to the kernel: unreadable to others, without a core file, deaf to lease signals.

Decided here: the process-wide switches. Each is a few lines of prctl(2) and setrlimit(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

__all__ = ["harden"]

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """Make this process unreadable to others of the same user, and leave no core file that could hold the key."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        if library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
