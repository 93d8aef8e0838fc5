"""What workers write to stdout and stderr, read line by line by a thread of its own.

Decided here: how the pipes are made, and whom their lines reach. Not decided here: how they are read
(``output_reader.py``), how the log shows a line (``worker_lines.py``), how long it is kept (``kept_lines.py``).

A worker never waits for the log or for whoever follows it. On Linux a worker holds an end to read from, too: so its
pipes don't break when the supervisor is killed, and it reads them itself then (``agent/stdio.py``).

How a process is started with it: ``open`` gives the two ends for its stdout and stderr, which the caller passes on and
closes whatever comes of it; then either ``started`` tells its pid (from there on it is read), and ``ended`` its exit,
or ``ended`` alone that it didn't start.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import Ended
from nexus_supervisor.errors import ConflictError, UsageError
from nexus_supervisor.supervisor.kept_lines import KeptLines
from nexus_supervisor.supervisor.output_reader import STREAMS, OutputReader
from nexus_supervisor.wire import close_all

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Container, Iterable, Iterator

    from nexus_supervisor.core.control import FollowOutput
    from nexus_supervisor.core.handover import HandedOutput
    from nexus_supervisor.core.options import OutputSettings
    from nexus_supervisor.supervisor.control_server import Reply
    from nexus_supervisor.supervisor.output import NoticeLog

__all__ = ["MODE", "Capture"]

MODE = 0o666
"""The mode of our pipes, by which a worker knows them: it may open them whoever it runs as."""

_PIPE_BYTES = 256 << 10
"""Room of a pipe, where the system allows it: what a worker can write while this thread is kept from reading."""

_PAUSE_SECONDS = 2.0
_Key = tuple[str, int]


class Capture:
    """Read what workers write; pass each line to the log, and keep it for those who ask.

    ``open``, ``started``, ``ended``, ``show`` and ``close`` are for the loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, log: NoticeLog, settings: OutputSettings) -> None:
        self._settings = settings
        self.kept = KeptLines(loop, settings.kept_lines)
        self._opened: dict[_Key, list[int]] = {}
        self._reader = OutputReader(log, self.kept, settings)

    @property
    def settings(self) -> OutputSettings:
        """Return the settings that are in force."""
        return self._settings

    def show(self, settings: OutputSettings) -> None:
        """Follow settings; whether output is captured holds for processes that are started from now on."""
        self._settings = settings
        self.kept.keep(settings.kept_lines)
        self._reader.settings = settings

    def open(self, slot: str, incarnation: int) -> tuple[int, int] | None:
        """Return the ends of the pipes for a process that is about to start; None: it inherits ours.

        They are the caller's to close. Raise OSError where there is no room for more descriptors.
        """
        if not self._settings.capture:
            return None
        reading: list[int] = []
        writing: list[int] = []
        try:
            for _ in STREAMS:
                _open_pipe(reading, writing)
        except OSError:
            close_all([*reading, *writing])
            raise
        self._opened[slot, incarnation] = reading
        return writing[0], writing[1]

    def started(self, slot: str, incarnation: int, pid: int) -> None:
        """Read what this process writes from now on; what it wrote already waits in the pipes."""
        reading = self._opened.pop((slot, incarnation), None)
        if reading is not None:
            self._reader.ask(lambda: self._reader.begin((slot, incarnation), pid, reading))

    def ended(self, slot: str, incarnation: int) -> None:
        """Read what is left of a process that is gone, or never started; then close its pipes."""
        close_all(self._opened.pop((slot, incarnation), []))
        self._reader.ask(lambda: self._reader.end((slot, incarnation)))

    @contextmanager
    def paused(self, running: Container[_Key]) -> Iterator[tuple[HandedOutput, ...]]:
        """Read nothing while the block runs, which is given what another one needs to go on.

        ``running`` are the processes that are handed over, too; of the others only what is left is read.
        """
        gathered: SimpleQueue[tuple[HandedOutput, ...]] = SimpleQueue()
        over = threading.Event()

        def wait() -> None:
            gathered.put(self._reader.handed(running))
            over.wait()

        self._reader.ask(wait)
        try:
            yield gathered.get(timeout=_PAUSE_SECONDS)
        except Empty:
            message = "the workers' output can't be handed over: its reader is stuck"
            raise ConflictError(message) from None
        finally:
            over.set()

    def resume(self, handed: Iterable[HandedOutput]) -> None:
        """Go on reading where another one was."""
        sources = tuple(handed)
        self._reader.ask(lambda: self._reader.resume(sources))

    def serve(self, request: FollowOutput, reply: Reply, slots: Container[str]) -> None:
        """Answer who asks for lines; raise UsageError for a slot that isn't there and of which nothing is kept."""
        if request.slot and request.slot not in slots and request.slot not in self.kept.slots:
            message = f"there is no slot {request.slot[:64]!r}: see `nexus-supervisor workers` for their names"
            raise UsageError(message)
        if not self._settings.capture and not self.kept.slots:
            message = "workers' output isn't read ([supervisor.output] capture is false): it is where the daemon's is"
            raise UsageError(message)
        stop = self.kept.follow(request.slot, request.lines, reply)
        if request.follow:
            reply.when_left(stop)
            return
        stop()
        reply(Ended(0, "ACCEPTED", "", (), canonical.encode({})))

    def close(self) -> None:
        """Read what is left, within limits, and close everything."""
        for reading in self._opened.values():
            close_all(reading)
        self._opened.clear()
        self._reader.close()


def _open_pipe(reading: list[int], writing: list[int]) -> None:
    """Add both ends of a new pipe to the lists."""
    ours, theirs = os.pipe()
    reading.append(ours)
    writing.append(theirs)
    os.set_blocking(ours, False)
    with suppress(OSError):  # only Linux lets a worker of another user open its own pipe
        os.fchmod(theirs, MODE)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # the pipes of this user have as much room as they may have
            fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
