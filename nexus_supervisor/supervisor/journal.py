"""The journal: the one file that the supervisor trusts about what it did.

Decided here: how a record becomes durable, what happens when the disk refuses, and what is done about a damaged end.
Not decided here: what the records say (``core/records.py``), how they are chained (``core/chain.py``) and what they
lead to at start (``recovery.py``).

One append is one write and at most one fdatasync. After a write or an fsync that failed nobody knows what is on the
disk, and asking again gets a wrong answer (an fsync that failed once reports success later): the journal then refuses
every further record. Only a disk without room is different, as long as the bytes that did not fit could be taken back.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from nexus_supervisor.core import chain
from nexus_supervisor.core.records import (
    RECORDS,
    Burnt,
    Candidate,
    Checkpoint,
    Committed,
    Ended,
    Pinned,
    Quarantined,
    Record,
    Spawned,
    Unpinned,
)
from nexus_supervisor.errors import NexusError
from nexus_supervisor.supervisor import durable
from nexus_supervisor.supervisor.ballast import Ballast

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "FILE",
    "MAX_BYTES",
    "Burnt",
    "Candidate",
    "Checkpoint",
    "Committed",
    "Ended",
    "Journal",
    "JournalError",
    "Opened",
    "Pinned",
    "Quarantined",
    "Record",
    "Spawned",
    "Tail",
    "Unpinned",
]

FILE: Final = "journal"
_FRESH: Final = "journal.new"
_TORN: Final = "journal.torn-{}"
MAX_BYTES: Final = 8 << 30
_MAX_TORN: Final = 10_000
_APPEND: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class JournalError(NexusError):
    """Say that a record is not in the journal, so that nothing may be built on it."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Tail:
    """Tell what was found after the last good record: where it is kept, how long it is, and numbers named in it."""

    file: str
    size: int
    damage: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """Hold an open journal, the records that it held, and what was cut off its end."""

    journal: Journal
    records: tuple[Record, ...]
    tail: Tail | None


