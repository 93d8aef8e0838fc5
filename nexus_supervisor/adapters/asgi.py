"""ASGI applications: any of them, unmodified, in one worker.

Decided here: what surrounds an application: one snapshot for each request, headers on every response, counts, and the
end of a request that holds its snapshot for too long. Not decided here: what the application answers, and how the
worker begins and ends (``server.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, cast

from nexus_supervisor.adapters import server
from nexus_supervisor.agent import Request, current

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent, Snapshot

__all__ = ["App", "Message", "Receive", "Scope", "Send", "Surrounded", "serve"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

_logger = logging.getLogger(__name__)

_STARTS = frozenset({"websocket.accept", "websocket.http.response.start"})
_BODIES = frozenset({"http.response.body", "websocket.http.response.body"})
_DEPARTURES = frozenset({"http.disconnect", "websocket.disconnect"})
_SERVER_ERROR, _UNAVAILABLE = 500, 503
_INTERNAL_ERROR, _SERVICE_RESTART = 1011, 1012  # of WebSockets: RFC 6455, section 7.4.1, and its registry
_CLOSE = (b"connection", b"close")


def serve(agent: Agent, app: App) -> None:
    """Serve an application on the agent's listeners until the agent drains; ready once its lifespan has started."""
    logging.getLogger("uvicorn.error").addFilter(_is_no_cut)
    server.run(Surrounded(agent, app), agent)


