"""The client of a running supervisor: one request over the control socket, and its answer.

Decided here: how the socket is reached, how long an answer may take, and which error says what went wrong. Not decided
here: what requests mean (``core/control.py``) and how answers are shown (``cli/``). Synchronous: it serves scripts, the
command line and tests alike.
"""

from __future__ import annotations

import os
import select
import shlex
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from nexus_supervisor import errors
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import (
    ANSWERS,
    REQUESTS,
    Answer,
    Ended,
    FollowNotices,
    Noticed,
    Refusal,
    Request,
    StatusReport,
    StatusRequest,
    StopRequest,
)
from nexus_supervisor.core.framing import FrameDecoder, frame
from nexus_supervisor.unix_path import CONTROL_SOCKET, socket_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

__all__ = ["ControlClient"]

CONNECT_SECONDS = 5.0
"""How long a busy supervisor may take to accept a connection and a request."""

ANSWER_SECONDS = 10.0
"""How long a request that leads to no change may take."""

VERDICT_SECONDS = 900.0
"""How long a push, a restart or a stop may take until its end is known."""

SILENCE_SECONDS = 60.0
"""How long a supervisor that is asked for its status now and then may say nothing at all."""

_ONLY_NEW = (1 << 63) - 1
"""Since which number notices are told where none of those that are kept is wanted."""

_RECEIVE_BYTES = 1 << 16
_PEER_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_TIMEVAL = struct.Struct("@ll")

_ERROR_OF_CODE: dict[int, type[errors.NexusError]] = {
    2: errors.UsageError,
    3: errors.RejectedError,
    4: errors.RolledBackError,
    5: errors.UnfinishedError,
    6: errors.ConflictError,
    7: errors.NotRunningError,
    8: errors.HeldError,
}


class ControlClient:
    """Talk to the supervisor that runs on one directory. Every call is a connection of its own.

    Every call raises NotRunningError where no supervisor runs, UnfinishedError where the supervisor doesn't answer in
    time or ends before it has answered, and the error of its exit code where it refuses the request.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ask(self, request: Request, patience: float = VERDICT_SECONDS) -> StatusReport | Ended:
        """Send one request and return its answer; ``patience`` is in seconds."""
        with _Conversation(self._directory) as conversation:
            conversation.send(request)
            return self._verdict(conversation, patience)

    def watch(
        self,
        request: Request,
        told: Callable[[Noticed | StatusReport], object],
        *,
        every: float = 5.0,
        silence: float = SILENCE_SECONDS,
    ) -> Ended:
        """Send one request and return its end, however long that takes; tell what happens until then.

        Told are the status before the request, each notice, and the status again whenever nothing was told for so many
        seconds (``every``). Raise UnfinishedError where the supervisor says nothing at all for the seconds of
        ``silence``.
        """
        with _Conversation(self._directory) as conversation:
            for one in (FollowNotices(since=_ONLY_NEW), StatusRequest(), request):
                conversation.send(one)
            status_is_due = False
            while True:
                if status_is_due and not conversation.answered_within(every):
                    conversation.ask_status()
                    status_is_due = False
                answer = self._answer(conversation, silence)
                if isinstance(answer, Ended):
                    return answer
                status_is_due = status_is_due or isinstance(answer, StatusReport)
                told(answer)

    def status(self) -> dict[str, Any]:
        """Return the status as the document that ``status --json`` shows."""
        answer = self.ask(StatusRequest(), ANSWER_SECONDS)
        document: dict[str, Any] = canonical.decode(answer.document)
        return document

    def stop(self, *, now: bool = False, patience: float = VERDICT_SECONDS) -> Ended:
        """Ask the supervisor to drain and end, and return when its process is gone."""
        deadline = time.monotonic() + patience
        with _Conversation(self._directory) as conversation, _Peer(conversation.peer_pid) as peer:
            conversation.send(StopRequest(now=now))
            answer = self._verdict(conversation, patience)
            if not isinstance(answer, Ended):
                raise _unexpected(answer)
            if answer.exit_code == 0:
                conversation.await_end(deadline)
                peer.await_exit(deadline)
            return answer

    def notices(self, since: int = 0, *, follow: bool = True, patience: float | None = None) -> Iterator[Noticed]:
        """Yield the notices with a number of at least ``since``: those still kept, and with ``follow`` new ones.

        The iterator ends when the supervisor does. With ``patience``, UnfinishedError is raised when no notice comes
        for that many seconds.
        """
        with _Conversation(self._directory) as conversation:
            conversation.send(FollowNotices(since=since))
            if not follow:  # requests are served in order, so the status comes after everything that is kept
                conversation.send(StatusRequest())
                patience = ANSWER_SECONDS
            while (answer := conversation.receive(_deadline(patience))) is not None:
                match answer:
                    case Noticed():
                        yield answer
                    case StatusReport():
                        return
                    case Refusal():
                        raise _refused(answer)
                    case _:
                        raise _unexpected(answer)

    def _verdict(self, conversation: _Conversation, patience: float) -> StatusReport | Ended:
        answer = self._answer(conversation, patience)
        if isinstance(answer, Noticed):
            raise _unexpected(answer)
        return answer

    def _answer(self, conversation: _Conversation, patience: float) -> StatusReport | Ended | Noticed:
        answer = conversation.receive(_deadline(patience))
        match answer:
            case Refusal():
                raise _refused(answer)
            case None:
                message = (
                    f"the supervisor on {self._directory} closed the connection before it answered: it has ended, or "
                    "it doesn't serve this user. Look at its log"
                )
                raise errors.UnfinishedError(message)
            case _:
                return answer


class _Conversation:
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
        if isinstance(self._asked, FollowNotices):
            return f"{who} has told nothing new in time"
        if isinstance(self._asked, StatusRequest):
            return f"{who} hasn't answered in time: it is stopped or overloaded. Look at its log"
        return f"{who} hasn't answered in time; what was asked may still happen. Look at its status and its log"


class _Peer:
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


def _refused(refusal: Refusal) -> errors.NexusError:
    return _ERROR_OF_CODE.get(refusal.exit_code, errors.NexusError)(refusal.text)


def _unexpected(answer: Answer) -> errors.ProtocolError:
    return errors.ProtocolError(
        f"the supervisor answered with {type(answer).__name__}, which this request doesn't lead to: "
        "it may be of another version than this command"
    )


def _deadline(patience: float | None) -> float | None:
    return None if patience is None else time.monotonic() + patience
