"""A conversation with a running supervisor: frames over the control socket, each within a deadline.

Decided here: how the socket is reached, and which error says why it can't be or why nothing comes. Not decided here:
what is asked and what answers mean (``client.py``).
"""

from __future__ import annotations

import os
import select
import shlex
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from nexus_supervisor import errors
from nexus_supervisor.core.control import (
    ANSWERS,
    REQUESTS,
    Answer,
    FollowNotices,
    FollowOutput,
    Request,
    StatusRequest,
)
from nexus_supervisor.core.framing import FrameDecoder, frame
from nexus_supervisor.unix_path import CONTROL_SOCKET, socket_address

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["Conversation", "Peer"]

CONNECT_SECONDS = 5.0
"""How long a busy supervisor may take to accept a connection and a request."""

_RECEIVE_BYTES = 1 << 16
_PEER_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_TIMEVAL = struct.Struct("@ll")


class Conversation:
    """Hold one connection: frames out, frames in, each within a deadline."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._decoder = FrameDecoder()
        self._frames: list[bytes] = []
        self._asked: Request | None = None
        self._socket = _connect(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def peer_pid(self) -> int:
        """Return the pid of the process that listens, or 0 where the system doesn't tell."""
        if not hasattr(socket, "SO_PEERCRED"):
            return 0
        raw = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
        pid: int = _PEER_CREDENTIALS.unpack(raw)[0]
        return pid

    def send(self, request: Request) -> None:
        """Send one request. A peer that is already leaving is found out by ``receive``, after what it had to say."""
        self._asked = request
        self._socket.settimeout(CONNECT_SECONDS)
        try:
            self._socket.sendall(frame(REQUESTS.encode(request)))
        except TimeoutError as error:
            raise _busy(self._directory) from error
        except (BrokenPipeError, ConnectionResetError):
            return

    def answered_within(self, seconds: float) -> bool:
        """Return whether there is something to receive, waiting so long for it."""
        return bool(self._frames or select.select([self._socket], [], [], seconds)[0])

    def ask_status(self) -> None:
        """Ask for the status beside what is waited for."""
        waited_for = self._asked
        self.send(StatusRequest())
        self._asked = waited_for

    def receive(self, deadline: float | None) -> Answer | None:
        """Return the next answer, or None when the supervisor closed the connection."""
        while not self._frames:
            received = self._receive_some(deadline)
            if not received:
                return None
            self._frames += [body for body, _ in self._decoder.feed(received)]
        return ANSWERS.decode(self._frames.pop(0))

    def await_end(self, deadline: float) -> None:
        """Return when the supervisor closed the connection."""
        while self.receive(deadline) is not None:
            continue

    def _receive_some(self, deadline: float | None) -> bytes:
        self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except ConnectionResetError:
            return b""
        except TimeoutError as error:
            raise errors.UnfinishedError(self._unanswered()) from error

    def _unanswered(self) -> str:
        """Say that no answer came in time, and what is to be thought of the request."""
        who = f"the supervisor on {self._directory} (pid {self.peer_pid})"
        if isinstance(self._asked, FollowNotices | FollowOutput):
            return f"{who} has told nothing new in time"
        if isinstance(self._asked, StatusRequest):
            return f"{who} hasn't answered in time: it is stopped or overloaded. Look at its log"
        return f"{who} hasn't answered in time; what was asked may still happen. Look at its status and its log"


class Peer:
    """Hold on to the process on the other side, to see it exit; a pid alone could soon name another process."""

    def __init__(self, pid: int) -> None:
        self._pidfd: int | None = None
        if pid not in (0, os.getpid()) and hasattr(os, "pidfd_open"):
            with suppress(ProcessLookupError):  # gone already: nothing to wait for
                self._pidfd = os.pidfd_open(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)

    def await_exit(self, deadline: float) -> None:
        """Return when the process is gone; at once where that can't be seen."""
        if self._pidfd is None:
            return
        waiting = select.poll()
        waiting.register(self._pidfd, select.POLLIN)
        if not waiting.poll(max(deadline - time.monotonic(), 0.001) * 1000):
            message = "the supervisor is stopping, but its process has not ended in time. Look at its log"
            raise errors.UnfinishedError(message)


def _connect(directory: Path) -> socket.socket:
    """Connect to the control socket of a directory; raise NotRunningError where nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A timeout of Python's own makes the socket non-blocking, and connect would then fail instead of wait while the
        # queue of the listener is full (unix(7): EAGAIN); the send timeout bounds a blocking connect.
        whole, fraction = divmod(CONNECT_SECONDS, 1)
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(whole), int(fraction * 1_000_000))
        )
        with socket_address(directory / CONTROL_SOCKET) as address:
            connection.connect(address)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise _unreachable(directory, error) from error
        raise
    return connection


def _unreachable(directory: Path, error: OSError) -> errors.NexusError:
    """Return the error that says why the control socket can't be reached and what to do."""
    if isinstance(error, BlockingIOError):
        return _busy(directory)
    if isinstance(error, PermissionError):
        return errors.NexusError(
            f"the control socket of {directory} can't be opened by this user: "
            "ask as the user that the supervisor runs as, or as root"
        )
    if isinstance(error, (FileNotFoundError, NotADirectoryError, ConnectionRefusedError)):
        return errors.NotRunningError(f"no supervisor runs on {directory}: {_what_to_do(directory)}")
    return errors.NexusError(f"the control socket of {directory} can't be reached: {error.strerror or error}")


def _what_to_do(directory: Path) -> str:
    """Return how a supervisor comes to run on a directory, or that none could."""
    if not os.path.isdir(directory):  # noqa: PTH112 - False, not an error, where it can't be looked at
        return "it is not a directory. Name another one"
    if not os.path.lexists(directory / "daemon.toml"):
        return "it has no daemon.toml, so it is no directory of nexus-supervisor. Name another one"
    return f"start one with `nexus-supervisor run {shlex.quote(os.fspath(directory))}`, or name another directory"


def _busy(directory: Path) -> errors.UnfinishedError:
    return errors.UnfinishedError(
        f"the supervisor on {directory} accepts no connection: it is stopped or overloaded. Look at its log"
    )
