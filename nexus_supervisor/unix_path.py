"""The path of a Unix socket, however long it is: the kernel takes 107 bytes, directories may be longer.

Decided here: how a long path is made short enough for one bind or connect, and whether somebody listens there. Not
decided here: which sockets exist and who may use them (``supervisor/control_server.py``, ``client.py``).
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_supervisor.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CONTROL_SOCKET", "LONGEST_PATH_BYTES", "is_answered", "socket_address"]

CONTROL_SOCKET = Path("state") / "control.sock"
"""Where the control socket is, relative to DIR."""

LONGEST_PATH_BYTES = 107
"""What ``sun_path`` holds beside its final NUL (unix(7))."""

_DESCRIPTORS = "/proc/self/fd"


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Provide an address for one bind or connect to ``path``; a long path leads through its directory's descriptor.

    Raise OSError where the directory can't be opened, UsageError where this system can't shorten a path.
    """
    if len(os.fsencode(path)) <= LONGEST_PATH_BYTES:
        yield str(path)
        return
    if not os.path.isdir(_DESCRIPTORS):  # noqa: PTH112 - a fact about the system, no path of ours
        message = f"the path {path} is longer than {LONGEST_PATH_BYTES} bytes: choose a directory with a shorter path"
        raise UsageError(message)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"{_DESCRIPTORS}/{directory}/{path.name}"
    finally:
        os.close(directory)


def is_answered(path: Path) -> bool:
    """Say whether somebody listens on a socket file; a full queue is an answer, too.

    Raise OSError where nobody can say, PermissionError for want of rights among them.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            with socket_address(path) as address:
                probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            return True
        return True
