"""Stable, bounded reads: one file, through the descriptor of its directory.

Decided here: which files are read at all, and when what was read is whole. Not decided here: which files a directory
holds (``tree.py``) and what they mean (``sheets.py``).

A file is stable when nothing changed while it was read and nobody has it open for writing: half of a file is often
valid TOML. A read lease, taken after the read and given back at once, fails while anyone has the file open for writing
(fcntl(2), F_SETLEASE); where leases don't work, two equal fstats have to do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import time
from dataclasses import dataclass, field

__all__ = ["Identity", "Reading", "TroubleError", "VanishedError", "kind_of", "read_stable"]

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_ATTEMPTS = 3
_CHUNK_BYTES = 1 << 20
_SETTLED_NANOSECONDS = 20_000_000
"""A file changed twice within the granularity of its times looks unchanged: younger identities are not relied on."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class TroubleError(Exception):
    """Say why a file or directory can't be used: a sentence and a code of ``Problem``."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message, self.code = message, code


class VanishedError(Exception):
    """Say that a file was listed and is gone: the listing is out of date."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Name one state of one file: as long as these are equal, its content is."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Identity:
        """Take the identity out of what stat answered."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def settled(self, now_ns: int) -> bool:
        """Say whether the file is old enough for its times to tell a further change."""
        return now_ns - max(self.mtime_ns, self.ctime_ns) > _SETTLED_NANOSECONDS


@dataclass(frozen=True, slots=True)
class Reading:
    """Hold the bytes of a file and the identity under which they were read; ``settled``: it may be relied on."""

    raw: bytes = field(repr=False)
    identity: Identity
    settled: bool


def read_stable(directory: int, name: str, limit: int) -> Reading:
    """Read one regular file whole; raise TroubleError where it can't be, VanishedError where it is gone.

    The kind and size are checked before the first byte is read, on the descriptor that is read.
    """
    descriptor = _open(directory, name)
    try:
        for _ in range(_ATTEMPTS):
            before = _checked(os.fstat(descriptor), limit)
            raw = _read(descriptor, before.size)
            after = _checked(os.fstat(descriptor), limit)
            if before == after and len(raw) == after.size:
                if _open_for_writing(descriptor):
                    message = "the file is open for writing: it is taken when its writer closes it"
                    raise TroubleError(message, "unstable")
                return Reading(raw, after, after.settled(time.time_ns()))
    finally:
        os.close(descriptor)
    message = "the file changed while it was read: it is taken when it stays the same"
    raise TroubleError(message, "unstable")


def kind_of(mode: int) -> str:
    """Say in words what kind of file a mode is."""
    return _KINDS.get(stat.S_IFMT(mode), "something that is not a file")


def _open(directory: int, name: str) -> int:
    try:
        return os.open(name, _FLAGS, dir_fd=directory)
    except FileNotFoundError:
        raise VanishedError from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            found = "a symbolic link" if error.errno == errno.ELOOP else "a socket or device"
            message = f"expected a regular file, found {found}"
            raise TroubleError(message, "not_a_file") from None
        message = f"expected a file that can be read, found one that can't ({error.strerror}): check its mode and owner"
        raise TroubleError(message, "unreadable") from None


def _checked(found: os.stat_result, limit: int) -> Identity:
    if not stat.S_ISREG(found.st_mode):
        message = f"expected a regular file, found {kind_of(found.st_mode)}"
        raise TroubleError(message, "not_a_file")
    if found.st_size > limit:
        message = f"expected at most {limit} bytes (supervisor.limits.max_file_bytes), found {found.st_size}"
        raise TroubleError(message, "limit")
    return Identity.of(found)


def _read(descriptor: int, size: int) -> bytes:
    """Read from the beginning; one byte more than the size, to see that there is no more."""
    pieces: list[bytes] = []
    offset = 0
    while offset <= size:
        try:
            piece = os.pread(descriptor, min(_CHUNK_BYTES, size + 1 - offset), offset)
        except OSError as error:
            message = f"the file can't be read ({error.strerror})"
            raise TroubleError(message, "unreadable") from None
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)


def _open_for_writing(descriptor: int) -> bool:
    """Say whether anyone is known to have the file open for writing.

    The lease is broken by signal while it is held; SIGURG instead of SIGIO, because nobody dies of it (signal(7)).
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
