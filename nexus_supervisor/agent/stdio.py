"""The worker's stdout and stderr, where the supervisor reads them: what becomes of them without it.

Decided here: that a pipe which nobody reads any more neither breaks a request nor stops it. Not decided here: what is
written, and what else follows from the supervisor's death (``parent.py``).

A worker holds an end of its own pipes to read from. While the supervisor reads, that end is never used; when the
supervisor is gone, even by ``kill -9`` in the middle of a request, the pipes don't break, and a thread empties them:
what is written then is lost. What the worker has started doesn't inherit that end.
"""

from __future__ import annotations

import os
import select
import stat
from contextlib import suppress
from threading import Thread

__all__ = ["Stdio"]

_DESCRIPTORS = (1, 2)
_OPEN_TO_ALL = 0o666
"""The mode of the supervisor's pipes for its workers; those that a shell makes are open to their user only."""

_READ_BYTES = 1 << 16


class Stdio:
    """Hold the ends to read from, where stdout and stderr are pipes of the supervisor."""

    def __init__(self) -> None:
        self._ends = [end for descriptor in _DESCRIPTORS if (end := _end_of(descriptor)) is not None]

    def without_reader(self) -> None:
        """Read the pipes from now on, since nobody else does; may be called more than once."""
        ends, self._ends = self._ends, []
        for end in ends:
            Thread(target=_empty, args=(end,), name="nexus-stdio", daemon=True).start()
        for descriptor in () if ends else _DESCRIPTORS:
            if _is_broken(descriptor):
                _lead_nowhere(descriptor)


def _end_of(descriptor: int) -> int | None:
    """Return an end of a pipe of the supervisor to read from; None for anything else."""
    with suppress(OSError):  # it is closed, or there is no /proc
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) and stat.S_IMODE(mode) == _OPEN_TO_ALL:
            return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    return None


def _empty(end: int) -> None:
    """Read and forget, as long as this process lives: it holds the other end, too."""
    while os.read(end, _READ_BYTES):
        continue


def _is_broken(descriptor: int) -> bool:
    """Say whether a pipe has nobody left who could read it."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(happened & (select.POLLERR | select.POLLHUP) for _, happened in poll.poll(0))


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
