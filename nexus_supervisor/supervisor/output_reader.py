"""The thread that reads what workers write.

Decided here: how much of what pipes bring is passed on, what is told of the rest, when they are closed. Not decided
here: how pipes are made (``capture.py``), what a line is (``line_stream.py``), how long it is kept (``kept_lines.py``).

It reads as fast as it can, and drops and counts what is over the allowed rate: nobody waits for it.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from nexus_supervisor.core import says
from nexus_supervisor.core.control import OutputLine
from nexus_supervisor.core.handover import HandedOutput, HandedStream
from nexus_supervisor.supervisor import clock
from nexus_supervisor.supervisor.line_stream import LineStream

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from nexus_supervisor.core.options import OutputSettings
    from nexus_supervisor.supervisor.kept_lines import KeptLines
    from nexus_supervisor.supervisor.output import NoticeLog

__all__ = ["LINGER_SECONDS", "STREAMS", "OutputReader"]

LINGER_SECONDS = 5.0
"""How long after a worker's exit its pipes are read on, where a process that it started holds them open."""

STREAMS = ("stdout", "stderr")

_READ_BYTES = 64 << 10
_LAST_READS = 16  # of each pipe, when the supervisor ends
_CLOSE_SECONDS = 2.0
_WINDOW_SECONDS = 1.0
_Key = tuple[str, int]


@dataclass(slots=True)
class _Stream:
    """Hold one pipe of a process."""

    name: str
    source: _Source
    lines: LineStream


class _Source:
    """Hold what is known of a process that writes, and how much it may still write in this second."""

    def __init__(self, key: _Key, pid: int, descriptors: list[int]) -> None:
        self.key, self.pid = key, pid
        self.open = set(descriptors)
        self.close_at: float | None = None
        self.dropped = 0
        self._since, self._used = 0.0, 0

    def renew(self, now: float) -> bool:
        """Say whether another second has begun, with its own allowance."""
        if now < self._since + _WINDOW_SECONDS:
            return False
        self._since, self._used = now, 0
        return True

    def room(self, allowed: int) -> int:
        """Return how many lines of those that are allowed in a second are left."""
        return max(0, allowed - self._used)

    def use(self, lines: int) -> None:
        """Take note of lines that were passed on."""
        self._used += lines

    def line(self, stream: str, text: str, at: float) -> OutputLine:
        """Return a line of this process."""
        slot, incarnation = self.key
        return OutputLine(slot, incarnation, self.pid, stream, at, text)


