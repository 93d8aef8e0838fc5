"""Listening sockets: bound once by the supervisor, handed to every worker of their program, kept over restarts.

Decided here: which sockets a restart keeps, binds and lets go of, and what is said about an address that can't be had.
Not decided here: who accepts on them, how a Unix socket gets its file (``unix_listener.py``) and which ones were
inherited (``inherited.py``). There is one socket for all workers (no SO_REUSEPORT): a connection that a dying worker
left in its queue would be lost, one in a shared queue is taken by a sibling.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

from nexus_supervisor.core.handover import HandedListeners, HandedProgram, HandedSocket
from nexus_supervisor.errors import ConflictError, NexusError, RejectedError
from nexus_supervisor.supervisor.inherited import Inherited
from nexus_supervisor.supervisor.turning_away import turn_away
from nexus_supervisor.supervisor.unix_listener import UnixFile, bind_unix

if TYPE_CHECKING:
    from types import TracebackType

    from nexus_supervisor.core.settings import Settings

__all__ = ["BACKLOG", "Listener", "Listeners", "bind"]

BACKLOG = 2048
"""Connections that wait for a worker; the kernel takes no more than net.core.somaxconn."""

_Place = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]
_Generation = Mapping[str, tuple["Listener", ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """Hold one listening socket. ``address`` is ``host:port`` as bound, ``[host]:port`` or ``unix:PATH``.

    ``key`` tells whether two settings mean the same socket; ``release`` removes what it left in the file system.
    """

    socket: socket.socket = field(repr=False)
    address: str
    key: str = ""
    release: UnixFile | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        """Return the port that was bound, also where port 0 was asked for."""
        return int(self.address.rpartition(":")[2])

    def close(self) -> None:
        """Close this process's descriptor; workers that hold the socket go on accepting."""
        self.socket.close()
        if self.release is not None:
            self.release()

    def __enter__(self) -> Self:
        """Return the listener itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


class Listeners:
    """Hold the sockets in use by program, and those that a restart is about to use."""

    def __init__(self, directory: Path, inherited: Inherited | None = None) -> None:
        self._directory, self._inherited = directory, inherited or Inherited()
        self._current: _Generation = {}
        self._next: _Generation | None = None

    @classmethod
    def resumed(cls, directory: Path, handed: HandedListeners) -> Self:
        """Go on listening where another one was."""
        listeners = cls(directory, Inherited.resumed(handed.inherited))
        held = {one.descriptor: _resumed(one) for one in handed.sockets}
        listeners._current = {one.name: tuple(held[number] for number in one.sockets) for one in handed.programs}
        return listeners

    def handed(self) -> HandedListeners:
        """Return what another one needs to go on listening."""
        programs = tuple(
            HandedProgram(name, tuple(one.socket.fileno() for one in listeners))
            for name, listeners in self._current.items()
        )
        return HandedListeners(tuple(map(_handed, _all(self._current))), programs, self._inherited.handed())

    def prepare(self, settings: Settings) -> None:
        """Bind beside the sockets in use what they don't have yet; raise NexusError, and have bound nothing then."""
        self.settle(adopted=False)
        making = _Making(self._directory, self._inherited, _all(self._current))
        try:
            self._next = {
                program.name: tuple(one for address in program.addresses for one in making.of(program.name, address))
                for program in settings.programs
            }
        except BaseException:
            making.undo()
            raise

    def settle(self, *, adopted: bool) -> None:
        """Close what is no longer needed: of the old sockets or of the new ones. Without new ones the old ones stay."""
        if self._next is None:
            return
        leaving, self._current = (self._current, self._next) if adopted else (self._next, self._current)
        self._next = None
        staying = _all(self._current)
        for listener in _all(leaving) - staying:
            listener.close()

    def of(self, program: str, *, fresh: bool = False) -> tuple[Listener, ...]:
        """Return the sockets of a program: those in use, or with ``fresh`` those that a restart is about to use."""
        generation = self._next if fresh and self._next is not None else self._current
        return generation.get(program, ())

    @property
    def inherited(self) -> Inherited:
        """Return what this process was started with."""
        return self._inherited

    def in_use(self) -> set[Listener]:
        """Return the sockets in use, whichever programs they belong to."""
        return _all(self._current)

    def addresses(self, *, fresh: bool = False) -> tuple[str, ...]:
        """Return where the daemon listens, in the order of the settings."""
        generation = self._next if fresh and self._next is not None else self._current
        return tuple(one.address for listeners in generation.values() for one in listeners)

    def leave(self, *, kept: bool) -> None:
        """Close all, since the daemon ends: workers accept who waits, and nobody new comes to be reset at the end.

        A socket that somebody holds who stays is left as it is: one that was inherited, or all where the service
        manager has them (``kept``). Whoever listens next accepts who waits there.
        """
        for listener in _all(self._current):
            if not kept and not self._inherited.holds(listener.socket):
                with suppress(OSError):  # without it a connection more may be reset
                    turn_away(listener.socket)
        self.close()

    def close(self) -> None:
        """Close all."""
        for listener in _all(self._current) | _all(self._next or {}):
            listener.close()
        self._current, self._next = {}, None
        self._inherited.close()


