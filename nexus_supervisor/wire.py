"""The wire between two processes: frames and descriptors over one socket, large payloads as sealed memory beside them.

Decided here: how messages and descriptors move, and which memory may be trusted not to change. Not decided here: what
the messages are (``core/messages.py``, ``core/compilation.py``) and what they lead to.

Whoever sends a descriptor keeps its own copy; whoever receives one owns it and closes it. A memfd is accepted only with
all four seals: what was checked can then not change before it is used (memfd_create(2), fcntl(2)).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import stat
from array import array
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from nexus_supervisor.core.framing import MAX_DESCRIPTORS, FrameDecoder, frame
from nexus_supervisor.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexus_supervisor.core.codec import Codec

__all__ = ["INLINE_BYTES", "Wire", "close_all", "inline_or_beside", "open_sealed", "received_payload", "sealed"]

In = TypeVar("In")
Out = TypeVar("Out")

INLINE_BYTES = 64 * 1024
"""Payloads over this size travel beside their frame, so that a stuck reader never blocks its writer."""

_RECEIVE_BYTES = 256 * 1024
_DESCRIPTOR_BYTES = array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(MAX_DESCRIPTORS * _DESCRIPTOR_BYTES)
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Wire(Generic[In, Out]):
    """Move the messages of two closed unions over a connected stream socket, blocking, with descriptors beside them.

    ``send`` may be called from any thread, ``receive`` from one.
    """

    def __init__(self, connection: socket.socket, incoming: Codec[In], outgoing: Codec[Out]) -> None:
        self._connection = connection
        self._incoming, self._outgoing = incoming, outgoing
        self._arrived = _Arrived()
        self._sending = Lock()

    @property
    def connection(self) -> socket.socket:
        """Return the socket, for ``select`` and ``shutdown``; reading it directly would lose frames."""
        return self._connection

    @property
    def arrived(self) -> bool:
        """Return whether a message has arrived that ``receive`` would return without reading the socket."""
        return self._arrived.complete

    def send(self, message: Out, descriptors: Sequence[int] = ()) -> None:
        """Send one message and copies of the descriptors; raise OSError (EPIPE, ECONNRESET) where the peer is gone."""
        raw = memoryview(frame(self._outgoing.encode(message), len(descriptors)))
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        with self._sending:
            sent = self._connection.sendmsg([raw], ancillary, socket.MSG_NOSIGNAL)
            if sent < len(raw):
                self._connection.sendall(raw[sent:], socket.MSG_NOSIGNAL)

    def receive(self) -> tuple[In, list[int]] | None:
        """Return the next message and the descriptors beside it, or None when the peer is gone.

        Raise ProtocolError for anything that the protocol doesn't allow; everything that arrived is closed then, and
        the wire is of no further use.
        """
        try:
            while (complete := self._arrived.take()) is None:
                if not self._fill():
                    self._arrived.drop()
                    return None
            body, descriptors = complete
            try:
                return self._incoming.decode(body), descriptors
            except ProtocolError:
                close_all(descriptors)
                raise
        except ProtocolError:
            self._arrived.drop()
            raise

    def close(self) -> None:
        """Close the socket and whatever arrived and was not taken."""
        self._arrived.drop()
        self._connection.close()

    def _fill(self) -> bool:
        """Receive once; return False when the peer is gone."""
        try:
            received = self._connection.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return False
        raw, ancillary, flags, _ = received
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                whole = len(content) - len(content) % _DESCRIPTOR_BYTES
                self._arrived.descriptors.extend(array("i", content[:whole]))
        if flags & socket.MSG_CTRUNC:
            message = "more descriptors arrived at once than a frame may carry"
            raise ProtocolError(message)
        if raw:
            self._arrived.feed(raw)
        return bool(raw)


class _Arrived:
    """Hold what has arrived and was not taken yet: complete frames, and descriptors in the order of their frames."""

    def __init__(self) -> None:
        self.descriptors: deque[int] = deque()
        self._frames: deque[tuple[bytes, int]] = deque()
        self._decoder = FrameDecoder()

    @property
    def complete(self) -> bool:
        """Return whether there is a complete frame."""
        return bool(self._frames)

    def feed(self, raw: bytes) -> None:
        """Take received bytes."""
        self._frames.extend(self._decoder.feed(raw))

    def take(self) -> tuple[bytes, list[int]] | None:
        """Return the next complete frame and its descriptors, or None.

        Descriptors arrive with the first byte of their frame (unix(7)), so a complete frame without them is a lie.
        """
        if not self._frames:
            return None
        body, count = self._frames.popleft()
        if count > len(self.descriptors):
            message = f"a frame announced {count} descriptors and {len(self.descriptors)} arrived"
            raise ProtocolError(message)
        return body, [self.descriptors.popleft() for _ in range(count)]

    def drop(self) -> None:
        """Close every descriptor that nobody took, and forget the rest."""
        close_all(self.descriptors)
        self.descriptors.clear()
        self._frames.clear()


def close_all(descriptors: Iterable[int]) -> None:
    """Close each of the descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def sealed(raw: bytes | memoryview, name: str) -> int:
    """Return the descriptor (close-on-exec) of a sealed memfd that holds the bytes; the caller owns it."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(raw)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_sealed(descriptor: int, limit: int) -> memoryview:
    """Return the bytes of a sealed memfd, mapped read-only; the descriptor stays open and the caller's.

    Raise ProtocolError unless all four seals are set and the size is within the limit; nothing is read or mapped then.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        message = f"expected a sealed memfd, found something that has no seals ({error.strerror})"
        raise ProtocolError(message) from error
    if seals & _SEALS != _SEALS:
        message = f"expected a memfd with all four seals, found seals {seals:#x}"
        raise ProtocolError(message)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
        message = f"expected a memfd of at most {limit} bytes, found {found.st_size}"
        raise ProtocolError(message)
    if found.st_size == 0:
        return memoryview(b"")
    return memoryview(mmap.mmap(descriptor, found.st_size, prot=mmap.PROT_READ))


def inline_or_beside(raw: bytes, name: str) -> tuple[bytes | None, list[int]]:
    """Return how a payload travels: (the bytes, []) in the frame, or (None, [memfd]) beside it where it is large."""
    if len(raw) <= INLINE_BYTES:
        return raw, []
    return None, [sealed(raw, name)]


def received_payload(payload: bytes | None, descriptor: int | None, limit: int) -> bytes | memoryview | None:
    """Return a payload however it traveled; None where there is none. A descriptor is closed here."""
    if descriptor is None:
        return payload
    try:
        return open_sealed(descriptor, limit)
    finally:
        os.close(descriptor)
