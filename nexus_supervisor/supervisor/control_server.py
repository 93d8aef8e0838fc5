"""The control socket: who may connect, how much a client may cost, and how its requests reach the supervisor.

Decided here: the admission of clients and every bound on them. Not decided here: the socket file (``socket_file.py``),
what requests mean (``core/control.py``) and what they lead to (whoever ``submit`` belongs to).

Everything runs in the supervisor's event loop and nothing waits for a client: one that sends nothing is closed after a
deadline, and so is one that doesn't read (at once where its output is over a limit); one that leaves changes nothing of
what it asked for.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from nexus_supervisor.core.control import ANSWERS, REQUESTS, Answer, Noticed, OutputLine, Refusal, Request
from nexus_supervisor.core.framing import FrameDecoder, frame
from nexus_supervisor.core.handover import HandedSocket
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.errors import ConflictError, NexusError, ProtocolError
from nexus_supervisor.supervisor.socket_file import SocketFile
from nexus_supervisor.unix_path import CONTROL_SOCKET

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ControlServer", "Reply", "Requester", "Submit"]

MAX_REQUEST_BYTES = 64 * 1024
MAX_WAITING_REQUESTS = 4
"""Requests of one connection that may be unanswered at a time; a status behind FollowNotices is a barrier."""

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
"""What may wait for a client: every notice that is kept, and more."""

STALLED_OUTPUT_BYTES = 1024 * 1024
"""What may wait for a client for long; with more, the deadline of IDLE_SECONDS runs until it has read."""

IDLE_SECONDS = 10.0
"""How long a connection may be open with no complete request unanswered, or with too much unread."""

FLUSH_SECONDS = 1.0
"""How long the last answers may take to leave when the server closes."""

_TURNS_OF_ACCEPTING = 3
"""So many turns of the loop it takes asyncio from an accepted connection to its protocol, which then can be closed."""

_BACKLOG = 16  # asyncio accepts so many before it reads: fewer than clients, or a flood evicts who just came
_PEER_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_MAC_LEVEL, _MAC_PEER_CREDENTIALS, _MAC_PEER_PID = (
    0,
    1,
    2,
)  # sys/un.h of macOS: SOL_LOCAL, LOCAL_PEERCRED, LOCAL_PEERPID
_MAC_CREDENTIALS = struct.Struct("@IIh16I")  # struct xucred of sys/ucred.h: version, uid, number of groups, groups


@dataclass(frozen=True, slots=True)
class Requester:
    """Name who asks, as the kernel tells it: user id, process id when it connected, user name."""

    uid: int
    pid: int
    name: str


class Reply:
    """Answer one request, from the event loop, now or later.

    Calling it after the client left, or after the answer that ends the request, has no effect.
    """

    def __init__(self, connection: _Connection) -> None:
        self._connection: _Connection | None = connection
        self._when_left: list[Callable[[], None]] = []

    def __call__(self, answer: Answer) -> None:
        """Send an answer; any but Noticed and OutputLine ends the request."""
        connection = self._connection
        if connection is None:
            return
        if not isinstance(answer, Noticed | OutputLine):
            self._connection = None
            connection.waiting.remove(self)
        connection.send(answer)

    @property
    def open(self) -> bool:
        """Say whether an answer can still reach the client."""
        return self._connection is not None

    def when_left(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once if the client leaves before its request has ended; at once if that is over."""
        if self.open:
            self._when_left.append(callback)
        else:
            callback()

    def leave(self) -> None:
        """Take note that the client has left."""
        self._connection = None
        for callback in self._when_left:
            callback()


Submit = Callable[[Request, Requester, Reply], None]


class ControlServer:
    """Serve the control socket of one directory. The caller holds the lock of the directory from start to close.

    ``submit`` is called in the event loop, in the order in which requests arrive, and must not block; a NexusError that
    it raises is the client's answer. ``announce`` gets a notice for each user that was turned away.
    """

    def __init__(
        self,
        directory: Path,
        submit: Submit,
        max_clients: int,
        *,
        announce: Callable[[Notice], None],
        idle_seconds: float = IDLE_SECONDS,
        handed: HandedSocket | None = None,
    ) -> None:
        identity = None if handed is None else (handed.device, handed.inode)
        self._socket_file = SocketFile(directory / CONTROL_SOCKET, identity)
        self._handed = handed
        self._admission = _Admission(max_clients, announce)
        self._submit = submit
        self._idle_seconds = idle_seconds
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and listen. Raise ConflictError where a live supervisor answers there, OSError where it can't bind."""
        handed = self._handed
        listener = self._socket_file.bind() if handed is None else socket.socket(fileno=handed.descriptor)
        try:
            server = await asyncio.get_running_loop().create_unix_server(
                self._connection, sock=listener, backlog=_BACKLOG
            )
        except BaseException:
            listener.close()
            raise
        self._server = server
        if handed is None:
            self._socket_file.publish()

    def handed(self) -> HandedSocket:
        """Return what another one needs to go on; raise ConflictError where this one is closed."""
        if self._server is None:
            message = "the control socket is closed"
            raise ConflictError(message)
        return HandedSocket(self._server.sockets[0].fileno(), "", "", *self._socket_file.identity)

    async def close(self) -> None:
        """Remove the socket file, let the last answers leave for a moment, and close every connection."""
        if self._server is None:
            return
        self._socket_file.remove()
        self._server.close()
        self._server = None
        for _ in range(_TURNS_OF_ACCEPTING):
            await asyncio.sleep(0)
        await self._admission.dismiss()

    def _connection(self) -> _Connection:
        return _Connection(self._admission, self._submit, self._idle_seconds)


