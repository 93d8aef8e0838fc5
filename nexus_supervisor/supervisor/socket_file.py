"""The file of a listening Unix socket: there is one under its name only while somebody listens.

Decided here: that clients never find a socket that doesn't listen yet, that a live supervisor's is never taken, and
that only our own is removed. Not decided here: who may connect (``control_server.py``). Whoever calls holds the lock of
the directory, so a file that nobody answers on is stale.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from nexus_supervisor.errors import ConflictError
from nexus_supervisor.unix_path import is_answered, socket_address

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SocketFile"]


class SocketFile:
    """Hold the socket file: visible under its name only while it listens, removed only if it is still ours."""

    def __init__(self, path: Path, identity: tuple[int, int] | None = None) -> None:
        """Hold a file that is about to be made, or the one of this device and inode."""
        self._path = path
        self._draft = path.with_name(path.name + ".new")
        self._identity = identity

    @property
    def identity(self) -> tuple[int, int]:
        """Return device and inode of the file; zeros where there is none."""
        return self._identity or (0, 0)

    def bind(self) -> socket.socket:
        """Return a socket bound to a temporary name with mode 0600."""
        if is_answered(self._path):
            message = f"another supervisor answers on {self._path}: stop it first"
            raise ConflictError(message)
        self._draft.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with socket_address(self._draft) as address:
                listener.bind(address)
            self._draft.chmod(0o600)
        except BaseException:
            listener.close()
            raise
        return listener

    def publish(self) -> None:
        """Move the file to its name, over a stale one; only now can clients find it."""
        found = self._draft.stat()
        self._draft.rename(self._path)
        self._identity = (found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove the file unless somebody put another one in its place."""
        with suppress(FileNotFoundError):
            found = self._path.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                self._path.unlink()
