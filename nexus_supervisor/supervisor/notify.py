"""What the service manager is told, by the protocol of sd_notify(3).

Decided here: what is said when (``Announcer``, a function of facts), and that nobody ever waits for it (``Notifier``).
Not decided here: what is so (``core/fleet.py``), and what a service manager makes of it. Without ``NOTIFY_SOCKET`` in
the environment nothing is said.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from nexus_supervisor.core.events import PushAsked, Touched, UpgradeFailed
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.phrases import counted
from nexus_supervisor.core.rollout import Kind
from nexus_supervisor.core.roster import KILL_GRACE_SECONDS
from nexus_supervisor.supervisor import clock

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.events import Event
    from nexus_supervisor.core.fleet import Fleet
    from nexus_supervisor.core.rollout import Rollout
    from nexus_supervisor.core.settings import Settings
    from nexus_supervisor.supervisor.listeners import Listeners

__all__ = ["STORED", "Announcer", "Facts", "Notifier", "Saying", "asks", "observed", "patience"]

STORED = "nexus-"
"""How the names begin under which listening sockets are given to the service manager to keep."""

_MICROSECONDS = 1_000_000
_MARGIN_SECONDS = 10.0
"""So much longer than a step may take the service manager is asked to wait for it."""

_RETRY_SECONDS = 0.1
_MAX_WAITING = 64
_MAX_NAME = 255
_STATUS = b"STATUS="


class Saying(NamedTuple):
    """Say one thing: lines of ``NAME=value``, and the descriptor that goes with them."""

    text: bytes
    descriptor: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what the service manager is told about.

    ``version`` is committed; ``complete`` says that it is on disk and that no start is under way. ``phase`` is that of
    the rollout to version ``next``. ``asked`` counts the orders to look at the directory; ``pending`` says that the
    verdict on one of them is not known. ``ending``: it is about to end. ``left`` are the processes that there are,
    ``patience`` is how long the next change of ``progress`` may take. ``sockets`` are descriptors to keep, by name.
    """

    now: float
    version: int | None
    ready: int
    wanted: int
    complete: bool = False
    next: int | None = None
    phase: str = ""
    asked: int = 0
    pending: bool = False
    ending: bool = False
    left: int = 0
    patience: float = 0.0
    sockets: Mapping[str, int] = field(default_factory=dict)

    @property
    def serves(self) -> bool:
        """Say whether the service is up: a version is complete, and somebody serves it, or nobody has to."""
        return self.version is not None and self.complete and (self.ready > 0 or self.wanted == 0)

    @property
    def progress(self) -> tuple[object, ...]:
        """Return what is different after each step of a start, a change or an end, and only then."""
        return ("ending", self.left) if self.ending else (self.version, self.next, self.phase, self.ready)


class Announcer:
    """Decide what is new to the service manager. ``stored`` are the sockets that it keeps from the last start."""

    def __init__(self, stored: frozenset[str] = frozenset()) -> None:
        self._stored = stored
        self._state = "starting"
        self._asked = 0
        self._status = ""
        self._progress: tuple[object, ...] = ()

    def say(self, facts: Facts) -> list[Saying]:
        """Return what is to be said, in order; nothing where everything was said."""
        sayings = [Saying(text) for text in (*self._change(facts), *self._extension(facts), *self._shown(facts))]
        return [*sayings, *self._keeping(facts)]

    def _change(self, facts: Facts) -> list[bytes]:
        """Return the changes of state: two where an order was answered at once, so that nobody waits for it."""
        changes = []
        asked, self._asked = facts.asked > self._asked, facts.asked
        if facts.ending and self._state != "stopping":
            self._state = "stopping"
            changes.append(b"STOPPING=1")
        elif self._state == "starting" and facts.serves:
            self._state = "running"
            changes.append(b"READY=1")
        elif self._state == "running" and asked:
            self._state = "reloading"
            changes.append(b"RELOADING=1\nMONOTONIC_USEC=%d" % round(facts.now * _MICROSECONDS))
        if self._state == "reloading" and not facts.pending:
            self._state = "running"
            changes.append(b"READY=1")
        return changes

    def _extension(self, facts: Facts) -> list[bytes]:
        """Return the wish for more time, where something is under way that has got on."""
        progress, self._progress = self._progress, facts.progress
        if self._state == "running" or progress == facts.progress:
            return []
        return [b"EXTEND_TIMEOUT_USEC=%d" % round(facts.patience * _MICROSECONDS)]

    def _shown(self, facts: Facts) -> list[bytes]:
        before, self._status = self._status, _status(facts)
        return [_STATUS + self._status.encode()] if before != self._status else []

    def _keeping(self, facts: Facts) -> list[Saying]:
        """Return what to keep and what to keep no longer; at the end all is kept for the next start."""
        if facts.ending:
            return []
        before, self._stored = self._stored, frozenset(facts.sockets)
        gone = [Saying(b"FDSTOREREMOVE=1\nFDNAME=" + name.encode()) for name in sorted(before - self._stored)]
        fresh = sorted(self._stored - before)
        return [
            *gone,
            *(Saying(b"FDSTORE=1\nFDNAME=" + name.encode(), facts.sockets[name]) for name in fresh),
        ]


