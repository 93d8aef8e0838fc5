"""What the supervisor process is to the kernel: unreadable to others, without a core file, deaf to lease signals.

Decided here: the process-wide switches, and that descriptors 0 to 2 are stdio. Each is a few lines of prctl(2),
setrlimit(2) and open(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

__all__ = ["gain_no_rights", "harden"]

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h
_STDERR = 2


def harden() -> None:
    """Make this process unreadable to others of the same user, and leave no core file that could hold the key."""
    _hold_stdio()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    _control(_PR_SET_DUMPABLE, 0)


def gain_no_rights() -> None:
    """Gain no rights by anything that is exec'd from now on (set-user-ID programs); all that is started inherits it."""
    _control(_PR_SET_NO_NEW_PRIVS, 1)


def _control(option: int, value: int) -> None:
    """Set an attribute of this process (prctl(2)); raise OSError where the kernel refuses."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        if library.prctl(option, value, 0, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))


def _hold_stdio() -> None:
    """Open /dev/null where a descriptor of stdio is closed.

    The next file that is opened would get that number: the log would then be written into the lock or the journal, and
    workers would inherit it as their stderr.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - the signature of the standard library
    os.close(descriptor)
