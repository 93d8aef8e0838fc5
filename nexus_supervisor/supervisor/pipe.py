"""One end of a socketpair in the supervisor's event loop: frames and descriptors, never waiting for the peer.

Decided here: how much may wait for a peer that doesn't read, how much a peer may say, and that anything which the
protocol doesn't allow ends the pipe. Not decided here: what messages mean. ``wire.py`` is the blocking other end.
"""

from __future__ import annotations

import errno
import os
import socket
from array import array
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from nexus_supervisor.core.framing import MAX_DESCRIPTORS, MAX_FRAME_BYTES, FrameDecoder, frame
from nexus_supervisor.core.handover import HandedPipe
from nexus_supervisor.errors import ConflictError, ProtocolError
from nexus_supervisor.supervisor import clock
from nexus_supervisor.wire import close_all

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from nexus_supervisor.core.codec import Codec

__all__ = ["Pipe", "take_no_descriptors"]

In = TypeVar("In")
Out = TypeVar("Out")

MAX_WAITING_FRAMES = 32
"""More than a version's messages to one peer; what doesn't fit is said to a peer that will be ended."""

MAX_FRAMES_PER_SECOND = 1_000
MAX_FRAMES_AT_ONCE = 2_000
"""What a peer may say: five messages a version, so many a second for ever and so many in a burst. More is a flood."""

_SO_PASSRIGHTS = 83  # asm-generic/socket.h; Python doesn't name it yet
_LEFT = frozenset({errno.EPIPE, errno.ECONNRESET})
_RECEIVE_BYTES = 256 * 1024
_DESCRIPTOR_BYTES = array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(MAX_DESCRIPTORS * _DESCRIPTOR_BYTES)


