"""The worker processes as the supervisor holds them: started, spoken to, ended.

Decided here: what a worker is given at its start, and that one which breaks the protocol is ended. Not decided here:
which worker gets which version, and when (``core/``).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from socket import SOL_SOCKET
from typing import TYPE_CHECKING

import psutil

from nexus_supervisor.core.codec import pack
from nexus_supervisor.core.events import Event, Spawned, SpawnFailed, WorkerExited, WorkerSaid
from nexus_supervisor.core.messages import FROM_WORKER, TO_WORKER, FromWorker, Stage, Start, ToWorker
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.records import Spawned as SpawnRecord
from nexus_supervisor.core.status import Figures
from nexus_supervisor.supervisor.child import Child, environment
from nexus_supervisor.supervisor.pipe import Pipe
from nexus_supervisor.wire import close_all, inline_or_beside

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping
    from socket import socket

    from nexus_supervisor.core.effects import SendStage, Spawn
    from nexus_supervisor.core.messages import Activate, Discard, Drain, Limit, Probe
    from nexus_supervisor.core.readings import Reading
    from nexus_supervisor.core.settings import Settings
    from nexus_supervisor.supervisor.archive import Stored
    from nexus_supervisor.supervisor.contents import Contents, Parcel
    from nexus_supervisor.supervisor.listeners import Listener
    from nexus_supervisor.supervisor.rows import Rows

__all__ = ["Identity", "Workers"]

_MODULE = "nexus_supervisor.agent.boot"
_Key = tuple[str, int]

EXIT_SECONDS = 2.0
"""How long a worker that closed its pipe may take to exit."""

MAX_MESSAGE_BYTES = 64 * 1024
"""What a worker says is short; its longest message says why it refuses a version."""

_TRIAL = {"NEXUS_TRIAL": "1"}
"""What the application can tell the trial worker by."""

_PROCESSES = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SO_PASSRIGHTS = 83  # asm-generic/socket.h; Python doesn't name it yet


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


class _Worker:
    """Hold one process and its pipe, and whether it has traffic."""

    def __init__(self, child: Child, pipe: Pipe[FromWorker, ToWorker], *, serves: bool) -> None:
        self.child, self.pipe, self.serves = child, pipe, serves


class Workers:
    """Hold every worker process by slot and incarnation."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        identity: Identity,
        contents: Contents,
        rows: Rows,
        post: Callable[[Event], None],
        tell: Callable[[Notice], None],
    ) -> None:
        self._tell = tell
        self._loop, self._identity, self._contents, self._rows = loop, identity, contents, rows
        self._post = post
        self._workers: dict[_Key, _Worker] = {}

    def spawn(
        self, effect: Spawn, settings: Settings, listeners: Iterable[Listener], secret: Iterable[str]
    ) -> SpawnRecord | None:
        """Start a process; Spawned or SpawnFailed follows. Return what the journal keeps of it.

        The trial worker gets neither listeners nor counters.
        """
        key = (effect.slot, effect.incarnation)
        held = () if effect.trial else tuple(listeners)
        try:
            column = 0 if effect.trial else self._rows.column(key)
            variables = environment(os.environ, secret) | (_TRIAL if effect.trial else {})
            child = Child(self._loop, _MODULE, variables, partial(self._exited, key))
        except (OSError, IndexError) as error:
            self._rows.leave(key)
            self._post(SpawnFailed(effect.slot, effect.incarnation, str(error)))
            return None
        _take_no_descriptors(child.connection)
        heard, broke = partial(self._heard, key), partial(self._broke, key)
        pipe = Pipe(self._loop, child.connection, (FROM_WORKER, TO_WORKER), heard, broke, MAX_MESSAGE_BYTES)
        self._workers[key] = _Worker(child, pipe, serves=not effect.trial)
        descriptors = [*(listener.socket.fileno() for listener in held), self._rows.descriptor]
        addresses = tuple(listener.address for listener in held)
        pipe.send(self._start(effect, settings, addresses, column), [] if effect.trial else descriptors)
        self._post(Spawned(effect.slot, effect.incarnation, child.pid))
        token = hashlib.sha256(f"{effect.slot}/{effect.incarnation}/{child.pid}".encode()).digest()
        return SpawnRecord(effect.slot, effect.incarnation, child.pid, _start_time(child.pid), token)

    def stage(self, effect: SendStage, stored: Stored) -> None:
        """Send a version: as little of it as the worker's own contents allow, large parts beside the frame.

        A worker that it can't be sent to is ended: the next one starts from what it can be given.
        """
        worker = self._workers.get((effect.slot, effect.incarnation))
        if worker is None:
            return
        with ExitStack() as sent:
            try:
                message, descriptors = self._offer(effect, stored, sent)
            except OSError as error:
                reason = f"version {effect.version} could not be sent to it ({error.strerror})"
                self._broke((effect.slot, effect.incarnation), reason)
            else:
                worker.pipe.send(message, descriptors)

    def _offer(self, effect: SendStage, stored: Stored, sent: ExitStack) -> tuple[Stage, list[int]]:
        """Return the message and its descriptors; ``sent`` closes those that were made for it."""
        digest = stored.content.digest
        parcel = self._contents.parcel(effect.holds, digest)
        payload, beside = _part(parcel.payload, "nexus-content", sent)
        secrets = self._contents.get(digest).secrets
        named = self._named_rows(parcel)
        rows, rows_beside = _part(pack(named) if named else None, "nexus-rows", sent)
        message = Stage(
            push=effect.push,
            version=stored.manifest.version,
            manifest=stored.manifest_bytes,
            signature=stored.signature,
            base=parcel.base,
            payload=payload,
            payload_beside=bool(beside),
            secrets_beside=secrets is not None,
            rows=rows,
            rows_beside=bool(rows_beside),
        )
        return message, [*beside, *([] if secrets is None else [secrets]), *rows_beside]

    def send(self, slot: str, incarnation: int, message: Activate | Discard | Drain | Limit | Probe) -> None:
        """Send a small message; a worker that is gone needs none."""
        worker = self._workers.get((slot, incarnation))
        if worker is not None:
            worker.pipe.send(message)

    def kill(self, slot: str, incarnation: int) -> None:
        """End a worker at once."""
        worker = self._workers.get((slot, incarnation))
        if worker is not None:
            worker.child.kill()

    def figures(self) -> Mapping[_Key, Figures]:
        """Return what each process that serves has counted, and its memory."""
        return {key: self._figures(key, worker) for key, worker in self._serving()}

    def readings(self) -> Mapping[_Key, Reading]:
        """Return what each process that serves has counted on its newest version, and its memory."""
        return {
            key: replace(self._rows.reading(key), rss_bytes=_rss_bytes(worker.child.pid))
            for key, worker in self._serving()
        }

    def close(self) -> None:
        """End whatever is left."""
        for worker in self._workers.values():
            worker.child.kill()
            worker.pipe.close()

    def _start(self, effect: Spawn, settings: Settings, addresses: tuple[str, ...], column: int) -> Start:
        return Start(
            slot=effect.slot,
            incarnation=effect.incarnation,
            slot_number=column,
            slots=self._rows.layout.slots,
            directory=self._identity.directory,
            audience=self._identity.audience,
            program=settings.supervisor.program,
            app=settings.supervisor.app,
            public_key=self._identity.public_key,
            floor=effect.floor,
            listeners=addresses,
            counter_rows=self._rows.layout.rows,
            drain_timeout_seconds=float(settings.daemon.shutdown.drain_timeout_seconds),
            log_level=settings.daemon.log_level,
            log_format=settings.daemon.log_format,
            hooks=settings.supervisor.hooks,
            threads=settings.supervisor.threads,
            trial=effect.trial,
            max_snapshot_seconds=self._contents.given("limits", "max_snapshot_seconds"),
            pepper=self._identity.pepper,
        )

    def _named_rows(self, parcel: Parcel) -> dict[str, dict[str, int]]:
        """Return the rows of the entries that a parcel brings, section by section."""
        named: dict[str, dict[str, int]] = {}
        for section, names in parcel.names.items():
            rows = {name: self._rows.row(section, name) for name in names}
            named[section] = {name: row for name, row in rows.items() if row is not None}
        return named

    def _heard(self, key: _Key, message: FromWorker, descriptors: list[int]) -> None:
        close_all(descriptors)
        if (message.slot, message.incarnation) != key:
            self._broke(key, "it spoke as another worker")
        elif descriptors:
            self._broke(key, "it sent descriptors, and no worker has any to send")
        else:
            self._post(WorkerSaid(message))

    def _broke(self, key: _Key, reason: str | None) -> None:
        """End a worker that broke the protocol; one that closed its pipe has a moment to exit by itself."""
        worker = self._workers.get(key)
        if worker is None:
            return
        worker.pipe.close()
        if reason is None:
            self._loop.call_later(EXIT_SECONDS, worker.child.kill)
            return
        text = f"{key[0]}/{key[1]} is ended: {reason}."
        self._tell(Notice("slot_fenced", "error", text, {"slot": key[0], "incarnation": key[1], "reason": reason}))
        worker.child.kill()

    def _exited(self, key: _Key, status: str, clean: bool) -> None:  # noqa: FBT001 - the shape of a callback
        worker = self._workers.pop(key, None)
        if worker is not None:
            worker.pipe.close()
        self._rows.leave(key)
        self._post(WorkerExited(*key, status, clean))

    def _serving(self) -> list[tuple[_Key, _Worker]]:
        return [(key, worker) for key, worker in self._workers.items() if worker.serves]

    def _figures(self, key: _Key, worker: _Worker) -> Figures:
        totals, reading = self._rows.totals(key), self._rows.reading(key)
        rss_bytes = _rss_bytes(worker.child.pid)
        return Figures(totals.requests, totals.errors, rss_bytes, version_requests=reading.requests)


def _rss_bytes(pid: int) -> int:
    """Return how much memory a process has in use; 0 where nobody knows. One read where there is /proc."""
    try:
        resident = (_PROCESSES / str(pid) / "statm").read_bytes().split()[1]
    except OSError:
        with suppress(psutil.Error, OSError):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    except IndexError:  # it is about to be gone
        return 0
    return int(resident) * _PAGE_BYTES


def _start_time(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.Error, OSError):
        return 0.0


def _part(raw: bytes | None, name: str, sent: ExitStack) -> tuple[bytes | None, list[int]]:
    """Return how a part of a message travels; ``sent`` closes its memory."""
    if raw is None:
        return None, []
    inline, beside = inline_or_beside(raw, name)
    sent.callback(close_all, beside)
    return inline, beside


def _take_no_descriptors(connection: socket) -> None:
    """Have the kernel refuse a worker that passes descriptors (Linux 6.16), elsewhere the pipe ends it.

    To close somebody else's descriptor may block: a socket with SO_LINGER, a file on a dead server.
    """
    with suppress(OSError):  # an older kernel
        connection.setsockopt(SOL_SOCKET, _SO_PASSRIGHTS, 0)
