"""The worker processes as the supervisor holds them: started, spoken to, ended.

Decided here: what a worker is given at its start, and that one which breaks the protocol is ended. Not decided here:
which worker gets which version, and when (``core/``), and where its process comes from (``zygotes.py``).
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psutil

from nexus_supervisor.core.events import Event, Spawned, SpawnFailed, WorkerExited, WorkerSaid
from nexus_supervisor.core.messages import FROM_WORKER, TO_WORKER, FromWorker, Start
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.programs import named
from nexus_supervisor.core.records import Spawned as SpawnRecord
from nexus_supervisor.core.status import Figures
from nexus_supervisor.errors import RejectedError
from nexus_supervisor.supervisor.child import environment
from nexus_supervisor.supervisor.isolation import Isolation
from nexus_supervisor.supervisor.listeners import Listener
from nexus_supervisor.supervisor.offering import offer
from nexus_supervisor.supervisor.vitals import vitals
from nexus_supervisor.supervisor.worker import Worker
from nexus_supervisor.wire import Wire, close_all

if TYPE_CHECKING:
    import asyncio
    import signal
    from collections.abc import Iterable, Mapping

    from nexus_supervisor.core.effects import SendStage, Spawn
    from nexus_supervisor.core.handover import HandedWorker
    from nexus_supervisor.core.messages import Activate, Discard, Drain, Limit, Probe
    from nexus_supervisor.core.programs import Program
    from nexus_supervisor.core.readings import Reading
    from nexus_supervisor.core.settings import Settings
    from nexus_supervisor.supervisor.archive import Stored
    from nexus_supervisor.supervisor.capture import Capture
    from nexus_supervisor.supervisor.child import Adopted
    from nexus_supervisor.supervisor.contents import Contents
    from nexus_supervisor.supervisor.exits import OomKills
    from nexus_supervisor.supervisor.rows import Rows
    from nexus_supervisor.supervisor.zygotes import Zygotes

__all__ = ["Identity", "Workers"]

_Key = tuple[str, int]

EXIT_SECONDS = 2.0
"""How long a worker that closed its pipe may take to exit."""

_TRIAL = {"NEXUS_TRIAL": "1"}
"""What the application can tell the trial worker by."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Hold what every worker of this supervisor is told about it; ``pepper`` never shows in a repr."""

    directory: str
    audience: str
    public_key: bytes | None
    pepper: bytes

    def __repr__(self) -> str:
        """Show whose it is, without the pepper."""
        return f"<identity of {self.audience}>"


@dataclass(frozen=True, slots=True)
class _Order:
    """Hold what a worker is told once there is a process, and who keeps that it was started."""

    start: Start
    listeners: tuple[Listener, ...]
    recorded: Callable[[SpawnRecord], None]


