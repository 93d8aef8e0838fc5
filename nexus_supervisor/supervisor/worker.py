"""One worker process as the supervisor holds it, from the order to start it until it has ended.

Decided here: that it can be spoken to, signaled and given up before there is a process. Not decided here: where the
process comes from (``zygotes.py``) and what it is told (``workers.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nexus_supervisor.core.handover import HandedWorker
from nexus_supervisor.core.messages import FROM_WORKER, TO_WORKER, Drain, FromWorker, ToWorker
from nexus_supervisor.errors import ConflictError
from nexus_supervisor.supervisor.child import Child, start_child
from nexus_supervisor.supervisor.pipe import Pipe, take_no_descriptors
from nexus_supervisor.wire import close_all

if TYPE_CHECKING:
    import asyncio
    import signal
    import socket
    from collections.abc import Mapping, Sequence

    from nexus_supervisor.supervisor.child import Adopted
    from nexus_supervisor.supervisor.exits import OomKills
    from nexus_supervisor.supervisor.isolation import RunAs

__all__ = ["Host", "Worker"]

_MODULE = "nexus_supervisor.agent.boot"

MAX_MESSAGE_BYTES = 64 * 1024
"""What a worker says is short; its longest message says why it refuses a version."""


class Host(Protocol):
    """Hear what becomes of a worker."""

    def greet(self, worker: Worker, connection: socket.socket) -> None:
        """Write its first message to our end of its pipe."""

    def begun(self, worker: Worker) -> None:
        """Take that there is a process, and its pipe."""

    def not_begun(self, worker: Worker, reason: str) -> None:
        """Take that there will be none: the system, or its program, doesn't let it."""

    def heard(self, worker: Worker, message: FromWorker, descriptors: list[int]) -> None:
        """Take what it says."""

    def broke(self, worker: Worker, reason: str | None) -> None:
        """Take the end of its pipe: it has left, or broke the protocol as ``reason`` says."""

    def ended(self, worker: Worker, status: str, *, clean: bool) -> None:
        """Take its exit, or that it was given up before it was started."""


class Worker:
    """Hold a worker. It is a ``Launch`` for a zygote."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        key: tuple[str, int],
        host: Host,
        *,
        trial: bool,
        variables: Mapping[str, str],
        stdio: tuple[int, int] | None,
        kills: OomKills | None = None,
        run_as: RunAs | None = None,
    ) -> None:
        """Wait for a process; ``stdio`` is closed here, once there is one or will be none."""
        self.key, self.trial, self.wanted, self.stdio = key, trial, True, stdio
        self._loop, self._host, self._kills = loop, host, kills
        self._variables, self._run_as = variables, run_as
        self._child: Child | None = None
        self._pipe: Pipe[FromWorker, ToWorker] | None = None
        self._unsaid: list[ToWorker] = []

    @property
    def pid(self) -> int:
        """Return the process id; 0 before there is a process."""
        return 0 if self._child is None else self._child.pid

    # --- what it is told -----------------------------------------------------------------------------------------

    def send(self, message: ToWorker, descriptors: Sequence[int] = ()) -> None:
        """Send a message, as soon as there is a process; one that is to end before that is given up."""
        if self._pipe is not None:
            self._pipe.send(message, descriptors)
        elif isinstance(message, Drain):
            self._give_up()
        else:
            self._unsaid.append(message)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, where there is a process."""
        if self._child is not None:
            self._child.signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self._child is not None:
            self._child.kill()
        else:
            self._give_up()

    def hang_up(self) -> None:
        """Close its pipe, without a word to anybody."""
        if self._pipe is not None:
            self._pipe.close()

    def _give_up(self) -> None:
        if self.wanted:
            self.wanted = False
            self._close_stdio()
            self._host.ended(self, "given up before it was started", clean=True)

    # --- what becomes of it --------------------------------------------------------------------------------------

    def greet(self, connection: socket.socket) -> None:
        """Have the first message of a process wait for it in its pipe: it needs none of ours to be told who it is."""
        self._host.greet(self, connection)

    def launched(self, child: Child, connection: socket.socket) -> None:
        """Take the process and our end of its pipe."""
        self._close_stdio()
        if not self.wanted:
            connection.close()
            child.kill()
            return
        self._hold(child, connection)
        self._host.begun(self)
        unsaid, self._unsaid = self._unsaid, []
        for message in unsaid:
            self.send(message)

    def resume(self, process: Adopted, connection: socket.socket, unread: bytes) -> None:
        """Go on with a process that was told who it is long since."""
        self._hold(Child(self._loop, process, self.exited, self._kills), connection, unread)

    def handed(self) -> HandedWorker:
        """Return what another one needs to go on; raise ConflictError where that can't be."""
        if self._pipe is None:
            message = f"{self.key[0]} has no process yet"
            raise ConflictError(message)
        return HandedWorker(*self.key, self.pid, self._pipe.handed())

    def _hold(self, child: Child, connection: socket.socket, unread: bytes = b"") -> None:
        take_no_descriptors(connection)
        codecs = (FROM_WORKER, TO_WORKER)
        self._child = child
        self._pipe = Pipe(self._loop, connection, codecs, self._heard, self._broke, MAX_MESSAGE_BYTES, unread=unread)

    def failed(self, reason: str) -> None:
        """Take why there is no process."""
        self._close_stdio()
        if self.wanted:
            self.wanted = False
            self._host.not_begun(self, reason)

    def refused(self) -> None:
        """Be exec'd: no zygote can be had."""
        if not self.wanted:
            return
        try:
            child, connection = start_child(
                self._loop,
                _MODULE,
                self._variables,
                self.exited,
                stdio=self.stdio,
                kills=self._kills,
                run_as=self._run_as,
            )
        except OSError as error:
            self.failed(str(error))
        else:
            self.greet(connection)
            self.launched(child, connection)

    def exited(self, status: str, clean: bool) -> None:  # noqa: FBT001 - the shape of a callback
        """Take the end of the process."""
        if self.wanted:
            self.hang_up()
            self._host.ended(self, status, clean=clean)

    def _heard(self, message: FromWorker, descriptors: list[int]) -> None:
        self._host.heard(self, message, descriptors)

    def _broke(self, reason: str | None) -> None:
        self._host.broke(self, reason)

    def _close_stdio(self) -> None:
        stdio, self.stdio = self.stdio, None
        close_all(stdio or ())