class OutputReader:
    """Be the thread that reads. What the loop asks of it is done by the thread itself, in order."""

    def __init__(self, log: NoticeLog, kept: KeptLines, settings: OutputSettings) -> None:
        self.settings = settings
        self._log, self._kept = log, kept
        self._asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._sources: dict[_Key, _Source] = {}
        self._bell, self._ring = socket.socketpair()
        for end in (self._bell, self._ring):
            end.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._over = False
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._thread.start()

    def ask(self, action: Callable[[], None]) -> None:
        """Have something done by the thread."""
        self._asked.put(action)
        with suppress(BlockingIOError):  # it is awake already
            self._ring.send(b"\0")

    def close(self) -> None:
        """Have the thread read what is left, and wait for that a moment."""
        self.ask(self._finish)
        self._thread.join(_CLOSE_SECONDS)
        self._ring.close()

    def begin(self, key: _Key, pid: int, descriptors: list[int]) -> None:
        """Read the pipes of a process."""
        source = self._sources[key] = _Source(key, pid, descriptors)
        for name, descriptor in zip(STREAMS, descriptors, strict=True):
            self._begin(descriptor, _Stream(name, source, LineStream()))

    def handed(self, running: Container[_Key]) -> tuple[HandedOutput, ...]:
        """Return every pipe with the line that has begun."""
        late = clock.monotonic() + LINGER_SECONDS
        streams = [one.data for one in self._selector.get_map().values() if isinstance(one.data, _Stream)]
        descriptors = {id(one.data): one.fd for one in self._selector.get_map().values()}
        return tuple(
            HandedOutput(
                *source.key,
                source.pid,
                source.close_at or (None if source.key in running else late),
                tuple(
                    HandedStream(one.name, descriptors[id(one)], *one.lines.unfinished)
                    for one in streams
                    if one.source is source
                ),
            )
            for source in self._sources.values()
        )

    def resume(self, handed: Iterable[HandedOutput]) -> None:
        """Read pipes that another one read."""
        for one in handed:
            key = (one.slot, one.incarnation)
            source = self._sources[key] = _Source(key, one.pid, [stream.descriptor for stream in one.streams])
            source.close_at = one.close_at
            for stream in one.streams:
                lines = LineStream(stream.begun, stream.length)
                self._begin(stream.descriptor, _Stream(stream.name, source, lines))

    def _begin(self, descriptor: int, stream: _Stream) -> None:
        """Watch a pipe; one that the system doesn't let be watched is closed, and that is told."""
        try:
            self._selector.register(descriptor, selectors.EVENT_READ, stream)
        except OSError as error:
            source, reason = stream.source, f"it can't be read ({error.strerror}): what it writes there is lost"
            self._pass_on(_Stream("missing", source, stream.lines), [reason])
            self._let_go(descriptor, source)

    def end(self, key: _Key) -> None:
        """Take note that a process is gone; whatever else holds its pipes has a moment."""
        source = self._sources.get(key)
        if source is not None:
            source.close_at = clock.monotonic() + LINGER_SECONDS

    def _finish(self) -> None:
        self._over = True

    def _run(self) -> None:
        while not self._over:
            for ready, _ in self._selector.select(self._patience()):
                if ready.fileobj is self._bell:
                    self._do_what_is_asked()
                else:
                    self._try(partial(self._read, ready.fd, ready.data))
            self._try(self._look_at_the_clock)
        for held in [one for one in self._selector.get_map().values() if one.data is not None]:
            for _ in range(_LAST_READS):
                if not self._read(held.fd, held.data):
                    break
            self._close(held.fd, held.data)
        self._selector.close()
        self._bell.close()

    def _do_what_is_asked(self) -> None:
        with suppress(BlockingIOError):
            self._bell.recv(_READ_BYTES)
        with suppress(Empty):
            while True:
                self._try(self._asked.get_nowait())

    def _patience(self) -> float | None:
        """Return how long to wait for more: until something has to be told or closed."""
        if any(source.dropped for source in self._sources.values()):
            return _WINDOW_SECONDS
        times = [source.close_at for source in self._sources.values() if source.close_at is not None]
        return max(0.0, min(times) - clock.monotonic()) if times else None

    def _look_at_the_clock(self) -> None:
        now = clock.monotonic()
        for source in list(self._sources.values()):
            if source.dropped and source.renew(now):
                self._tell_dropped(source)
            if source.close_at is not None and now >= source.close_at:
                self._close_all(source)

    def _try(self, action: Callable[[], object]) -> None:
        """Do something; a mistake of ours is told and costs a line: a thread that ended would stop every worker."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must be read
            self._log.write(says.effect_failed(f"reading a worker's output raised {type(error).__name__}"))

    def _read(self, descriptor: int, stream: _Stream) -> bool:
        """Read once from a pipe; return whether there was something."""
        try:
            chunk = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        if not chunk:
            self._close(descriptor, stream)
            return False
        source, settings = stream.source, self.settings
        if source.renew(clock.monotonic()):
            self._tell_dropped(source)
        lines, dropped = stream.lines.feed(chunk, settings.max_line_bytes, source.room(settings.max_lines_per_second))
        source.use(len(lines))
        source.dropped += dropped
        self._pass_on(stream, lines)
        return True

    def _pass_on(self, stream: _Stream, texts: list[str]) -> None:
        if texts:
            at = clock.wall()
            lines = [stream.source.line(stream.name, text, at) for text in texts]
            self._log.pass_on(lines)
            self._kept.add(lines)

    def _tell_dropped(self, source: _Source) -> None:
        if source.dropped:
            text = f"{source.dropped} lines are missing here: more than {self.settings.max_lines_per_second} a second"
            source.dropped = 0
            missing = [source.line("missing", text, clock.wall())]
            self._log.pass_on(missing)
            self._kept.add(missing)

    def _close_all(self, source: _Source) -> None:
        for descriptor in list(source.open):
            self._close(descriptor, self._selector.get_key(descriptor).data)

    def _close(self, descriptor: int, stream: _Stream) -> None:
        """Close a pipe, after its last line where that has no end; what was dropped is told with the last one."""
        source = stream.source
        if descriptor not in source.open:
            return
        self._pass_on(stream, stream.lines.end(self.settings.max_line_bytes))
        self._selector.unregister(descriptor)
        self._let_go(descriptor, source)

    def _let_go(self, descriptor: int, source: _Source) -> None:
        with suppress(OSError):  # it was none of ours, or is closed
            os.close(descriptor)
        source.open.discard(descriptor)
        if not source.open:
            self._tell_dropped(source)
            self._sources.pop(source.key, None)
