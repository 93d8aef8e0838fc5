"""Listening Unix sockets: one has a file, which outlives whoever made it.

Decided here: the mode of that file, which file in its place may be removed, and that only our own is removed at the
end. Not decided here: which sockets there are (``listeners.py``). That of the control socket is ``socket_file.py``'s.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from nexus_supervisor.errors import ConflictError, NexusError, RejectedError
from nexus_supervisor.unix_path import is_answered, socket_address

__all__ = ["MODE", "UnixFile", "bind_unix"]

MODE = 0o660
"""Who may connect: the user and the group of the file."""


@dataclass(frozen=True, slots=True)
class UnixFile:
    """Hold which file a socket has; call it to have that removed, unless somebody put another one in its place."""

    path: Path
    device: int
    inode: int

    def __call__(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                self.path.unlink()


def bind_unix(path: Path, backlog: int) -> tuple[socket.socket, UnixFile]:
    """Bind and listen on a path; return the socket, and what removes its file at the end.

    A file that is there is removed where it is a socket of this user's that nobody answers on. Raise ConflictError
    where somebody does, RejectedError where the path can't be had.
    """
    _make_room(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        os.fchmod(listening.fileno(), MODE)  # Linux gives the file this mode, less the umask: never more, at no time
        with socket_address(path) as address:
            listening.bind(address)
        path.chmod(MODE)
        listening.listen(backlog)
        found = path.lstat()
    except OSError as error:
        listening.close()
        raise _explained(error, path) from error
    return listening, UnixFile(path, found.st_dev, found.st_ino)


def _make_room(path: Path) -> None:
    """Remove a stale socket of ours; raise ConflictError or RejectedError for anything else that is there."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _explained(error, path) from error
    if not stat.S_ISSOCK(found.st_mode):
        message = f"{path} is there already, and no socket: choose another path for it in bind, or move that away"
        raise RejectedError(message)
    if _answers(path):
        message = f"somebody listens on unix:{path} already{_holders(path)}; stop that, or choose another path in bind"
        raise ConflictError(message)
    if found.st_uid != os.geteuid():
        message = (
            f"nobody answers on the socket {path}, but it belongs to user {found.st_uid} and not to "
            f"{os.geteuid()}, who runs this: remove it, or choose another path in bind"
        )
        raise RejectedError(message)
    with suppress(FileNotFoundError):
        path.unlink()


def _answers(path: Path) -> bool:
    """Say whether somebody listens; a refusal for want of rights is an answer, too."""
    try:
        return is_answered(path)
    except PermissionError:
        return True
    except OSError as error:
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> NexusError:
    if error.errno == errno.ENOENT:
        return RejectedError(f"unix:{path} can't be bound: there is no directory {path.parent}: make it")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RejectedError(
            f"unix:{path} can't be bound ({error.strerror}): the supervisor must be able to write in {path.parent}"
        )
    if error.errno == errno.EADDRINUSE:
        return ConflictError(f"unix:{path} was taken by somebody else just now: stop that, or choose another path")
    return RejectedError(f"unix:{path} can't be bound: {error.strerror}")


def _holders(path: Path) -> str:
    """Name the processes that have the socket open, as far as this user may see them."""
    try:
        found = {one.pid for one in psutil.net_connections(kind="unix") if one.laddr == os.fspath(path) and one.pid}
        named = [f"pid {pid} ({psutil.Process(pid).name()})" for pid in sorted(found)]
    except (psutil.Error, OSError):
        return ""
    return f": {', '.join(named)}" if named else ""
