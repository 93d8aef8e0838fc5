"""Connections: uvicorn's two protocols, with what it leaves to whoever runs it.

Decided here: how much of a request may be incomplete and for how long, and that refusals which no application sees
carry our headers. Not decided here: which connections end with the worker (``server.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

if TYPE_CHECKING:
    import asyncio

    from nexus_supervisor.adapters.asgi import Surrounded

__all__ = ["BoundedProtocol", "http_protocol", "web_socket_protocol"]

MAX_INCOMPLETE_BYTES = 65_536
"""How much of a head, or of what frames a body in chunks, is taken before it is complete."""

_REPLY_SECONDS = 5.0  # how long the client of a WebSocket is given to answer that it is closed

_TOO_LONG = "The head of a request must not be longer than 64 KiB."


class BoundedProtocol(HttpToolsProtocol):
    """Be uvicorn's HTTP protocol, with bounds for what is no request yet."""

    surrounded: Surrounded
    incomplete, progress = 0, False
    opening: WeakSet[BoundedProtocol]
    """Connections that were accepted and aren't made yet: their TLS handshake is under way."""

    idle_since = 0.0
    """When it was last given something to do, or had done it: seconds of the loop's clock."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.accepted_at = self.loop.time()
        self.opening.add(self)

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.opening.discard(self)
        self.idle_since = self.loop.time()
        super().connection_made(transport)

    def data_received(self, received: bytes) -> None:
        """Take bytes, within the bounds of what is no request yet."""
        before, self.progress = self.cycle, False
        super().data_received(received)
        if self.progress or self.cycle is not before:
            self.incomplete = 0
            return
        self.incomplete += len(received)
        if self.incomplete > MAX_INCOMPLETE_BYTES and not self.transport.is_closing():
            self.send_400_response(_TOO_LONG)

    def on_response_complete(self) -> None:
        """Go on with the next request, if there is one."""
        # in place of uvicorn's, which starts a timer after each response and stops it at the first byte of the next
        # request: that costs a microsecond or two, and a head that comes byte by byte keeps a connection for ever
        self.server_state.total_requests += 1
        self.idle_since = self.loop.time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def end_idle(self, before: float) -> None:
        """Close the connection where nothing is in hand since a moment before that."""
        cycle: Any = self.cycle  # None before the first request
        if self.idle_since < before and (cycle is None or cycle.response_complete):
            self.transport.close()

    def on_body(self, part: bytes) -> None:
        """Notice that a request makes progress."""
        self.progress = True
        super().on_body(part)

    def send_400_response(self, message: str) -> None:
        """Refuse what is no request, and close."""
        cycle: Any = self.cycle
        if cycle is None or not cycle.response_started or cycle.response_complete:
            self.transport.write(_refusal(self.surrounded, message.encode()))
        self.transport.close()


def http_protocol(surrounded: Surrounded) -> type[asyncio.Protocol]:
    """Return the HTTP protocol of one surrounded application, whose headers its refusals carry."""
    return type("SurroundedProtocol", (BoundedProtocol,), {"surrounded": surrounded, "opening": WeakSet()})


def web_socket_protocol(surrounded: Surrounded) -> type[asyncio.Protocol]:  # noqa: C901 - one short method each
    """Return uvicorn's WebSocket protocol, with bounds for messages in fragments, and our headers on its rejections.

    ``leaving``: it was told to close, and what the client still sends is dropped until that has answered.
    """

    class BoundedWebSockets(AutoWebSocketsProtocol):  # type: ignore[misc, valid-type]  # chosen when it is imported
        leaving = False

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            reject = self.conn.reject

            def rejected(status: int, text: str) -> Any:
                response = reject(status, text)
                for name, value in surrounded.headers():
                    response.headers[name.decode()] = value.decode()
                return response

            self.conn.reject = rejected

        def shutdown(self) -> None:
            # uvicorn closes at once: the system then drops our last words where anything of the client's is unread
            if not self.handshake_complete or self.close_sent:
                super().shutdown()
                return
            self.leaving = True
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1012})
            self.conn.send_close(1012)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.resume_reading()
            self.close_timer = self.loop.call_later(_REPLY_SECONDS, self.transport.close)

        def send_receive_event_to_app(self) -> None:
            if self.leaving:
                self.frames.clear()
            else:
                super().send_receive_event_to_app()

        def handle_cont(self, event: Any) -> None:
            # uvicorn keeps each fragment as an object of its own: a byte each, 16 MiB of them are almost a gigabyte
            if len(self.frames) == 1:
                self.frames.append(bytearray())
            self.frames[1] += event.data
            if event.fin:
                self.send_receive_event_to_app()

    return BoundedWebSockets


def _refusal(surrounded: Surrounded, body: bytes) -> bytes:
    plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    headers = [*plain, (b"connection", b"close"), *surrounded.headers()]
    lines = [b"HTTP/1.1 400 Bad Request", *(b"%s: %s" % one for one in headers)]
    return b"\r\n".join([*lines, b"", body])