def _status(facts: Facts) -> str:
    if facts.ending:
        return f"Stopping: {counted(facts.left, 'process', 'processes')} left"
    workers = f"{facts.ready} of {counted(facts.wanted, 'worker', 'workers')} ready"
    current = "Starting" if facts.version is None else f"Version {facts.version}"
    following = f"; version {facts.next}: {facts.phase}" if facts.phase else ""
    return f"{current}: {workers}{following}"


# --- facts -----------------------------------------------------------------------------------------------------------


def asks(event: Event) -> bool:
    """Say whether somebody wants the directory applied and waits for the verdict: by SIGHUP or by ``push``."""
    return isinstance(event, PushAsked) or (isinstance(event, Touched) and event.urgent)


def observed(fleet: Fleet, now: float, asked: int, sockets: Mapping[str, int]) -> Facts:
    """Return the facts of this moment."""
    board, rollout = fleet.board, fleet.board.rollout
    ready = sum(1 for one in board.roster.live() if one.life is Life.READY)
    return Facts(
        now,
        board.history.version,
        ready,
        len(board.roster.slots),
        complete=board.archived is not None and (rollout is None or rollout.kind is not Kind.BOOT),
        next=None if rollout is None else rollout.version,
        phase="" if rollout is None else _phase(rollout),
        asked=asked,
        pending=fleet.is_busy and not _waits_for_people(board),
        ending=board.ending is not None,
        left=len(board.roster.processes) + (not fleet.trying.gone),
        patience=patience(board.settings, ending=board.ending is not None),
        sockets=sockets,
    )


def patience(settings: Settings, *, ending: bool) -> float:
    """Return how many seconds one step of a start, a change or an end may take."""
    if ending:
        return settings.daemon.shutdown.drain_timeout_seconds + KILL_GRACE_SECONDS + _MARGIN_SECONDS
    rollout, limits = settings.supervisor.rollout, settings.supervisor.limits
    longest = max(
        limits.compile_timeout_seconds,
        rollout.start_timeout_seconds,
        rollout.stage_timeout_seconds + rollout.activate_timeout_seconds,
        rollout.bake_seconds,
        rollout.quiet_bake_seconds,
        rollout.wave_pause_seconds,
    )
    return longest + _MARGIN_SECONDS


def _phase(rollout: Rollout) -> str:
    if rollout.kind is Kind.ROLLBACK:
        return "going back"
    return "paused" if rollout.paused_since is not None else rollout.phase.value


def _waits_for_people(board: Board) -> bool:
    """Say whether nothing goes on by itself: a paused rollout is as good a verdict as there will be."""
    return board.rollout is not None and board.rollout.paused_since is not None


# --- the socket ------------------------------------------------------------------------------------------------------


