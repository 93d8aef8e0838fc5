"""Files that survive a power cut: written whole or not at all, and read with a bound.

Decided here: the order of write, fsync, rename and directory fsync, and which files are read at all (regular ones, not
through a link, not over the limit). Not decided here: what is written and where.

Every function works below an open directory, so that nobody can swap a part of the path meanwhile. The fsync of the
directory is what makes a rename last (ext4, XFS and btrfs alike).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["directory", "names", "put_link", "read", "remove_tree", "replace", "sync", "write_new"]

sync = getattr(os, "fdatasync", os.fsync)
"""Make a file's bytes durable, with as little of its metadata as reading them back needs."""

_PIECE_BYTES: Final = 1 << 20
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def directory(path: str | Path, dir_fd: int | None = None) -> Iterator[int]:
    """Give the descriptor of a real directory (not a link to one) for the time of the ``with`` block."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def read(dir_fd: int, name: str, limit: int) -> bytes:
    """Return the bytes of a regular file; raise OSError where it is none, is a link, or is over ``limit`` bytes."""
    fd = os.open(name, _READ, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "this is not a regular file", name)
        pieces: list[bytes] = []
        left = limit + 1
        while left and (piece := os.read(fd, min(left, _PIECE_BYTES))):
            pieces.append(piece)
            left -= len(piece)
    finally:
        os.close(fd)
    if not left:
        raise OSError(errno.EFBIG, f"this file has more than {limit} bytes", name)
    return b"".join(pieces)


def write_new(dir_fd: int, name: str, raw: bytes, mode: int = 0o600) -> None:
    """Write a new file and make its bytes durable; raise FileExistsError where the name is taken."""
    fd = os.open(name, _NEW, mode, dir_fd=dir_fd)
    with os.fdopen(fd, "wb", buffering=0) as file:
        os.fchmod(fd, mode)
        view = memoryview(raw)
        while view:
            view = view[file.write(view) :]
        os.fsync(fd)


def replace(dir_fd: int, name: str, raw: bytes, mode: int = 0o600) -> None:
    """Give a file new bytes in one step, whatever was there before, and make that durable."""
    fresh = f".{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=dir_fd)
    write_new(dir_fd, fresh, raw, mode)
    os.rename(fresh, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    os.fsync(dir_fd)


def put_link(dir_fd: int, name: str, target: str) -> None:
    """Make ``name`` a symbolic link to ``target`` in one step, whatever it was before, and make that durable."""
    fresh = f".{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=dir_fd)
    os.symlink(target, fresh, dir_fd=dir_fd)
    os.rename(fresh, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    os.fsync(dir_fd)


def names(dir_fd: int) -> list[str]:
    """Return the sorted names in a directory."""
    with os.scandir(dir_fd) as found:
        return sorted(entry.name for entry in found)


def remove_tree(dir_fd: int, name: str) -> None:
    """Remove a file, a link or a directory with all that is in it; a missing one is fine."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        with directory(name, dir_fd) as inside:
            for inner in names(inside):
                remove_tree(inside, inner)
        os.rmdir(name, dir_fd=dir_fd)
