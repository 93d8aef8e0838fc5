"""The server: one surrounded application on the agent's listeners, from its lifespan's start to the last connection.

Decided here: how the worker begins and ends without a failed request. Not decided here: what surrounds the application
(``asgi.py``), what a connection may do (``connections.py``), and when the worker is to end (the agent).

The end: from the order on, every response says ``Connection: close``; idle connections are given a moment to send their
next request and be told, WebSockets are then closed with 1012 ("service restart"); nothing new is accepted from then
on; what is in hand is finished, until the deadline. Event streams have no end: at the deadline they get one. What else
is in hand then is cut off, and counted.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import select
import termios
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from nexus_supervisor.adapters.connections import BoundedProtocol, http_protocol, web_socket_protocol
from nexus_supervisor.errors import NexusError, UsageError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from nexus_supervisor.adapters.asgi import Surrounded
    from nexus_supervisor.agent import Agent

__all__ = ["run"]

_logger = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 65  # longer than the 60 of common proxies, so that they close an idle connection and not we
_IDLE_SECONDS = 1.0  # how long an idle connection is given to be told, while draining
_LOOK_SECONDS = 0.02
_TICK_SECONDS = 0.1
_TICKS_A_LOOK = 10  # between two looks for requests that are overdue
_CANCEL_SECONDS = 0.5
_HANDSHAKE_SECONDS = 3.0  # how long a connection that was just accepted is given for its TLS handshake, while draining
_CLOSING_SECONDS = 0.5  # how long a client of TLS is given to confirm that a connection is closed, while draining


def run(surrounded: Surrounded, agent: Agent) -> None:
    """Serve until the agent drains; ready once the application's lifespan has started.

    Raise UsageError where there is nothing to listen on, NexusError where the lifespan fails to start.
    """
    if not agent.listeners:
        message = (
            f"program {agent.program} accepts connections and needs an address: set bind in [daemon]; only a program "
            'that accepts none, such as jobs, runs with bind = ""'
        )
        raise UsageError(message)
    logging.getLogger("uvicorn").setLevel(max(logging.getLogger().level, logging.WARNING))
    config = uvicorn.Config(
        surrounded,
        interface="asgi3",
        http=http_protocol(surrounded),
        ws=web_socket_protocol(surrounded),
        workers=1,
        # who connects could claim any address: X-Forwarded-For and -Proto count where the environment says from whom
        proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,
        log_config=None,
        access_log=False,
        server_header=False,
    )
    if agent.tls is not None:
        from nexus_supervisor.adapters import tls  # what it needs, others do not

        config.load()
        config.ssl = tls.listening(lambda: agent.tls)
    _Server(config, surrounded, agent).run(sockets=list(agent.listeners))


class _Server(uvicorn.Server):
    """Run one application in this process, with an end that fails no request."""

    def __init__(self, config: uvicorn.Config, surrounded: Surrounded, agent: Agent) -> None:
        super().__init__(config)
        self._surrounded, self._agent = surrounded, agent
        self._draining = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: a worker ends when its agent says so."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the lifespan, accept, and tell the supervisor."""
        try:
            await super().startup(sockets=sockets)
        except SystemExit:
            message = f"application {self._agent.app!r} could not start: its lifespan failed, as was logged before this"
            raise NexusError(message) from None
        loop = asyncio.get_running_loop()

        def drain() -> None:
            with suppress(RuntimeError):  # the loop has ended before: there is nothing to drain
                loop.call_soon_threadsafe(self._draining.set)

        self._agent.on_drain(drain)
        self._agent.ready()

    async def main_loop(self) -> None:
        """Serve until draining begins, and for as long as connections are worth waiting for then."""
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(self._tick())
            await self._draining.wait()
            await _Ending(self, self._agent.drain.deadline or 0.0).wait()
            ticking.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut what is left after the deadline, then end the lifespan."""
        del sockets  # closed with their servers
        for server in self.servers:
            server.close()
        if left := list(self.server_state.tasks):
            before = self._surrounded.lost
            self._surrounded.cut_all()
            _, stuck = await asyncio.wait(left, timeout=_CANCEL_SECONDS)
            self._note_cut(self._surrounded.lost - before + len(stuck))
        for connection in list(self.server_state.connections):
            connection.transport.close()
        await self.lifespan.shutdown()

    def _note_cut(self, count: int) -> None:
        """Say how many requests were lost, here and to the supervisor."""
        if count:
            _logger.warning("the drain timeout is over: %d requests were cut off", count)
            self._agent.drain.note_cut(count)

    async def _tick(self) -> None:
        """Say that the loop turns, end what is overdue, and let uvicorn do what it does ten times a second."""
        counter, due = 0, time.monotonic()
        while True:
            self._agent.progress.tick(time.monotonic() - due)
            if counter % _TICKS_A_LOOK == 0:
                self._surrounded.cut_overdue(time.monotonic())
                self._end_idle()
            await self.on_tick(counter)
            counter += 1
            due = time.monotonic() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)

    def waiting(self) -> list[socket.socket]:
        """Accept and return every connection that waits for it."""
        accepted = []
        for listener in self._agent.listeners:
            with suppress(OSError):  # nobody waits any more, or who did has left
                while True:
                    accepted.append(listener.accept()[0])
        return accepted

    async def take(self, connection: socket.socket) -> None:
        """Serve a connection that was accepted."""
        protocol: Any = self.config.http_protocol_class
        make = partial(protocol, self.config, self.server_state, self.lifespan.state)
        connection.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        try:
            await asyncio.get_running_loop().connect_accepted_socket(make, connection, ssl=self.config.ssl)
        except OSError:
            connection.close()  # it has left, or broken its handshake off

    @property
    def opening(self) -> bool:
        """Return whether a connection that was accepted a moment ago isn't made yet."""
        since = asyncio.get_running_loop().time() - _HANDSHAKE_SECONDS
        protocol: Any = self.config.http_protocol_class
        return any(one.accepted_at > since for one in protocol.opening)

    def _end_idle(self) -> None:
        """Close connections on which nothing was asked for, or nothing whole, for a long time."""
        before = asyncio.get_running_loop().time() - _KEEP_ALIVE_SECONDS
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.end_idle(before)