class Notifier:
    """Tell the service manager. ``tell`` is called once with a notice where it can't be reached."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        environment: Mapping[str, str],
        listeners: Listeners,
        tell: Callable[[Notice], None],
    ) -> None:
        self._loop, self._listeners, self._tell = loop, listeners, tell
        self._path = environment.get("NOTIFY_SOCKET", "")
        self._announcer = Announcer(frozenset(name for name in listeners.inherited.names if name.startswith(STORED)))
        self._asked = 0
        self._waiting: list[Saying] = []
        self._socket: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None
        self._beating: asyncio.TimerHandle | None = None
        if self._path:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)  # noqa: FBT003 - the signature of the standard library
            self._beat(_watchdog_seconds(environment))

    @property
    def keeps_sockets(self) -> bool:
        """Say whether a service manager is there that was given the listening sockets to keep."""
        return self._socket is not None

    def note(self, event: Event, fleet: Fleet) -> None:
        """Tell what is new after an event."""
        self._asked += asks(event)
        if isinstance(event, UpgradeFailed):
            self.send([Saying(b"READY=1")])
        if self._socket is not None:
            sockets = _kept(self._listeners)
            self.send(self._announcer.say(observed(fleet, clock.monotonic(), self._asked, sockets)))

    def leave(self) -> None:
        """Say that newer code takes over in this process: it says when it is up."""
        usec = round(clock.monotonic() * _MICROSECONDS)
        self.send([Saying(b"RELOADING=1\nMONOTONIC_USEC=%d" % usec)])

    def send(self, sayings: list[Saying]) -> None:
        """Send sayings after those that wait, which they replace where they are about the same."""
        if self._socket is None:
            return
        for saying in sayings:
            subject = _subject(saying)
            self._waiting = [one for one in self._waiting if subject is None or _subject(one) != subject]
            self._waiting.append(saying)
        self._waiting = self._waiting[-_MAX_WAITING:]
        if self._again is None:
            self._send()

    def close(self) -> None:
        """Say nothing more."""
        for timer in (self._again, self._beating):
            if timer is not None:
                timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _beat(self, seconds: float) -> None:
        """Show that the event loop turns, twice in the time after which the service manager takes it for dead."""
        if seconds > 0:
            self.send([Saying(b"WATCHDOG=1")])
            self._beating = self._loop.call_later(seconds / 2, self._beat, seconds)

    def _send(self) -> None:
        """Send what waits, as far as there is room; the rest is tried again soon."""
        self._again = None
        while self._socket is not None and self._waiting:
            saying = self._waiting[0]
            try:
                self._socket.sendmsg([saying.text], _attached(saying.descriptor), 0, self._address)
            except (BlockingIOError, InterruptedError):
                self._again = self._loop.call_later(_RETRY_SECONDS, self._send)
                return
            except OSError as error:
                self._failed(error.strerror or str(error))
            del self._waiting[0]

    @property
    def _address(self) -> str:
        return f"\0{self._path[1:]}" if self._path.startswith("@") else self._path

    def _failed(self, reason: str) -> None:
        """Tell once why something can't be said; what follows is tried all the same."""
        tell, self._tell = self._tell, _nothing
        text = f"The service manager can't be told anything at NOTIFY_SOCKET={self._path}: {reason}."
        tell(Notice("notify_failed", "warning", text, {"path": self._path, "reason": reason}))


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """Return the time of the watchdog, 0 where there is none for this process (sd_watchdog_enabled(3))."""
    given = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not given.isdecimal():
        return 0.0
    return int(given) / _MICROSECONDS


def _subject(saying: Saying) -> bytes | None:
    """Return what a saying replaces earlier ones about; None where each counts.

    A socket that is to be kept no longer is about to be closed: its descriptor must not be sent any more.
    """
    name, _, rest = saying.text.partition(b"=")
    if name in (b"STATUS", b"WATCHDOG"):
        return name
    return rest.partition(b"\n")[2] if name.startswith(b"FDSTORE") else None


def _attached(descriptor: int | None) -> list[tuple[int, int, array.array[int]]]:
    if descriptor is None:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]


def _kept(listeners: Listeners) -> dict[str, int]:
    """Return the sockets that are worth keeping over a restart, by the name that they are kept under.

    Those of Unix are not: their files go at the end. Nor are those that a .socket unit passed: it keeps them itself.
    """
    inherited = listeners.inherited
    passed = {
        inherited.sockets[number].getsockname()
        for name, numbers in inherited.names.items()
        if not name.startswith(STORED)
        for number in numbers
        if number in inherited.sockets
    }
    kept = {}
    for one in listeners.in_use():
        name = STORED + quote(one.address, safe="[]")
        if one.socket.family != socket.AF_UNIX and one.socket.getsockname() not in passed and len(name) <= _MAX_NAME:
            kept[name] = one.socket.fileno()
    return kept


def _nothing(_: Notice) -> None:
    """Say nothing: it was said."""
