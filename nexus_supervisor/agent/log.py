"""The worker's log: what programs log, on stderr, one record a line.

Decided here: the form of a line, and what happens when nobody takes the lines. Not decided here: what is logged and
where stderr leads.

A log must never stop a request: lines are written by a thread of their own from a bounded queue. Where stderr is a full
pipe, lines are dropped and counted; where it is closed, they are lost, and the worker goes on. The trial worker, which
forks, has no such thread: it writes by itself, and drops what would make it wait.
"""

from __future__ import annotations

import atexit
import json
import logging
import select
import time
from queue import Full, Queue
from threading import Thread

from nexus_supervisor.log_lines import printable, write_whole

__all__ = ["LineFormatter", "Lines", "ThreadlessLines", "configure", "configure_threadless", "say"]

_STDERR = 2
_CAPACITY = 10_000
_CLOSE_SECONDS = 1.0
_MOST_AT_ONCE = select.PIPE_BUF


def configure(level: str, form: str, slot: str) -> None:
    """Send every log record of this process to stderr, as ``text`` or ``json``."""
    lines = Lines(_STDERR)
    _send_to(lines, level, form, slot)
    atexit.register(lines.finish)


def configure_threadless(level: str, form: str, slot: str) -> None:
    """Do the same in a process that forks, and so must not have a thread beside the one that does."""
    _send_to(ThreadlessLines(), level, form, slot)


def _send_to(lines: logging.Handler, level: str, form: str, slot: str) -> None:
    lines.setFormatter(LineFormatter(slot, as_json=form == "json"))
    logging.basicConfig(level=level.upper(), handlers=[lines], force=True)


def say(text: str) -> None:
    """Write a line to stderr, or as much of it as doesn't make the caller wait."""
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    left = f"{text}\n".encode("utf-8", "backslashreplace")
    while left and any(happened & select.POLLOUT for _, happened in poll.poll(0)):
        write_whole(_STDERR, left[:_MOST_AT_ONCE])
        left = left[_MOST_AT_ONCE:]


class ThreadlessLines(logging.Handler):
    """Write each record's line to stderr at once, as far as that doesn't make the caller wait."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line; never wait, never raise."""
        try:
            say(self.format(record))
        except Exception:  # noqa: BLE001 - arguments that don't fit their format: logging says so, and goes on
            self.handleError(record)


class Lines(logging.Handler):
    """Queue each record's line for a thread that writes them to a descriptor; drop what finds the queue full."""

    def __init__(self, descriptor: int, capacity: int = _CAPACITY) -> None:
        super().__init__()
        self._waiting: Queue[str | None] = Queue(capacity)
        self._dropped = 0
        self._writer = Thread(target=self._run, args=(descriptor,), name="nexus-log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record's line; never wait, never raise."""
        try:
            self._waiting.put_nowait(f"{self.format(record)}\n")
        except Full:
            self._dropped += 1
        except Exception:  # noqa: BLE001 - arguments that don't fit their format: logging says so, and goes on
            self.handleError(record)

    def finish(self) -> None:
        """Have what is queued written, as far as that takes less than a second: a stuck reader must not hold us."""
        try:
            self._waiting.put_nowait(None)
        except Full:
            return
        self._writer.join(_CLOSE_SECONDS)

    def _run(self, descriptor: int) -> None:
        """Be the writer's thread."""
        told = 0
        while (line := self._waiting.get()) is not None:
            if (dropped := self._dropped) > told:
                line = f"{dropped - told} lines were dropped here: this log is read too slowly\n{line}"
                told = dropped
            write_whole(descriptor, line.encode("utf-8", "backslashreplace"))


class LineFormatter(logging.Formatter):
    """Write a record as one line; control characters are escaped, so that no record can pretend to be two."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, slot: str, *, as_json: bool) -> None:
        super().__init__()
        self._slot, self._as_json = slot, as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; in text, the lines of a traceback follow it, indented."""
        facts = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "slot": self._slot,
            "logger": record.name,
            "text": record.getMessage(),
        }
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._as_json:
            return json.dumps(facts | {"traceback": trace} if trace else facts)
        lines = [" ".join(facts.values()), *trace.splitlines()]
        return "\n    ".join(printable(line) for line in lines)