class _Ending:
    """End the connections of a server: those that are idle after a moment, the others when they have answered."""

    def __init__(self, server: _Server, deadline: float) -> None:
        self._server, self._deadline = server, deadline
        self._idle_since: dict[Any, float] = {}
        self._closing_since: dict[Any, float] = {}

    async def wait(self) -> None:
        """Return when no connection and no task is left, or at the deadline."""
        began = now = time.monotonic()
        accepting, state = True, self._server.server_state
        while now < self._deadline:
            self._look(now)
            if accepting and (not self._idle_since or now - began >= _IDLE_SECONDS):
                accepting = False
                await self._stop_accepting()
            elif not (accepting or state.connections or state.tasks or self._server.opening):
                return
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()

    async def _stop_accepting(self) -> None:
        """Accept nothing new. What asyncio has accepted is served: it would be dropped if its server closed at once.

        So is who waits to be accepted at the end, whom nobody else may accept where the whole daemon stops.
        """
        for server in self._server.servers:
            for listener in server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
        await asyncio.sleep(_LOOK_SECONDS)
        waiting = [self._server.take(connection) for connection in self._server.waiting()]
        for server in self._server.servers:
            server.close()
        await asyncio.gather(*waiting)

    def _look(self, now: float) -> None:
        """Close what was idle for long enough; a request that is waiting in the socket is no idleness."""
        idle = [one for one in self._server.server_state.connections if _is_idle(one)]
        self._idle_since = {one: self._idle_since.get(one, now) for one in idle}
        overdue = [one for one in idle if now - self._idle_since[one] >= _IDLE_SECONDS]
        for connection in overdue:
            if _is_web_socket(connection) or not _is_readable(connection.transport):
                connection.shutdown()
        if self._server.config.ssl is not None:
            self._end_closing(now)

    def _end_closing(self, now: float) -> None:
        """Drop what is closed but for the client's confirmation (close_notify), which an idle one may never send."""
        closing = [one for one in self._server.server_state.connections if one.transport.is_closing()]
        self._closing_since = {one: self._closing_since.get(one, now) for one in closing}
        for connection in closing:
            if now - self._closing_since[connection] >= _CLOSING_SECONDS and _is_delivered(connection.transport):
                connection.transport.abort()


def _is_web_socket(connection: Any) -> bool:
    """Return whether a connection has become a WebSocket: it waits for the order to close like an idle one."""
    return not hasattr(connection, "cycle")


def _is_idle(connection: Any) -> bool:
    """Return whether a connection has nothing in hand and isn't closing yet."""
    if connection.transport.is_closing():
        return False
    if _is_web_socket(connection):
        return bool(connection.handshake_complete) and not connection.leaving
    return connection.cycle is None or bool(connection.cycle.response_complete)


def _is_readable(transport: asyncio.Transport) -> bool:
    """Return whether bytes have arrived that the loop has not read yet."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _is_delivered(transport: asyncio.Transport) -> bool:
    """Return whether the client's system has taken all that was sent; False where nobody knows."""
    left = bytearray(4)
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, left)
    except (OSError, ValueError):
        return False
    return not any(left)
