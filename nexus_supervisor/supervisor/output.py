"""Notices on their way out: to the log as text or JSON, and to those who follow them.

Decided here: how one notice looks on one line, and what happens when nobody takes the lines. Not decided here: what is
told (``core/notices.py``), how a worker's line looks (``worker_lines.py``), where the log goes (``log_file.py``), how a
client is reached (``control_server.py``).

A log must never stop the daemon: lines are written by a thread of their own from a bounded queue. Where stderr is a
full pipe, lines are dropped and counted; where it is closed, they are lost, and the daemon goes on.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import Noticed
from nexus_supervisor.core.handover import HandedNotice, HandedNotices
from nexus_supervisor.core.notices import KINDS, SECURITY_KINDS, Notice
from nexus_supervisor.log_lines import printable
from nexus_supervisor.supervisor import clock
from nexus_supervisor.supervisor.log_file import LogFile
from nexus_supervisor.supervisor.worker_lines import json_form, moment, text_form

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexus_supervisor.core.control import OutputLine

__all__ = ["LEVELS", "NoticeLog", "NoticeRing", "Notices", "document", "json_line", "text_line"]

LEVELS = ("debug", "info", "warning", "error")
"""From the most to the least talkative; a log shows its own level and those after it."""

KEPT_SECURITY_NOTICES = 20

MAX_KEPT_BYTES = 32 << 20
"""What the kept notices may weigh together, by their longest parts."""

_STDERR = 2
_CLOSE_SECONDS = 1.0
_SHARE_OF_WORKERS = 0.5  # of the queue: whatever they write, notices find room


def text_line(notice: Notice, at: float) -> str:
    """Show a notice as one line for people: time, level, kind, sentence, then ``key=value``."""
    fields = dict(notice.fields)
    if notice.kind in SECURITY_KINDS:
        fields["security"] = True
    facts = "".join(f" {printable(key)}={_fact(value)}" for key, value in fields.items())
    return f"{moment(at)} {notice.level.upper():<7} {notice.kind} {printable(notice.text)}{facts}\n"


def json_line(notice: Notice, at: float) -> str:
    """Show a notice as one JSON object on one line; everything outside printable ASCII is escaped."""
    shown = {"at": moment(at), **_shape(notice)}
    return json.dumps(shown, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f") + "\n"


def document(notice: Notice) -> bytes:
    """Encode a notice as the canonical JSON that clients get."""
    return canonical.encode(_shape(notice))


def _shape(notice: Notice) -> dict[str, object]:
    shape: dict[str, object] = {"level": notice.level, "kind": notice.kind, "text": notice.text}
    if notice.kind in SECURITY_KINDS:
        shape["security"] = True
    shape["fields"] = {key: list(value) if isinstance(value, tuple) else value for key, value in notice.fields.items()}
    return shape


def _fact(value: str | float | bool | tuple[str, ...] | None) -> str:  # noqa: FBT001 - a value to show, not a switch
    if isinstance(value, tuple):
        return ",".join(_fact(item) for item in value) or '""'
    if isinstance(value, str):
        plain = value and not any(c in value for c in ' ="')
        return printable(value if plain else json.dumps(value, ensure_ascii=False))
    return json.dumps(value)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a log shows and how: replaced as a whole, so that a writer never sees half a change."""

    level: str
    format: str

    def line(self, notice: Notice, at: float) -> str:
        return json_line(notice, at) if self.format == "json" else text_line(notice, at)

    def overheard(self, record: logging.LogRecord, at: float) -> str:
        """Show a library's log record: not a notice, since it means something to this program's makers only."""
        text = f"{record.name}: {logging.Formatter().format(record)}"
        level = record.levelname.lower()
        if self.format == "json":
            return json.dumps({"at": moment(at), "level": level, "kind": "log", "text": text}) + "\n"
        return f"{moment(at)} {level.upper():<7} log {printable(text)}\n"

    def passed(self, line: OutputLine) -> str:
        """Show a worker's line."""
        return json_form(line) if self.format == "json" else text_form(line)

    def missing(self, count: int, at: float) -> str:
        """Say that lines are missing: not a notice, since only this log lacks them."""
        return self.said("warning", f"{count} lines were dropped here: this log is read too slowly", at)

    def said(self, level: str, text: str, at: float, more: Sequence[str] = ()) -> str:
        """Show what is no notice: a sentence of this log's own, and lines that belong to it."""
        if self.format == "json":
            told = {"at": moment(at), "level": level, "kind": "log", "text": "\n".join([text, *more])}
            return json.dumps(told) + "\n"
        return "".join(f"{line}\n" for line in (f"{moment(at)} {level.upper():<7} log {text}", *map(_indented, more)))


