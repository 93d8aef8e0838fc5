"""Connections: uvicorn's two protocols, with what it leaves to whoever runs it.

Decided here: how much of a request may be incomplete and for how long, and that refusals which no application sees
carry our headers. Not decided here: which connections end with the worker (``server.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

if TYPE_CHECKING:
    import asyncio

    from nexus_supervisor.adapters.asgi import Surrounded

__all__ = ["MAX_INCOMPLETE_BYTES", "http_protocol", "web_socket_protocol"]

MAX_INCOMPLETE_BYTES = 65_536
"""How much of a head, or of what frames a body in chunks, is taken before it is complete."""

_UNBOUNDED = hasattr(AutoHTTPProtocol, "on_headers_complete")  # httptools; h11 is given its bound by server.py
_TOO_LONG = "The head of a request must not be longer than 64 KiB."


def http_protocol(surrounded: Surrounded) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol, with bounds for what is no request yet, and our headers on its refusals."""

    class BoundedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # chosen when it is imported
        incomplete, progress = 0, False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

        def connection_lost(self, error: Exception | None) -> None:
            self._unset_keepalive_if_required()
            super().connection_lost(error)

        def data_received(self, received: bytes) -> None:
            # uvicorn stops its timer at the first byte: a head that comes byte by byte would keep a connection for ever
            timer, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
            before, self.progress = self.cycle, False
            super().data_received(received)
            begun = self.cycle is not before
            self.incomplete = 0 if begun or self.progress or not _UNBOUNDED else self.incomplete + len(received)
            if self.incomplete > MAX_INCOMPLETE_BYTES and not self.transport.is_closing():
                self.send_400_response(_TOO_LONG)
            if timer is not None:
                if begun or self not in self.connections:  # a request, or a WebSocket
                    timer.cancel()
                else:
                    self.timeout_keep_alive_task = timer

        def on_body(self, part: bytes) -> None:
            self.progress = True
            super().on_body(part)

        def send_400_response(self, message: str) -> None:
            if not (self.cycle and self.cycle.response_started and not self.cycle.response_complete):
                self.transport.write(_refusal(surrounded, message.encode()))
            self.transport.close()

    return BoundedProtocol


def web_socket_protocol(surrounded: Surrounded) -> type[asyncio.Protocol]:
    """Return uvicorn's WebSocket protocol, with bounds for messages in fragments, and our headers on its rejections."""

    class BoundedWebSockets(AutoWebSocketsProtocol):  # type: ignore[misc, valid-type]  # chosen when it is imported
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            reject = self.conn.reject

            def rejected(status: int, text: str) -> Any:
                response = reject(status, text)
                for name, value in surrounded.headers():
                    response.headers[name.decode()] = value.decode()
                return response

            self.conn.reject = rejected

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
