"""The agent: what a worker program sees of nexus-supervisor.

Decided here: the program's side of the contract, as one object. Not decided here: how each part works; every method
delegates to the file that knows. Importing this brings no event loop, no model library and no command line with it.
"""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from nexus_supervisor.agent.context import PINNED, current, pinned, refresh
from nexus_supervisor.agent.holder import Cell
from nexus_supervisor.agent.progress import Progress
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.errors import NexusError, NoSnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from socket import socket
    from types import TracebackType

    from nexus_supervisor.agent.drain import DrainState
    from nexus_supervisor.agent.parent import Activated, Parent
    from nexus_supervisor.agent.shared import SharedCounters
    from nexus_supervisor.agent.staging import Derive
    from nexus_supervisor.core.messages import Start

__all__ = ["Agent", "Request", "Snapshot", "current", "pinned", "refresh"]


class Agent:
    """Be one worker's view of its supervisor.

    ``listeners`` are the listening sockets, bound by the supervisor and shared with the other workers. ``progress``
    counts requests, errors and turns of the serving loop; ``counters`` are shared by all workers; ``drain`` says
    whether and by when this worker is to end; ``holder`` knows which snapshots are in use.
    """

    def __init__(
        self, start: Start, listeners: tuple[socket, ...], parent: Parent, counters: SharedCounters, drain: DrainState
    ) -> None:
        self.listeners, self.counters, self.drain = listeners, counters, drain
        self.progress, self.holder = Progress(counters, parent.holder), parent.holder
        self._start, self._parent = start, parent

    @property
    def slot(self) -> str:
        """Return the stable name of this worker, such as ``gateway-0``."""
        return self._start.slot

    @property
    def incarnation(self) -> int:
        """Return how often this slot has been started, this time included."""
        return self._start.incarnation

    @property
    def directory(self) -> Path:
        """Return DIR."""
        return Path(self._start.directory)

    @property
    def program(self) -> str:
        """Return the name of the program that this worker runs."""
        return self._start.program

    @property
    def app(self) -> str:
        """Return the application, ``MODULE:ATTR``; empty where none is set."""
        return self._start.app

    @property
    def threads(self) -> int:
        """Return how many requests a program that serves in threads takes at a time."""
        return self._start.threads

    @property
    def pepper(self) -> bytes:
        """Return the key under which secrets are digested: never log it."""
        return self._start.pepper

    @property
    def log_level(self) -> str:
        """Return the log level of the settings."""
        return self._start.log_level

    @property
    def max_snapshot_seconds(self) -> float:
        """Return how long a request may go on with a version that was replaced; 0: for ever. The newest version's."""
        return self._parent.max_snapshot_seconds

    @property
    def tls(self) -> Any:
        """Return what new connections are to be secured with (``adapters/tls.py``), or None: the newest version's."""
        return self._parent.tls

    @property
    def draining(self) -> bool:
        """Return whether this worker is to finish what is in hand and return."""
        return self.drain.draining

    def current(self) -> Snapshot:
        """Return the newest snapshot, whatever a request has pinned."""
        snapshot = self.holder.current
        if snapshot is None:
            message = "no version is active in this worker yet; a program is started after the first one"
            raise NoSnapshotError(message)
        return snapshot

    def request(self) -> Request:
        """Return a context manager around one request: it counts it, and ``current()`` gives one snapshot within it."""
        return Request(self)

    def ready(self) -> None:
        """Tell the supervisor that the program serves."""
        self._parent.ready()

    def erred(self, version: int, error: BaseException) -> None:
        """Tell the supervisor which exception left a request of a version, the first time that one does."""
        self._parent.erred(version, error)

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Call back when this worker is to end, from another thread; at once where that was ordered already."""
        self.drain.on_drain(callback)

    def on_activated(self, callback: Activated) -> None:
        """Call back after each later activation with the new snapshot, from another thread."""
        self._parent.on_activated(callback)

    def derive(self, derive: Derive) -> None:
        """Have ``snapshot.program`` made by ``derive(snapshot, before)``: now, and at every later staging.

        It runs outside requests, before the version is activated; what it raises refuses the version. ``before`` is the
        snapshot that is current at that time, to start from (``Shards.differing`` says what changed), or None.
        """
        self._parent.derive(derive)

    def allow(
        self, section: str, name: str, *, requests_per_minute: int = 0, bytes_per_second: int = 0, size: int = 0
    ) -> float | None:
        """Count one request of an entry against its limits, for the daemon as a whole.

        Return None where it is allowed, or the seconds to wait. A limit of 0 is none.
        """
        row = current().row_of(section, name)
        if row is None:
            message = (
                f"{section}.{name} has no row in the shared counters: its section must be live and of this version"
            )
            raise NexusError(message)
        return self.counters.allow(
            row,
            requests_per_minute=requests_per_minute,
            bytes_per_second=bytes_per_second,
            size=size,
            now=monotonic(),
        )

    def __repr__(self) -> str:
        """Name the worker."""
        return f"<Agent {self.slot}/{self.incarnation}>"


class Request(Cell):
    """Pin one snapshot for one request. It counts as an error when it is ``failed`` or an exception leaves it.

    ``snapshot`` is what it pins (another one after ``refresh()``), ``replaced_at`` since when that isn't the newest any
    more, in monotonic seconds; both are None before its start, after its end, and ``replaced_at`` where it is current.
    The time that it takes counts from its start to its end, or to ``answered()``.
    """

    __slots__ = ("_agent", "_began", "_counted", "_progress", "_token", "_version", "failed")

    _token: Token[Cell | None]
    _version: int
    _began: float

    def __init__(self, agent: Agent) -> None:
        self.holder, self.generation = agent.holder, None  # what Cell does, without a call for each request
        self._agent, self._progress = agent, agent.progress
        self.failed = self._counted = False

    def __enter__(self) -> Snapshot:
        snapshot = self.holder.pin(self)
        self._token = PINNED.set(self)
        self._progress.request()
        self._version, self._began = snapshot.version, monotonic()
        return snapshot

    @property
    def waiting_since(self) -> float | None:
        """Return when it began, as long as no answer has begun and how long it takes says something."""
        return None if self._counted else getattr(self, "_began", None)  # another thread may ask as it is pinned

    def answered(self) -> None:
        """Take the time until now for what the request takes: its answer begins, and may go on for long."""
        self._count(monotonic() - self._began)

    def untimed(self) -> None:
        """Let the time that this request takes say nothing: it lasts as long as its client likes."""
        self._count(None)

    def erred(self, error: BaseException) -> None:
        """Let this request count as an error because of an exception, which the supervisor is told of."""
        self.failed = True
        self._agent.erred(self._version, error)

    def _count(self, seconds: float | None) -> None:
        if not self._counted:
            self._counted = True
            self._progress.ended(self._version, seconds, False)  # noqa: FBT003 - whether it fails is known at its end

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        progress = self._progress
        if kind is not None and error is not None and issubclass(kind, Exception):
            self.erred(error)
        failed = self.failed
        if failed:
            progress.error()
        if not self._counted:
            progress.ended(self._version, monotonic() - self._began, failed)
        elif failed:
            progress.failed(self._version)
        self.holder.release(self)
        PINNED.reset(self._token)
