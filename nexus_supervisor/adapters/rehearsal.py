"""A rehearsal of the server: one request of nobody, answered by the real server, before workers are forked.

Decided here: what is gone through. Not decided here: when (``agent/zygote.py``), and what the server does.

No worker then makes what the server makes at its first use, nor has it in memory of its own. The application that
answers is ours and the user's isn't called: it may do anything at its first request. Nothing stays open but the pipe
that libuv keeps for signals, which it makes anew in each process that is forked.
"""

from __future__ import annotations

import inspect
import socket
import time
from contextlib import suppress
from importlib import import_module
from sys import modules
from typing import TYPE_CHECKING

from nexus_supervisor.adapters import server
from nexus_supervisor.adapters.asgi import Surrounded
from nexus_supervisor.agent.drain import DrainState
from nexus_supervisor.agent.rehearsal import unattended

if TYPE_CHECKING:
    from nexus_supervisor.adapters.asgi import Receive, Scope, Send

__all__ = ["rehearse"]

_LATE = {"fastapi": ("fastapi.telemetry._runtime",)}
"""What frameworks import at an application's first request, where they do."""

_REQUEST = b"GET / HTTP/1.1\r\nhost: rehearsal\r\nconnection: close\r\n\r\n"
_PATIENCE_SECONDS = 1.0


def rehearse() -> None:
    """Serve one request on a socket of this machine's own, from the start of a server to its end."""
    with suppress(OSError):  # there is only bytecode
        inspect.getsource(rehearse)  # as frameworks do with what they call: the first time compiles large patterns
    for framework in _LATE.keys() & modules.keys():
        for late in _LATE[framework]:
            with suppress(ModuleNotFoundError):  # another version of it
                import_module(late)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        client.sendall(_REQUEST)
        drain = _Drain()
        with unattended((listener,), drain) as agent:
            server.run(Surrounded(agent, _Application(drain)), agent)


class _Application:
    """Answer, and have the server end."""

    def __init__(self, drain: DrainState) -> None:
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        if scope["type"] != "lifespan":
            headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"{}"})
            self._drain.begin(_PATIENCE_SECONDS)
        elif message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})


class _Drain(DrainState):
    """Begin to drain without the thread that would end this process at the deadline."""

    def begin(self, timeout_seconds: float) -> None:
        self._deadline = time.monotonic() + timeout_seconds
        self._begun.set()
        for callback in self._callbacks:
            callback()