@dataclass(frozen=True, slots=True)
class _Turn:
    """Have what follows written to another place; ``led`` is told in the log's thread when that is done or failed."""

    path: Path | None
    led: Callable[[str], None]


class NoticeLog:
    """Write notices to a descriptor, stderr by default, or to a file, without ever making the caller wait.

    ``level`` is one of LEVELS, ``format`` is ``text`` or ``json``; both can be changed while the log runs.
    """

    def __init__(self, level: str, format: str, *, descriptor: int = _STDERR, capacity: int = 10_000) -> None:  # noqa: A002 - the setting's name
        self._look = _Look(level, format)
        self._lines = _Lines(capacity)
        self._writer = threading.Thread(target=self._run, args=(LogFile(descriptor),), name="notice-log", daemon=True)
        self._writer.start()

    def show(self, level: str, format: str) -> None:  # noqa: A002 - the setting's name
        """Change level and format from the next notice on."""
        self._look = _Look(level, format)

    def write(self, notice: Notice) -> None:
        """Queue a notice of the log's level or above; never wait, never raise."""
        look = self._look
        if LEVELS.index(notice.level) >= LEVELS.index(look.level):
            self._lines.put(look.line(notice, clock.wall()))

    def lead(self, path: Path | None, led: Callable[[str], None]) -> None:
        """Append what is told from now on to a file, opened anew; None: write it to the descriptor.

        ``led`` is called in the log's own thread when that is done: with "", or with the reason why the descriptor has
        to do instead.
        """
        self._lines.turn(_Turn(path, led))

    def pass_on(self, lines: Iterable[OutputLine]) -> None:
        """Queue lines of workers, as far as they leave room for notices; from any thread."""
        look = self._look
        self._lines.put(*map(look.passed, lines), share=_SHARE_OF_WORKERS)

    def flush(self, seconds: float) -> None:
        """Wait until what is queued is written, as long as that takes less than this."""
        written = threading.Event()
        self._lines.turn(written)
        written.wait(seconds)

    def say(self, level: str, text: str, more: Sequence[str] = ()) -> None:
        """Queue a sentence of this log's own, and the lines that belong to it."""
        self._lines.put(self._look.said(level, text, clock.wall(), more))

    def overhear(self, library: str) -> Callable[[], None]:
        """Show what a library logs among the notices: it would write to stderr itself, and wait. Return the undo."""
        logger, overheard = logging.getLogger(library), _Overheard(self._take_record)
        logger.addHandler(overheard)
        return lambda: logger.removeHandler(overheard)

    def _take_record(self, record: logging.LogRecord) -> None:
        self._lines.put(self._look.overheard(record, clock.wall()))

    def close(self) -> None:
        """Write what is queued, as far as that takes less than a second: a reader that is stuck must not hold us."""
        self._lines.end()
        self._writer.join(_CLOSE_SECONDS)

    @property
    def dropped(self) -> int:
        """Return how many lines were dropped so far because the queue was full."""
        return self._lines.dropped

    def _run(self, file: LogFile) -> None:
        """Be the writer's thread: take what is queued, write it in one go, say how much was dropped since."""
        reported = 0
        while (taken := self._lines.take()) is not None:
            lines, dropped = taken
            if dropped > reported:
                lines.append(self._look.missing(dropped - reported, clock.wall()))
                reported = dropped
            _write(lines, file)
        file.close()


def _write(lines: Iterable[str | _Turn | threading.Event], file: LogFile) -> None:
    """Write lines, those between two turns in one go."""
    for is_text, some in groupby(lines, lambda line: isinstance(line, str)):
        if is_text:
            file.write("".join(map(str, some)))
            continue
        for turn in some:
            if isinstance(turn, threading.Event):
                turn.set()
            elif isinstance(turn, _Turn):
                turn.led(file.lead(turn.path))


def _indented(line: str) -> str:
    return f"    {printable(line)}"


class _Overheard(logging.Handler):
    """Pass on what a library logs, from a warning on."""

    def __init__(self, take: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.WARNING)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        self._take(record)


