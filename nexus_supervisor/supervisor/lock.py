"""One supervisor per directory: the lock, and the file that says which process holds it.

Decided here: who may run on a directory. Not decided here: what runs there. The lock is a ``flock`` on ``state/lock``:
the kernel gives it back when its holder dies, however it dies, so files that a dead supervisor left behind are
harmless. ``state/supervisor.pid`` is for people and error texts; nothing is decided by it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Self

import psutil

from nexus_supervisor.errors import ConflictError, DirectoryError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["DirectoryLock"]

_STATE = "state"
_LOCK = "lock"
_PID = "supervisor.pid"
_PID_NEW = ".supervisor.pid.new"
_MAX_PID_BYTES = 32
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_MAX_PID = (1 << 31) - 1


class DirectoryLock:
    """Hold a directory for this process while the ``with`` block runs."""

    def __init__(self, directory: Path, held: int | None = None) -> None:
        """Be about to take the lock; ``held`` is the descriptor by which this process has it already."""
        self._directory = directory
        self._inherited = held
        self._held = contextlib.ExitStack()
        self.descriptor = -1

    def __enter__(self) -> Self:
        """Take the lock and write the pid file.

        Raise ConflictError where another process holds the lock, DirectoryError where ``state/`` can't be used.
        """
        with contextlib.ExitStack() as taken:
            state = self._open_state()
            taken.callback(os.close, state)
            if self._inherited is None:
                self._take(state, taken)
                _write_pid(state)
            else:
                self._keep(self._inherited, taken)
            taken.callback(_remove_pid, state)
            self._held = taken.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the pid file, then give the lock back; the lock file stays."""
        self._held.close()

    def _open_state(self) -> int:
        path = self._directory / _STATE
        try:
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            message = (
                f"{path} can't be used as the state directory ({error.strerror}): it must be a real directory "
                "that this user may write"
            )
            raise DirectoryError(message) from error

    def _take(self, state: int, taken: contextlib.ExitStack) -> None:
        """Lock the file that has the name now: who waits for it may hold one that was removed meanwhile."""
        while True:
            with contextlib.ExitStack() as attempt:
                lock = self._open_lock(state)
                attempt.callback(os.close, lock)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise ConflictError(self._conflict(state)) from error
                if _still_named(state, lock):
                    attempt.callback(_give_back, lock, os.getpid())
                    taken.push(attempt.pop_all())
                    self.descriptor = lock
                    return

    def _keep(self, lock: int, taken: contextlib.ExitStack) -> None:
        """Go on with a lock that was never given back: it belongs to the open file."""
        taken.callback(os.close, lock)
        taken.callback(_give_back, lock, os.getpid())
        self.descriptor = lock

    def _open_lock(self, state: int) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(_LOCK, flags, 0o600, dir_fd=state)
        except OSError as error:
            path = self._directory / _STATE / _LOCK
            message = (
                f"{path} can't be opened as a lock ({error.strerror}): it must be a plain file that this user may write"
            )
            raise DirectoryError(message) from error

    def _conflict(self, state: int) -> str:
        pid = _read_pid(state)
        who = f"a supervisor (pid {pid})" if pid is not None and psutil.pid_exists(pid) else "a supervisor"
        return (
            f"{who} already runs on {self._directory}: stop it with `nexus-supervisor stop -d {self._directory}`, "
            "or use another directory"
        )


def _give_back(lock: int, holder: int) -> None:
    """Unlock at once: a process that is just being started may have a copy of the descriptor until its exec is over.

    After a fork without exec the child must not give back its parent's lock.
    """
    if os.getpid() == holder:
        fcntl.flock(lock, fcntl.LOCK_UN)


def _still_named(state: int, lock: int) -> bool:
    try:
        named = os.stat(_LOCK, dir_fd=state, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(lock))


def _write_pid(state: int) -> None:
    """Write the pid file. On a full disk there is none: what is committed can be served all the same."""
    try:
        _write_new_pid(state)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        for name in (_PID_NEW, _PID):  # half a file, and one that names a dead process
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=state)


def _write_new_pid(state: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_PID_NEW, dir_fd=state)
    fresh = os.open(_PID_NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=state)
    try:
        os.write(fresh, f"{os.getpid()}\n".encode())
    finally:
        os.close(fresh)
    os.replace(_PID_NEW, _PID, src_dir_fd=state, dst_dir_fd=state)


def _read_pid(state: int) -> int | None:
    """Return the pid that the file names; None where it names none. The holder may not have written it yet."""
    try:
        descriptor = os.open(_PID, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=state)
    except OSError:
        return None
    try:
        raw = os.read(descriptor, _MAX_PID_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
    text = raw.strip()
    return int(text) if text.isdigit() and int(text) <= _MAX_PID else None


def _remove_pid(state: int) -> None:
    """Remove the pid file if it is ours: after a fork without exec the child must not remove its parent's."""
    if _read_pid(state) == os.getpid():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_PID, dir_fd=state)
