"""Listening sockets: bound once by the supervisor, handed to every worker.

Decided here: how a socket is made and what is said when it can't be. Not decided here: who accepts on it. There is one
socket for all workers (no SO_REUSEPORT): a connection that a dying worker left in its queue would be lost, one in a
shared queue is taken by a sibling.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import psutil

from nexus_supervisor.errors import ConflictError, NexusError, RejectedError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Listener", "bind", "bound"]


@dataclass(frozen=True, slots=True)
class Listener:
    """Hold one listening socket. ``address`` is ``host:port`` as bound, ``[host]:port`` for IPv6."""

    socket: socket.socket = field(repr=False)
    address: str

    @property
    def port(self) -> int:
        """Return the port that was bound, also where port 0 was asked for."""
        return int(self.address.rpartition(":")[2])

    def close(self) -> None:
        """Close this process's descriptor; workers that hold the socket go on accepting."""
        self.socket.close()

    def __enter__(self) -> Self:
        """Return the listener itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def bound(bind_to: str, port: int) -> tuple[Listener, ...]:
    """Return the listeners of the settings: one, or none where ``bind_to`` is empty; raise what ``bind`` raises."""
    return (bind(bind_to, port),) if bind_to else ()


def bind(bind: str, port: int, backlog: int = 2048) -> Listener:
    """Bind and listen on ``bind`` (an IPv4 or IPv6 address, or a host name) and ``port`` (0: any free one).

    Raise ConflictError where somebody else holds the address, RejectedError where it can't be bound at all. The socket
    is non-blocking, closed on exec, and made with IPPROTO_TCP: with protocol 0 asyncio doesn't see that it is TCP and
    leaves Nagle's algorithm on.
    """
    family, address = _resolve(bind, port)
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        listening.bind(address)
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise _explain(error, bind, port) from error
    return Listener(listening, _shown(listening))


def _resolve(bind: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]:
    host = bind.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        message = f"{bind!r} can't be bound: it is neither an address nor a host name that resolves here ({error})"
        raise RejectedError(message) from error
    family, _, _, _, address = found[0]
    return family, address  # type: ignore[return-value]  # AF_INET and AF_INET6 only: SOCK_STREAM with a port


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"


def _explain(error: OSError, bind: str, port: int) -> NexusError:
    if error.errno == errno.EADDRINUSE:
        return ConflictError(
            f"{bind} port {port} is already in use{_holders(port)}: stop what listens there, or choose another port "
            "with -b HOST:PORT or in [daemon] of daemon.toml"
        )
    if error.errno == errno.EACCES:
        return RejectedError(
            f"{bind} port {port} can't be bound without more rights: choose a port above 1023, or give the supervisor "
            "the right to bind it (CAP_NET_BIND_SERVICE)"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return RejectedError(
            f"{bind} is not an address of this machine: bind 127.0.0.1 (this machine only), 0.0.0.0 or :: (all "
            "addresses), or one that `ip address` lists"
        )
    return RejectedError(f"{bind} port {port} can't be bound: {error.strerror}")


def _holders(port: int) -> str:
    """Name the processes that listen on the port, as far as this user may see them."""
    try:
        pids = sorted(
            {
                connection.pid
                for connection in psutil.net_connections(kind="tcp")
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
            }
        )
        named = [f"pid {pid} ({psutil.Process(pid).name()})" for pid in pids]
    except (psutil.Error, OSError):
        return ""
    return f" by {', '.join(named)}" if named else ""