class _Lines:
    """Pass lines from any thread to the writer; drop the newest when full, and count them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[str | _Turn | threading.Event] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self.dropped = 0

    def put(self, *lines: str, share: float = 1.0) -> None:
        """Queue lines, as far as they find room in this share of the queue."""
        with self._changed:
            if self._ended:
                return
            room = max(0, int(self._capacity * share) - len(self._waiting))
            self.dropped += max(0, len(lines) - room)
            self._waiting.extend(lines[:room])
            self._changed.notify()

    def turn(self, turn: _Turn | threading.Event) -> None:
        """Queue a change of where lines go, or a mark that is set when it is reached: neither is ever dropped."""
        with self._changed:
            self._waiting.append(turn)
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def take(self) -> tuple[list[str | _Turn | threading.Event], int] | None:
        """Wait for lines; return them with the number of dropped ones so far, or None at the end."""
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            if not self._waiting:
                return None
            lines = list(self._waiting)
            self._waiting.clear()
            return lines, self.dropped


class NoticeRing:
    """Keep the newest notices under rising numbers, and deliver new ones to followers. Used by one thread only."""

    def __init__(self, capacity: int) -> None:
        self._kept: deque[tuple[int, float, Notice]] = deque(maxlen=capacity)
        self._weight = 0
        self._next = 1
        self._followers: list[Callable[[Noticed], None]] = []

    def add(self, notice: Notice) -> None:
        """Give a notice its number, keep it and deliver it; it is encoded only where somebody follows."""
        numbered = (self._next, clock.wall(), notice)
        self._next += 1
        self._keep(numbered)
        if self._followers:
            noticed = _noticed(*numbered)
            for follower in tuple(self._followers):
                self._deliver(follower, noticed)

    def handed(self) -> tuple[tuple[HandedNotice, ...], int]:
        """Return what is kept, and the next number."""
        return tuple(_handed(*numbered) for numbered in self._kept), self._next

    def resume(self, kept: Iterable[HandedNotice], following: int) -> None:
        """Go on with the notices and the numbers of another one."""
        for one in kept:
            if one.kind in KINDS:  # an older version may have told what this one doesn't know any more
                self._keep((one.number, one.at, _resumed(one)))
        self._next = following

    def _keep(self, numbered: tuple[int, float, Notice]) -> None:
        """Keep a notice; the oldest go where they are too many, or together too long."""
        if len(self._kept) == self._kept.maxlen:
            self._weight -= _weight(self._kept[0][2])
        self._kept.append(numbered)
        self._weight += _weight(numbered[2])
        while self._weight > MAX_KEPT_BYTES and len(self._kept) > 1:
            self._weight -= _weight(self._kept.popleft()[2])

    def since(self, number: int) -> tuple[Noticed, ...]:
        """Return the kept notices with at least this number, oldest first."""
        return tuple(_noticed(*numbered) for numbered in self._kept if numbered[0] >= number)

    def follow(self, since: int, deliver: Callable[[Noticed], None]) -> Callable[[], None]:
        """Deliver the kept notices from number ``since`` on, then each new one; return how to stop that.

        A follower whose ``deliver`` raises ConnectionError has left, and is forgotten.
        """
        self._followers.append(deliver)
        for noticed in self.since(since):
            self._deliver(deliver, noticed)
        return lambda: self._forget(deliver)

    def _deliver(self, follower: Callable[[Noticed], None], noticed: Noticed) -> None:
        if follower not in self._followers:
            return
        try:
            follower(noticed)
        except ConnectionError:
            self._forget(follower)

    def _forget(self, follower: Callable[[Noticed], None]) -> None:
        if follower in self._followers:
            self._followers.remove(follower)


class Notices:
    """Hand each notice to its readers: the log, those who follow, and the status for what concerns security."""

    def __init__(self, log: NoticeLog, ring: NoticeRing) -> None:
        self._log, self.ring = log, ring
        self._security: deque[tuple[float, Notice]] = deque(maxlen=KEPT_SECURITY_NOTICES)

    @property
    def security(self) -> tuple[tuple[float, Notice], ...]:
        """Return the newest security notices with their unix times, oldest first."""
        return tuple(self._security)

    def handed(self) -> HandedNotices:
        """Return what another one needs to go on."""
        return HandedNotices(*self.ring.handed(), tuple(_handed(0, *one) for one in self._security))

    def resume(self, handed: HandedNotices) -> None:
        """Go on where another one was."""
        self.ring.resume(handed.kept, handed.following)
        self._security.extend((one.at, _resumed(one)) for one in handed.security if one.kind in KINDS)

    def tell(self, notice: Notice) -> None:
        """Tell one notice, from the loop's thread."""
        self.ring.add(notice)
        self._log.write(notice)
        if notice.kind in SECURITY_KINDS:
            self._security.append((clock.wall(), notice))


def _noticed(number: int, at: float, notice: Notice) -> Noticed:
    return Noticed(number, at, document(notice))


def _weight(notice: Notice) -> int:
    lists = (value for value in notice.fields.values() if isinstance(value, tuple))
    return len(notice.text) + sum(len(item) for value in lists for item in value)


def _handed(number: int, at: float, notice: Notice) -> HandedNotice:
    return HandedNotice(number, at, notice.level, notice.kind, notice.text, notice.fields)


def _resumed(handed: HandedNotice) -> Notice:
    return Notice(handed.kind, handed.level, handed.text, handed.fields)