class Surrounded:
    """Surround an application: pin, headers, counts, and an end for what is overdue."""

    def __init__(self, agent: Agent, app: App) -> None:
        self.agent, self._app = agent, app
        self._worker = f"{agent.slot}/{agent.incarnation}".encode()
        self._headers: tuple[int, Headers] = 0, ()
        self.closing = False
        """Whether the worker is to end, so that connections are to close."""
        self.lost = 0
        """How many requests were cut off that somebody waited for."""
        agent.on_drain(self._close)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or lead the application through its lifespan."""
        if scope["type"] not in ("http", "websocket"):
            await self._live(scope, receive, send)
            return
        answer = _Answer(self, scope, receive, send)
        with answer:
            if scope["type"] == "websocket":
                answer.untimed()
            try:
                await self._app(scope, answer.receive, answer.send)
                if not answer.begun:
                    await answer.returned()
            except asyncio.CancelledError as error:
                if answer.cut:
                    answer.task.uncancel()
                    await answer.cut_off()
                elif answer.task.cancelling():
                    raise
                else:
                    await answer.raised(error)
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - logged and counted
                await answer.raised(error)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the lifespan on as it is; say what the server doesn't where it ends by an exception."""
        sent = ""

        async def noted(message: Message) -> None:
            nonlocal sent
            sent = message["type"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if sent:
                self.agent.erred(current().version, error)
            if not sent:
                _logger.info("the application has no lifespan: it raised %s", type(error).__name__)
            elif not sent.endswith(".failed"):  # that was said with its reason
                _logger.exception("the application raised an exception in its lifespan")
            raise

    def headers(self, snapshot: Snapshot | None = None) -> Headers:
        """Return the headers of a response that this snapshot answers, or else the one of this context."""
        snapshot = snapshot or current()
        version = snapshot.version
        if self._headers[0] != version:
            digest = snapshot.digest[:12].encode()
            named = (b"nexus-config-version", b"%d" % version), (b"nexus-config-digest", digest)
            self._headers = version, (*named, (b"nexus-worker", self._worker))
        return self._headers[1]

    def cut_all(self) -> None:
        """Cut off every request that is in hand."""
        for answer in self._in_hand():
            answer.cut_short()

    def cut_overdue(self, now: float) -> None:
        """Cut off the requests whose snapshot was replaced too long ago."""
        limit = self.agent.max_snapshot_seconds
        if not limit:
            return
        for answer in self._in_hand(now - limit):
            if not answer.cut and (overdue := answer.overdue(now, limit)):
                _logger.error("%s", overdue)
                answer.cut_short()

    def _in_hand(self, replaced_before: float | None = None) -> list[_Answer]:
        """Return the requests that are in hand; with a moment, those whose snapshot was replaced before it."""
        return [cell for cell in self.agent.holder.cells(replaced_before) if isinstance(cell, _Answer)]

    def _close(self) -> None:
        self.closing = True


class _Answer(Request):
    """Be a request and what it is answered through: add the headers, and know how far the answer is."""

    __slots__ = (
        "_receive",
        "_scope",
        "_send",
        "_start",
        "_surrounded",
        "accepted",
        "begun",
        "cut",
        "ended",
        "gone",
        "task",
    )

    def __init__(self, surrounded: Surrounded, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(surrounded.agent)
        self._surrounded, self._scope, self._receive, self._send = surrounded, scope, receive, send
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())  # the server answers each request in a task
        self.begun = self.accepted = self.ended = self.gone = self.cut = False
        self._start: Message | None = None

    async def receive(self) -> Message:
        """Return the next message for the application; notice where it says that the client has left."""
        message = await self._receive()
        if message["type"] in _DEPARTURES and not self.ended:
            self.gone = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send one message of the application."""
        if self.cut:
            raise _Cut
        kind = message["type"]
        if kind == "http.response.start":  # the server takes it as it is: nothing to wait for here
            self.begun, self._start = True, message
            self.answered()
            return self._send(self._marked(message))
        return self._sent(kind, message)

    async def _sent(self, kind: str, message: Message) -> None:
        if kind in _STARTS:
            self.begun, self.accepted = True, kind == "websocket.accept"
            message = self._marked(message)
        last = kind == "websocket.close" or (kind in _BODIES and not message.get("more_body", False))
        try:
            await self._send(message)
        except OSError:  # how a server says that nobody receives any more
            self.gone = True
            raise
        self.begun, self.ended = self.begun or last, self.ended or last

    async def returned(self) -> None:
        """Take notice that the application has returned before it has answered."""
        if not self.gone:
            self.failed = True
            _logger.error("the application answered nothing, so it is answered with 500")
            await self._end(_SERVER_ERROR, "Internal Server Error", _INTERNAL_ERROR)

    async def raised(self, error: BaseException) -> None:
        """Take notice that the application has raised an exception."""
        if self.gone and _is_departure(error):
            _logger.info("the client left before the answer was complete (%s)", type(error).__name__)
            return
        self.erred(error)
        _logger.error("the application raised an exception", exc_info=error)
        if not self.gone:
            await self._end(_SERVER_ERROR, "Internal Server Error", _INTERNAL_ERROR)

    def overdue(self, now: float, limit: float) -> str:
        """Say in words that the snapshot was replaced too long ago, if so, and count that as an error."""
        replaced_at, snapshot = self.replaced_at, self.snapshot
        if replaced_at is None or snapshot is None or now - replaced_at <= limit:
            return ""
        self.failed = True
        # the path may hold a secret; what answers it, where the framework says so, does not
        endpoint = getattr(self._scope.get("endpoint"), "__qualname__", "")
        return (
            f"a request ({self._scope.get('method', 'WebSocket')}{endpoint and f' for {endpoint}'}) is cut off: it "
            f"goes on with version {snapshot.version}, which was replaced {now - replaced_at:.0f} seconds ago, and "
            f"supervisor.limits.max_snapshot_seconds is {limit:g}; a long stream takes the newest version by refresh()"
        )

    def cut_short(self) -> None:
        """Take the request away from the application, which learns that as any task does that is canceled."""
        self.cut = True
        self.task.cancel()

    async def cut_off(self) -> None:
        """End what was cut off as well as the protocol allows; a stream of events can end anywhere."""
        if self._is_event_stream() and not self.ended:
            await self._send({"type": "http.response.body", "body": b""})
            return
        self._surrounded.lost += not self.gone
        await self._end(_UNAVAILABLE, "This request took too long and was ended; send it again.", _SERVICE_RESTART)

    def _is_event_stream(self) -> bool:
        """Return whether the answer is a stream of events, whose client comes back by itself (EventSource)."""
        headers = self._start["headers"] if self._start is not None and "headers" in self._start else ()
        kinds = (value for name, value in headers if name.lower() == b"content-type")
        return any(kind.lower().startswith(b"text/event-stream") for kind in kinds)

    async def _end(self, status: int, text: str, code: int) -> None:
        """Say what the protocol still allows: a status, or a WebSocket's code; else have the connection closed."""
        if self.accepted and not self.ended:
            await self._send({"type": "websocket.close", "code": code})
        elif self._scope["type"] == "http" and not self.begun:
            body = text.encode()
            plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
            await self._send(self._marked({"type": "http.response.start", "status": status, "headers": plain}))
            await self._send({"type": "http.response.body", "body": body})
        elif not self.ended:
            raise _Cut

    def _marked(self, message: Message) -> Message:
        """Return the start of an answer with our headers; take notice of a server error."""
        headers = [*message.get("headers", ()), *self._surrounded.headers(self.snapshot)]
        if self._surrounded.closing and message["type"] != "websocket.accept":
            headers.append(_CLOSE)
        if message.get("status", 0) >= _SERVER_ERROR:
            self.failed = True
        return {**message, "headers": headers}


class _Cut(BaseException):
    """Have the server close a connection whose answer ends before its end; no application catches it by accident."""


def _is_departure(error: BaseException) -> bool:
    """Return whether an exception is how a server or a framework says that the client has left."""
    return isinstance(error, OSError) or "Disconnect" in type(error).__name__


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Return whether a log record is about anything else than an answer that was cut off, which was said before."""
    return not (record.exc_info and isinstance(record.exc_info[1], _Cut | asyncio.CancelledError))