class Workers:
    """Hold every worker process by slot and incarnation."""

    def __init__(  # noqa: PLR0913 - what the outside world is to them
        self,
        loop: asyncio.AbstractEventLoop,
        identity: Identity,
        contents: Contents,
        rows: Rows,
        post: Callable[[Event], None],
        tell: Callable[[Notice], None],
        *,
        zygotes: Zygotes | None = None,
        capture: Capture | None = None,
        kills: OomKills | None = None,
    ) -> None:
        """Hold none yet; without ``zygotes`` each is exec'd, without ``capture`` each has our stdout and stderr."""
        self._tell = tell
        self._zygotes, self._capture, self._kills = zygotes, capture, kills
        self._loop, self._identity, self._contents, self._rows = loop, identity, contents, rows
        self._post = post
        self._workers: dict[_Key, Worker] = {}
        self._orders: dict[_Key, _Order] = {}

    def spawn(
        self,
        effect: Spawn,
        settings: Settings,
        listeners: Iterable[Listener],
        secret: Iterable[str],
        recorded: Callable[[SpawnRecord], None] = lambda _: None,
    ) -> None:
        """Start a process; Spawned or SpawnFailed follows. ``recorded`` gets what the journal keeps of it.

        The trial worker gets neither listeners nor counters.
        """
        key = (effect.slot, effect.incarnation)
        held = () if effect.trial else tuple(listeners)
        program = _program(settings, effect.program)
        try:
            isolation = Isolation.of(settings)
            column = 0 if effect.trial else self._rows.column(key)
            stdio = self._capture.open(*key) if self._capture is not None else None
        except (OSError, IndexError, RejectedError) as error:
            self._rows.leave(key)
            self._post(SpawnFailed(*key, str(error)))
            return
        variables = {**environment(os.environ, secret), **isolation.variables, **(_TRIAL if effect.trial else {})}
        worker = Worker(
            self._loop,
            key,
            self,
            trial=effect.trial,
            variables=variables,
            stdio=stdio,
            kills=self._kills,
            run_as=isolation.run_as,
        )
        self._workers[key] = worker
        addresses = tuple(listener.address for listener in held)
        start = replace(self._start(effect, settings, program, addresses, column), limits=isolation.limits)
        self._orders[key] = _Order(start, held, recorded)
        if self._zygotes is None:
            worker.refused()
            return
        try:
            self._zygotes.launch(settings, program, worker, fresh=effect.fresh)
        except RejectedError as error:
            worker.failed(str(error))

    def stage(self, effect: SendStage, stored: Stored) -> None:
        """Send a version: as little of it as the worker's own contents allow, large parts beside the frame.

        A worker that it can't be sent to is ended: the next one starts from what it can be given.
        """
        worker = self._workers.get((effect.slot, effect.incarnation))
        if worker is None:
            return
        with ExitStack() as sent:
            try:
                message, descriptors = offer(effect, stored, self._contents, self._rows, sent)
            except OSError as error:
                reason = f"version {effect.version} could not be sent to it ({error.strerror})"
                self.broke(worker, reason)
            else:
                worker.send(message, descriptors)

    def send(self, slot: str, incarnation: int, message: Activate | Discard | Drain | Limit | Probe) -> None:
        """Send a small message; a worker that is gone needs none."""
        worker = self._workers.get((slot, incarnation))
        if worker is not None:
            worker.send(message)

    def signal(self, slot: str, incarnation: int, number: signal.Signals) -> None:
        """Send a worker a signal; one that is gone gets none."""
        worker = self._workers.get((slot, incarnation))
        if worker is not None:
            worker.signal(number)

    def kill(self, slot: str, incarnation: int) -> None:
        """End a worker at once."""
        worker = self._workers.get((slot, incarnation))
        if worker is not None:
            worker.kill()

    def figures(self) -> Mapping[_Key, Figures]:
        """Return what each process that serves has counted, and its memory."""
        return {key: self._figures(key, worker) for key, worker in self._serving()}

    def pids(self) -> Mapping[_Key, int]:
        """Return the process id of each process that serves."""
        return {key: worker.pid for key, worker in self._serving()}

    def readings(self) -> Mapping[_Key, Reading]:
        """Return what each process that serves has counted on its newest version, and its memory."""
        return {
            key: replace(self._rows.reading(key), **vitals(worker.pid)._asdict()) for key, worker in self._serving()
        }

    def handed(self) -> tuple[HandedWorker, ...]:
        """Return what another one needs to go on with those that serve; raise ConflictError where that can't be."""
        return tuple(worker.handed() for _, worker in self._serving())

    def resume(self, handed: Iterable[HandedWorker], adopt: Callable[[int], Adopted | None]) -> list[_Key]:
        """Go on with workers of another one; return those that are gone and whose end nobody has seen.

        ``adopt`` returns a process that is a child of ours.
        """
        gone = []
        for one in handed:
            key, process = (one.slot, one.incarnation), adopt(one.pid)
            connection = socket.socket(fileno=one.pipe.descriptor)
            if process is None:
                connection.close()
                self._rows.leave(key)
                gone.append(key)
                continue
            worker = Worker(self._loop, key, self, trial=False, variables={}, stdio=None, kills=self._kills)
            self._workers[key] = worker
            worker.resume(process, connection, one.pipe.unread)
        return gone

    def close(self) -> None:
        """End whatever is left."""
        for worker in tuple(self._workers.values()):
            worker.kill()
            worker.hang_up()

    def _start(
        self, effect: Spawn, settings: Settings, program: Program, addresses: tuple[str, ...], column: int
    ) -> Start:
        return Start(
            slot=effect.slot,
            incarnation=effect.incarnation,
            slot_number=column,
            slots=self._rows.layout.slots,
            directory=self._identity.directory,
            audience=self._identity.audience,
            program=program.program,
            app=program.app,
            public_key=self._identity.public_key,
            floor=effect.floor,
            listeners=addresses,
            counter_rows=self._rows.layout.rows,
            drain_timeout_seconds=float(settings.daemon.shutdown.drain_timeout_seconds),
            log_level=settings.daemon.log_level,
            log_format=settings.daemon.log_format,
            hooks=settings.supervisor.hooks,
            threads=program.threads,
            trial=effect.trial,
            tls=settings.daemon.tls.section,
            max_snapshot_seconds=self._contents.given("limits", "max_snapshot_seconds"),
            pepper=self._identity.pepper,
        )

    # --- what becomes of them ------------------------------------------------------------------------------------

    def greet(self, worker: Worker, connection: socket.socket) -> None:
        """Tell a process who it is; one that can't be told finds its pipe closed, and ends."""
        order = self._orders[worker.key]
        descriptors = [*(listener.socket.fileno() for listener in order.listeners), self._rows.descriptor]
        try:
            Wire(connection, FROM_WORKER, TO_WORKER).send(order.start, [] if worker.trial else descriptors)
        except OSError:
            connection.shutdown(socket.SHUT_RDWR)

    def begun(self, worker: Worker) -> None:
        """Report that there is a process."""
        order, key, pid = self._orders.pop(worker.key), worker.key, worker.pid
        if self._capture is not None:
            self._capture.started(*key, pid)
        self._post(Spawned(*key, pid))
        token = hashlib.sha256(f"{key[0]}/{key[1]}/{pid}".encode()).digest()
        order.recorded(SpawnRecord(*key, pid, _start_time(pid), token))

    def not_begun(self, worker: Worker, reason: str) -> None:
        """Report that there is no process."""
        self._forget(worker)
        self._post(SpawnFailed(*worker.key, reason))

    def heard(self, worker: Worker, message: FromWorker, descriptors: list[int]) -> None:
        """Report what a worker says, as long as it says it of itself."""
        close_all(descriptors)
        if (message.slot, message.incarnation) != worker.key:
            self.broke(worker, "it spoke as another worker")
        elif descriptors:
            self.broke(worker, "it sent descriptors, and no worker has any to send")
        else:
            self._post(WorkerSaid(message))

    def broke(self, worker: Worker, reason: str | None) -> None:
        """End a worker that broke the protocol; one that closed its pipe has a moment to exit by itself."""
        if self._workers.get(worker.key) is not worker:
            return
        worker.hang_up()
        if reason is None:
            self._loop.call_later(EXIT_SECONDS, worker.kill)
            return
        slot, incarnation = worker.key
        text = f"{slot}/{incarnation} is ended: {reason}."
        self._tell(Notice("slot_fenced", "error", text, {"slot": slot, "incarnation": incarnation, "reason": reason}))
        worker.kill()

    def ended(self, worker: Worker, status: str, *, clean: bool) -> None:
        """Report the end of a worker."""
        self._forget(worker)
        self._post(WorkerExited(*worker.key, status, clean))

    def _forget(self, worker: Worker) -> None:
        self._workers.pop(worker.key, None)
        self._orders.pop(worker.key, None)
        self._rows.leave(worker.key)
        if self._capture is not None:
            self._capture.ended(*worker.key)

    def _serving(self) -> list[tuple[_Key, Worker]]:
        return [(key, worker) for key, worker in self._workers.items() if not worker.trial and worker.pid]

    def _figures(self, key: _Key, worker: Worker) -> Figures:
        totals, reading = self._rows.totals(key), self._rows.reading(key)
        rss_bytes = vitals(worker.pid).rss_bytes
        return Figures(totals.requests, totals.errors, rss_bytes, version_requests=reading.requests)


def _program(settings: Settings, name: str) -> Program:
    """Return the program of a name; the first where no name is told, or one that these settings don't have."""
    return named(settings.programs, name) or settings.programs[0]


def _start_time(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.Error, OSError):
        return 0.0