class _Admission:
    """Decide who may be a client: the supervisor's own user and root, at most so many at a time."""

    def __init__(self, max_clients: int, announce: Callable[[Notice], None]) -> None:
        self._max_clients = max_clients
        self._announce = announce
        self._clients: dict[_Connection, None] = {}
        self._names = {uid: _user_name(uid) for uid in (os.geteuid(), 0)}
        self._turned_away: set[int] = set()

    def requester(self, connected: socket.socket) -> Requester | None:
        """Return who connected, or None for a user who may not; each such user is announced once."""
        pid, uid = _peer(connected)
        if name := self._names.get(uid):
            return Requester(uid, pid, name)
        if uid not in self._turned_away and len(self._turned_away) < self._max_clients:
            self._turned_away.add(uid)
            text = (
                f"a process (pid {pid}) of the user with id {uid} tried to use the control socket and was turned away"
            )
            self._announce(Notice("client_refused", "warning", text, {"uid": uid, "pid": pid}))
        return None

    def enter(self, client: _Connection) -> bool:
        """Let a client in; where all places are taken, the oldest one that asks for nothing makes room."""
        if len(self._clients) >= self._max_clients:
            idle = next((other for other in self._clients if not other.waiting), None)
            if idle is None:
                return False
            del self._clients[idle]
            idle.abort()
        self._clients[client] = None
        return True

    def leave(self, client: _Connection) -> None:
        """Take note that a client is gone."""
        self._clients.pop(client, None)

    async def dismiss(self) -> None:
        """Close every connection after what it was told; cut those that don't read."""
        clients = list(self._clients)
        for client in clients:
            client.close()
        if clients:
            _, reading = await asyncio.wait([client.lost for client in clients], timeout=FLUSH_SECONDS)
            for client in clients if reading else ():
                client.abort()


class _Connection(asyncio.Protocol):
    """Hold one connection: bytes in, requests out, and the deadline of a client that asks for nothing."""

    def __init__(self, admission: _Admission, submit: Submit, idle_seconds: float) -> None:
        self.waiting: list[Reply] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._admission = admission
        self._submit = submit
        self._idle = _Deadline(idle_seconds, self.abort)
        self._stalled = _Deadline(idle_seconds, self.abort)
        self._decoder = FrameDecoder(MAX_REQUEST_BYTES)
        self._transport: asyncio.Transport
        self._requester: Requester | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, or close."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=STALLED_OUTPUT_BYTES)
        self._requester = self._admission.requester(transport.get_extra_info("socket"))
        if self._requester is None:
            self.abort()
        elif not self._admission.enter(self):
            self._refuse(Refusal(ConflictError.exit_code, "as many clients as allowed are connected: try again later"))
        else:
            self._idle.start()

    def data_received(self, data: bytes) -> None:
        """Take bytes; submit the requests that they complete."""
        try:
            for body, descriptors in self._decoder.feed(data):
                self._take(body, descriptors)
                if self._transport.is_closing():
                    return
        except ProtocolError as error:
            self._refuse(Refusal(error.exit_code, f"the request can't be read: {error}"))

    def pause_writing(self) -> None:
        """Give a client that doesn't read a deadline."""
        self._stalled.start()

    def resume_writing(self) -> None:
        """Take note that the client has read."""
        self._stalled.stop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell those who would still answer that the client has left."""
        self._admission.leave(self)
        self._idle.stop()
        self._stalled.stop()
        waiting, self.waiting = self.waiting, []
        for reply in waiting:
            reply.leave()
        self.lost.set_result(None)

    def send(self, answer: Answer) -> None:
        """Send one answer; close a client that doesn't read what it is sent."""
        if self._transport.is_closing():
            return
        try:
            body = ANSWERS.encode(answer)
        except ProtocolError as error:
            body = ANSWERS.encode(Refusal(error.exit_code, f"the answer can't be sent: {error}"))
        self._transport.write(frame(body))
        if self._transport.get_write_buffer_size() > MAX_OUTPUT_BYTES:
            self.abort()
        elif not self.waiting:
            self._idle.start()

    def close(self) -> None:
        """Close after everything that was sent has left."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _take(self, body: bytes, descriptors: int) -> None:
        request = REQUESTS.decode(body)
        if descriptors:
            message = "requests carry no descriptors"
            raise ProtocolError(message)
        if len(self.waiting) >= MAX_WAITING_REQUESTS:
            message = f"more than {MAX_WAITING_REQUESTS} requests wait on one connection"
            raise ProtocolError(message)
        self._idle.stop()
        reply = Reply(self)
        self.waiting.append(reply)
        try:
            self._submit(request, cast("Requester", self._requester), reply)
        except NexusError as error:
            reply(Refusal(error.exit_code, str(error)))

    def _refuse(self, refusal: Refusal) -> None:
        self._idle.start()
        self._transport.write(frame(ANSWERS.encode(refusal)))
        self._transport.close()


class _Deadline:
    """Call something after so many seconds unless it is stopped; a start begins anew."""

    def __init__(self, seconds: float, over: Callable[[], None]) -> None:
        self._seconds, self._over = seconds, over
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, or begin anew."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._over)

    def stop(self) -> None:
        """Call nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _peer(connected: socket.socket) -> tuple[int, int]:
    """Return pid and uid of who connected, as the kernel noted them at connect."""
    if sys.platform == "darwin":
        raw = connected.getsockopt(_MAC_LEVEL, _MAC_PEER_CREDENTIALS, _MAC_CREDENTIALS.size)
        return connected.getsockopt(_MAC_LEVEL, _MAC_PEER_PID), _MAC_CREDENTIALS.unpack(raw)[1]
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    pid, uid, _ = _PEER_CREDENTIALS.unpack(raw)
    return pid, uid


def _user_name(uid: int) -> str:
    """Return the name of a user, looked up once at the start: a directory service may be slow."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