class Journal:
    """Append records to ``state/journal``; used by one thread."""

    def __init__(self, state: int, fd: int, size: int, last: bytes) -> None:
        self._state, self._fd, self._size, self._chain = state, fd, size, last
        self._failure = ""
        self.ballast = Ballast(state)
        self.ballast.hold()

    @classmethod
    def open(cls, state: Path) -> Opened:
        """Open or create the journal in a state directory, and cut off an end that is no record.

        What is cut off is kept beside it first. Raise JournalError where the file can't be read or repaired.
        """
        with ExitStack() as opened:
            try:
                directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, directory)
                fd, raw = _open(directory)
                opened.callback(os.close, fd)
                scan = chain.scan(raw)
                tail = _cut(directory, fd, raw, scan)
            except OSError as error:
                message = (
                    f"{state / FILE} can't be opened ({error.strerror}): see that the disk and its permissions are well"
                )
                raise JournalError(message) from error
            journal = cls(directory, fd, scan.end, scan.chain)
            opened.pop_all()
        return Opened(journal, scan.records, tail)

    @property
    def size(self) -> int:
        """Return how many bytes of good records the file has."""
        return self._size

    @property
    def chain(self) -> bytes:
        """Return the hash of the last record."""
        return self._chain

    def append(self, record: Record, *, durable: bool, reserve: bool = True) -> None:
        """Append one record, on the disk when this returns if ``durable``; raise JournalError otherwise.

        On a full disk only a record with ``reserve`` may have the room of the ballast.
        """
        self._refuse_after_failure()
        body = RECORDS.encode(record)
        header, digest = chain.head(self._chain, body)
        try:
            self._write((header, body), reserve=reserve)
            if durable:
                _sync(self._fd)
        except OSError as error:
            raise self._failed(error) from error
        self._size += len(header) + len(body)
        self._chain = digest

    def rewrite(self, records: Iterable[Record]) -> None:
        """Put a new file with these records in the journal's place.

        Raise JournalError and go on with the old file where the new one can't be written.
        """
        self._refuse_after_failure()
        raw, digest = _chained(records)
        try:
            durable.remove_tree(self._state, _FRESH)
            durable.write_new(self._state, _FRESH, raw)
            fd = os.open(_FRESH, _APPEND & ~os.O_CREAT, dir_fd=self._state)
        except OSError as error:
            with suppress(OSError):
                durable.remove_tree(self._state, _FRESH)
            message = f"a shorter journal can't be written ({error.strerror}): the old one goes on"
            raise JournalError(message) from error
        self._exchange(fd)
        self._size, self._chain = len(raw), digest

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            os.close(self._state)
        self._fd = self._state = -1
        self._failure = self._failure or "it is closed"

    def _exchange(self, fd: int) -> None:
        """Give the new file the journal's name. From the rename on only a durable directory says which one counts."""
        try:
            os.rename(_FRESH, FILE, src_dir_fd=self._state, dst_dir_fd=self._state)
            os.fsync(self._state)
        except OSError as error:
            os.close(fd)
            raise self._failed(error) from error
        os.close(self._fd)
        self._fd = fd

    def _write(self, parts: tuple[bytes, bytes], *, reserve: bool) -> None:
        """Write all or nothing; where there is no room, with ``reserve`` once more after the ballast was given back."""
        if os.fstat(self._fd).st_nlink == 0:
            raise OSError(errno.ENOENT, "the file was removed")
        try:
            self._write_whole(parts)
        except OSError as error:
            if error.errno not in _NO_ROOM or not reserve or not self.ballast.release():
                raise
            self._write_whole(parts)

    def _write_whole(self, parts: tuple[bytes, bytes]) -> None:
        try:
            if os.writev(self._fd, parts) == sum(map(len, parts)):
                return
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._take_back()
            raise
        self._take_back()
        raise OSError(errno.ENOSPC, "the record did not fit")

    def _take_back(self) -> None:
        """Cut off what was half written; a failure of this is no lack of room but a damaged file."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            raise OSError(errno.EIO, f"half a record can't be taken back: {error.strerror}") from error

    def _failed(self, error: OSError) -> JournalError:
        """Return the error to raise, and refuse everything from now on unless only room is missing."""
        if error.errno in _NO_ROOM and self._is_whole():
            return JournalError(f"there is no room for the journal ({error.strerror}): make room on this disk")
        self._failure = f"writing it failed once ({error.strerror}), and what the disk holds is unknown since"
        return JournalError(f"the journal can't be trusted any more: {self._failure}. Check the disk, then start again")

    def _is_whole(self) -> bool:
        with suppress(OSError):
            return os.fstat(self._fd).st_size == self._size
        return False

    def _refuse_after_failure(self) -> None:
        if self._failure:
            message = f"the journal takes no records: {self._failure}. Check the disk, then start again"
            raise JournalError(message)


def _sync(fd: int) -> None:
    """Make the file durable; ENOSPC from here is as fatal as any other error, since its pages may be lost."""
    try:
        durable.sync(fd)
    except OSError as error:
        raise OSError(errno.EIO, f"fdatasync: {error.strerror}") from error


def _open(state: int) -> tuple[int, bytes]:
    """Open the journal, durable as a name, and read all of it."""
    fd = os.open(FILE, _APPEND, 0o600, dir_fd=state)
    with ExitStack() as opened:
        opened.callback(os.close, fd)
        os.fchmod(fd, 0o600)
        os.fsync(state)
        raw = durable.read(state, FILE, MAX_BYTES)
        opened.pop_all()
    return fd, raw


def _cut(state: int, fd: int, raw: bytes, scan: chain.Scan) -> Tail | None:
    """Keep what follows the last good record in a file of its own, then cut it off."""
    durable.remove_tree(state, _FRESH)
    if not scan.damage:
        return None
    torn = raw[scan.end :]
    name = _put_aside(state, torn)
    os.ftruncate(fd, scan.end)
    os.fsync(fd)
    return Tail(name, len(torn), scan.damage, chain.numbers(torn))


def _put_aside(state: int, torn: bytes) -> str:
    """Write bytes to the first free ``journal.torn-<n>``, giving the ballast back where there is no room."""
    for number in range(1, _MAX_TORN):
        name = _TORN.format(number)
        try:
            durable.write_new(state, name, torn)
        except FileExistsError:
            continue
        except OSError as error:
            durable.remove_tree(state, name)
            if error.errno not in _NO_ROOM or not Ballast(state).release():
                raise
            durable.write_new(state, name, torn)
        os.fsync(state)
        return name
    raise OSError(errno.EEXIST, f"there are {_MAX_TORN} damaged ends already: remove state/journal.torn-*")


def _chained(records: Iterable[Record]) -> tuple[bytes, bytes]:
    """Return a whole journal's bytes and its last hash."""
    pieces: list[bytes] = []
    digest = chain.GENESIS
    for record in records:
        body = RECORDS.encode(record)
        header, digest = chain.head(digest, body)
        pieces += (header, body)
    return b"".join(pieces), digest
