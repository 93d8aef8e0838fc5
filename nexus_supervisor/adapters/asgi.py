"""ASGI applications: any of them, unmodified, in one worker.

Decided here: what surrounds an application: one snapshot for each request, headers on every response, counts, and an
end without a failed request. Not decided here: what the application answers, and when the worker is to end (the agent).

The end: from the order on, every response says ``Connection: close``; idle connections are given a moment to send their
next request and be told; nothing new is accepted then; what is in hand is finished, until the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import select
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    import socket

    from nexus_supervisor.agent import Agent, Request, Snapshot

__all__ = ["App", "Server", "Surrounded", "serve"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_logger = logging.getLogger(__name__)

_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_SERVER_ERROR = 500
_CLOSE = (b"connection", b"close")

_KEEP_ALIVE_SECONDS = 65  # longer than the 60 of common proxies, so that they close an idle connection and not we
_IDLE_SECONDS = 1.0  # how long an idle connection is given to be told, while draining
_LOOK_SECONDS = 0.02
_TICK_SECONDS = 0.1
_CANCEL_SECONDS = 0.5


def serve(agent: Agent, app: App) -> None:
    """Serve an application on the agent's listeners until the agent drains; ready once its lifespan has started."""
    logging.getLogger("uvicorn").setLevel(max(logging.getLogger().level, logging.WARNING))
    surrounded = Surrounded(agent, app)
    config = uvicorn.Config(
        surrounded,
        interface="asgi3",
        http=_protocol(surrounded),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    Server(config, agent).run(sockets=list(agent.listeners))


class Surrounded:
    """Surround an application: pin, headers, counts."""

    def __init__(self, agent: Agent, app: App) -> None:
        self._agent, self._app = agent, app
        self._worker = f"{agent.slot}/{agent.incarnation}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the lifespan is passed on as it is."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request = self._agent.request()
        with request as snapshot:
            answer = _Answer(self._agent, request, self.headers(snapshot), send)
            try:
                await self._app(scope, receive, answer.send)
            except Exception:
                request.failed = True
                if scope["type"] != "http" or (answer.begun and not answer.ended):
                    raise  # only the server can end what has begun: it closes the connection
                _logger.exception("the application raised an exception")
            if scope["type"] == "http" and not answer.begun:
                await answer.fail()

    def headers(self, snapshot: Snapshot | None = None) -> Headers:
        """Return the headers of every response; ``snapshot`` is the one that it is served with, or else the newest."""
        version = (snapshot or self._agent.current()).version
        return [(b"nexus-config-version", b"%d" % version), (b"nexus-worker", self._worker)]


class _Answer:
    """Send the answer to one request: add the headers, notice a server error."""

    __slots__ = ("_agent", "_headers", "_request", "_send", "begun", "ended")

    def __init__(self, agent: Agent, request: Request, headers: Headers, send: Send) -> None:
        self._agent, self._request, self._headers, self._send = agent, request, headers, send
        self.begun = self.ended = False

    async def send(self, message: Message) -> None:
        """Send one message of the application."""
        kind = message["type"]
        if kind in _STARTS:
            self.begun = True
            own = self._headers
            if self._agent.draining and kind != "websocket.accept":
                own = [*own, _CLOSE]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
            if message.get("status", 0) >= _SERVER_ERROR:
                self._request.failed = True
        elif kind == "http.response.body" and not message.get("more_body", False):
            self.ended = True
        await self._send(message)

    async def fail(self) -> None:
        """Answer 500 where the application has answered nothing."""
        _logger.error("the application answered nothing, so it is answered with 500")
        body = b"Internal Server Error"
        plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": 500, "headers": plain})
        await self.send({"type": "http.response.body", "body": body})


class Server(uvicorn.Server):
    """Run one application in this process, with an end that fails no request."""

    def __init__(self, config: uvicorn.Config, agent: Agent) -> None:
        super().__init__(config)
        self._agent = agent
        self._draining = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: a worker ends when its agent says so."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the lifespan, accept, and tell the supervisor."""
        await super().startup(sockets=sockets)
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
            _logger.warning("the drain timeout is over: %d requests are cut off", len(left))
            logging.getLogger("uvicorn.error").addFilter(_is_no_cut)
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_CANCEL_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.close()
        await self.lifespan.shutdown()

    async def _tick(self) -> None:
        """Say that the loop turns, and let uvicorn do what it does ten times a second."""
        counter = 0
        while True:
            self._agent.progress.tick()
            await self.on_tick(counter)
            counter += 1
            await asyncio.sleep(_TICK_SECONDS)


class _Ending:
    """End the connections of a server: those that are idle after a moment, the others when they have answered."""

    def __init__(self, server: Server, deadline: float) -> None:
        self._server, self._deadline = server, deadline
        self._idle_since: dict[Any, float] = {}

    async def wait(self) -> None:
        """Return when no connection and no task is left, or at the deadline."""
        began = now = time.monotonic()
        accepting, state = True, self._server.server_state
        while now < self._deadline:
            self._look(now)
            if accepting and (not self._idle_since or now - began >= _IDLE_SECONDS):
                accepting = False
                await self._stop_accepting()
            elif not (accepting or state.connections or state.tasks):
                return
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()

    async def _stop_accepting(self) -> None:
        """Accept nothing new. What asyncio has accepted is served: it would be dropped if its server closed at once."""
        for server in self._server.servers:
            for listener in server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
        await asyncio.sleep(_LOOK_SECONDS)
        for server in self._server.servers:
            server.close()

    def _look(self, now: float) -> None:
        """Close what was idle for long enough; a request that is waiting in the socket is no idleness."""
        idle = [one for one in self._server.server_state.connections if _is_idle(one)]
        self._idle_since = {one: self._idle_since.get(one, now) for one in idle}
        overdue = [one for one in idle if now - self._idle_since[one] >= _IDLE_SECONDS]
        for connection in overdue:
            if not _is_readable(connection.transport):
                connection.shutdown()


def _is_idle(connection: Any) -> bool:
    """Return whether a connection has nothing in hand; a WebSocket waits for the order to close like an idle one."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or bool(cycle.response_complete)


def _is_readable(transport: asyncio.Transport) -> bool:
    """Return whether bytes have arrived that the loop has not read yet."""
    if transport.is_closing():
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Return whether a log record is about anything else than a request that was cut off, which was said before."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _protocol(surrounded: Surrounded) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol, with our headers on the one answer that no application sees."""

    def send_400_response(connection: Any, message: str) -> None:
        body = message.encode()
        plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body)), _CLOSE]
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%s: %s" % one for one in [*plain, *surrounded.headers()])]
        connection.transport.write(b"\r\n".join([*lines, b"", body]))
        connection.transport.close()

    return type("MarkedProtocol", (AutoHTTPProtocol,), {"send_400_response": send_400_response})