class _Making:
    """Find or make the listeners of one generation."""

    def __init__(self, directory: Path, inherited: Inherited, kept: set[Listener]) -> None:
        self._directory, self._inherited = directory, inherited
        self._kept = {one.key: one for one in kept}
        self._made: list[Listener] = []
        self._asked: dict[str, str] = {}

    def of(self, program: str, address: str) -> list[Listener]:
        """Return the listeners of one address of the settings: one, or as many as an inherited name means."""
        scheme, _, rest = address.partition(":")
        if scheme == "fd":
            return self._copies(address)
        if scheme == "unix":
            path = self._directory / rest
            return [self._listener(address, f"unix:{path}", partial(self._unix, path))]
        host, _, digits = address.rpartition(":")
        place = _resolve(host, port := int(digits))
        key = f"{place[1]}" if port else f"{program} {address}"
        return [self._listener(address, key, partial(self._tcp, host, port, place))]

    def undo(self) -> None:
        """Close what was made."""
        for one in self._made:
            one.close()

    def _listener(self, address: str, key: str, make: Callable[[str], Listener]) -> Listener:
        """Return what is there already, or else make it; refuse what another address of the settings means, too."""
        if (other := self._asked.get(key)) is not None:
            message = f"{address} and {other} in bind are one socket: one program listens on it, once"
            raise RejectedError(message)
        self._asked[key] = address
        if (there := self._kept.get(key)) is not None:
            return there
        self._made.append(made := make(key))
        return made

    def _copies(self, address: str) -> list[Listener]:
        numbers = self._inherited.numbers(address.removeprefix("fd://"))
        return [self._listener(address, f"fd://{number}", partial(self._copy, number)) for number in numbers]

    def _copy(self, number: int, key: str) -> Listener:
        one = self._inherited.copy(number)
        return Listener(one, _shown(one), key)

    def _tcp(self, host: str, port: int, place: _Place, key: str) -> Listener:
        found = self._inherited.bound_to(*place) if port else None
        listening = found or _bound(host, port, place, BACKLOG)
        return Listener(listening, _shown(listening), key)

    def _unix(self, path: Path, key: str) -> Listener:
        if (found := self._inherited.bound_to(socket.AF_UNIX, os.fspath(path))) is not None:
            return Listener(found, key, key)
        listening, release = bind_unix(path, BACKLOG)
        return Listener(listening, key, key, release)


def _handed(one: Listener) -> HandedSocket:
    device, inode = (0, 0) if one.release is None else (one.release.device, one.release.inode)
    return HandedSocket(one.socket.fileno(), one.address, one.key, device, inode)


def _resumed(handed: HandedSocket) -> Listener:
    listening = socket.socket(fileno=handed.descriptor)
    listening.setblocking(False)  # noqa: FBT003 - the signature of the standard library
    path = Path(handed.key.removeprefix("unix:"))
    file = UnixFile(path, handed.device, handed.inode) if handed.inode else None
    return Listener(listening, handed.address, handed.key, file)


def _all(generation: _Generation) -> set[Listener]:
    return {one for listeners in generation.values() for one in listeners}


def bind(host: str, port: int, backlog: int = BACKLOG) -> Listener:
    """Bind and listen on ``host`` (an IPv4 or IPv6 address, or a host name) and ``port`` (0: any free one).

    Raise ConflictError where somebody else holds the address, RejectedError where it can't be bound at all. The socket
    is non-blocking, closed on exec, and made with IPPROTO_TCP: with protocol 0 asyncio doesn't see that it is TCP and
    leaves Nagle's algorithm on. One of IPv6 takes no IPv4, so that ``0.0.0.0`` and ``[::]`` can both be bound.
    """
    listening = _bound(host, port, _resolve(host, port), backlog)
    return Listener(listening, _shown(listening))


def _bound(host: str, port: int, place: _Place, backlog: int) -> socket.socket:
    family, address = place
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        listening.bind(address)
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise _explain(error, host, port) from error
    return listening


def _resolve(bind: str, port: int) -> _Place:
    host = bind.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        message = f"{bind!r} can't be bound: it is neither an address nor a host name that resolves here ({error})"
        raise RejectedError(message) from error
    family, _, _, _, address = found[0]
    return family, address  # type: ignore[return-value]  # AF_INET and AF_INET6 only: SOCK_STREAM with a port


def _shown(listening: socket.socket) -> str:
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return f"unix:{name if isinstance(name, str) else '@' + os.fsdecode(name[1:])}"
    host, port = name[:2]
    return f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"


def _explain(error: OSError, bind: str, port: int) -> NexusError:
    if error.errno == errno.EADDRINUSE:
        holders = _holders(port)
        if (own := os.getpid()) in holders:
            return ConflictError(
                f"{bind} port {port} is already in use by pid {own} ({holders[own]}), this daemon itself: beside an "
                "address that it listens on, none that overlaps it can be bound; choose another port, or stop and "
                "start it"
            )
        named = f" by {', '.join(f'pid {pid} ({name})' for pid, name in holders.items())}" if holders else ""
        return ConflictError(
            f"{bind} port {port} is already in use{named}: stop what listens there, or choose another port "
            "with -b HOST:PORT or in [daemon] of daemon.toml"
        )
    if error.errno == errno.EACCES:
        return RejectedError(
            f"{bind} port {port} can't be bound without more rights: choose a port above 1023, or give the supervisor "
            "the right to bind it (CAP_NET_BIND_SERVICE)"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return RejectedError(
            f"{bind} is not an address of this machine: bind 127.0.0.1 (this machine only), 0.0.0.0 or [::] (all "
            "addresses of IPv4 or of IPv6), or one that `ip address` lists"
        )
    return RejectedError(f"{bind} port {port} can't be bound: {error.strerror}")


def _holders(port: int) -> dict[int, str]:
    """Return the processes that listen on the port, with their names, as far as this user may see them."""
    try:
        pids = sorted(
            {
                connection.pid
                for connection in psutil.net_connections(kind="tcp")
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
            }
        )
        return {pid: psutil.Process(pid).name() for pid in pids}
    except (psutil.Error, OSError):
        return {}