class Pipe(Generic[In, Out]):
    """Move messages over a connected stream socket.

    ``closed`` is called once: with None where the peer has left, else with what it did wrong, in words. ``limit`` is
    the longest message that the peer may send.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        codecs: tuple[Codec[In], Codec[Out]],
        received: Callable[[In, list[int]], None],
        closed: Callable[[str | None], None],
        limit: int = MAX_FRAME_BYTES,
        *,
        unread: bytes = b"",
    ) -> None:
        """Take over a connection; ``unread`` is the beginning of a message that has arrived before."""
        connection.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        self._loop, self._connection = loop, connection
        self._incoming, self._outgoing = codecs
        self._received, self._closed = received, closed
        self._decoder = FrameDecoder(limit)
        self._decoder.feed(unread)
        self._allowance = _Allowance()
        self._arrived: deque[int] = deque()
        self._waiting: deque[tuple[memoryview, list[int]]] = deque()
        loop.add_reader(connection.fileno(), self._readable)

    def send(self, message: Out, descriptors: Sequence[int] = ()) -> None:
        """Send a message, at once or as soon as the peer reads; the descriptors are copied, the caller keeps its own.

        A peer that can't be sent what it needs is of no use: the pipe ends.
        """
        if self._connection.fileno() < 0:
            return
        if len(self._waiting) >= MAX_WAITING_FRAMES:
            self._end("it does not read what it is sent")
            return
        raw = memoryview(frame(self._outgoing.encode(message), len(descriptors)))
        try:
            copies = _copies(descriptors)
        except OSError as error:
            self._end(f"what belongs to a message could not be sent to it ({error.strerror})")
            return
        self._waiting.append((raw, copies))
        if len(self._waiting) == 1:
            self._write()

    def handed(self) -> HandedPipe:
        """Return what another one needs to go on; raise ConflictError where something is on its way to the peer."""
        if self._waiting or self._arrived or self._connection.fileno() < 0:
            message = "a process does not read what it is sent"
            raise ConflictError(message)
        return HandedPipe(self._connection.fileno(), self._decoder.rest)

    def close(self) -> None:
        """Close the socket and everything that waits, without a word to anybody."""
        if self._connection.fileno() < 0:
            return
        self._loop.remove_reader(self._connection.fileno())
        self._loop.remove_writer(self._connection.fileno())
        self._connection.close()
        for _, descriptors in self._waiting:
            close_all(descriptors)
        close_all(self._arrived)
        self._waiting.clear()
        self._arrived.clear()

    def _end(self, reason: str | None) -> None:
        self.close()
        self._closed(reason)

    def _write(self) -> None:
        try:
            while self._waiting:
                raw, descriptors = self._waiting[0]
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
                sent = self._connection.sendmsg([raw], ancillary, socket.MSG_NOSIGNAL)
                close_all(descriptors)
                if sent == len(raw):
                    self._waiting.popleft()
                else:
                    self._waiting[0] = (raw[sent:], [])
            self._loop.remove_writer(self._connection.fileno())
        except BlockingIOError:
            self._loop.add_writer(self._connection.fileno(), self._write)
        except OSError as error:
            if error.errno not in _LEFT:
                self._loop.call_soon(self._end_if_open, f"a message could not be sent to it ({error.strerror})")
                return
            # it has left; what it said before is still to be read, and then EOF ends the pipe
            for _, descriptors in self._waiting:
                close_all(descriptors)
            self._waiting.clear()
            self._loop.remove_writer(self._connection.fileno())

    def _end_if_open(self, reason: str) -> None:
        if self._connection.fileno() >= 0:
            self._end(reason)

    def _readable(self) -> None:
        try:
            raw, ancillary, flags, _ = self._connection.recvmsg(
                _RECEIVE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:  # ECONNRESET: it left without reading everything
            self._end(None)
            return
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                whole = len(content) - len(content) % _DESCRIPTOR_BYTES
                self._arrived.extend(array("i", content[:whole]))
        if not raw:
            self._end(None)
            return
        try:
            self._take(raw, truncated=bool(flags & socket.MSG_CTRUNC))
        except ProtocolError as error:
            self._end(f"it broke the protocol: {error}")

    def _take(self, raw: bytes, *, truncated: bool) -> None:
        if truncated or len(self._arrived) > MAX_DESCRIPTORS:
            text = "more descriptors arrived than a frame may carry"
            raise ProtocolError(text)
        for body, count in self._decoder.feed(raw):
            self._allowance.take()
            if count > len(self._arrived):
                text = f"a frame announced {count} descriptors and {len(self._arrived)} arrived"
                raise ProtocolError(text)
            descriptors = [self._arrived.popleft() for _ in range(count)]
            try:
                message = self._incoming.decode(body)
            except ProtocolError:
                close_all(descriptors)
                raise
            self._received(message, descriptors)
            if self._connection.fileno() < 0:
                return


class _Allowance:
    """Hold how many frames a peer may still send: a bucket that time fills again."""

    def __init__(self) -> None:
        self._left = float(MAX_FRAMES_AT_ONCE)
        self._filled = clock.monotonic()

    def take(self) -> None:
        """Take one; raise ProtocolError where none is left."""
        if self._left < 1:
            now = clock.monotonic()
            self._left = min(self._left + (now - self._filled) * MAX_FRAMES_PER_SECOND, float(MAX_FRAMES_AT_ONCE))
            self._filled = now
        if self._left < 1:
            text = f"it sent more than {MAX_FRAMES_AT_ONCE} messages at once and {MAX_FRAMES_PER_SECOND} a second"
            raise ProtocolError(text)
        self._left -= 1


def _copies(descriptors: Sequence[int]) -> list[int]:
    """Return copies of all the descriptors; raise OSError where there is no room for them, and hold none then."""
    copies: list[int] = []
    try:
        for descriptor in descriptors:
            copies.append(os.dup(descriptor))  # noqa: PERF401 - what was made has to be closed where one fails
    except OSError:
        close_all(copies)
        raise
    return copies


def take_no_descriptors(connection: socket.socket) -> None:
    """Have the kernel refuse a peer that passes descriptors (Linux 6.16), elsewhere the pipe ends it.

    To close somebody else's descriptor may block: a socket with SO_LINGER, a file on a dead server.
    """
    with suppress(OSError):  # an older kernel
        connection.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
