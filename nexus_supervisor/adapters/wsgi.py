"""WSGI applications: unmodified, in threads of one worker, under the same server as ASGI applications.

Decided here: how one request travels between the loop, which talks to the client, and the thread that runs the
application (PEP 3333). Not decided here: what surrounds a request (``asgi.py``): its snapshot is given back when this
returns, which is after the thread has closed the response iterable, whatever happened before.

The thread waits until what it sent has been taken, so nothing grows where a client reads slowly. Where the client has
left or the request is cut off, its next write and its next read fail; a thread that does neither can't be ended.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from nexus_supervisor.adapters import asgi

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from nexus_supervisor.adapters.asgi import Message, Receive, Scope, Send
    from nexus_supervisor.agent import Agent

__all__ = ["App", "Bridge", "serve"]

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Callable[[bytes], None]]], Iterable[bytes]]

_logger = logging.getLogger(__name__)

_STATUS = re.compile(r"[2-5][0-9]{2}(?![0-9])")
_NAME, _VALUE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"), re.compile(r"[\t -~\x80-\xff]*")  # RFC 9110, section 5
_STRAYS = (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)
_MAX_LINE_CHARACTERS = 8_192  # of wsgi.errors; what is longer becomes several lines


def serve(agent: Agent, app: App) -> None:
    """Serve an application on the agent's listeners until the agent drains, ``agent.threads`` requests at a time."""
    asgi.serve(agent, Bridge(app, agent.threads))


class Bridge:
    """Be the ASGI application that a WSGI application is, in threads. It has no lifespan and takes no WebSocket."""

    def __init__(self, app: App, threads: int) -> None:
        self._app = app
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="nexus-wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await _Exchange(self._app, scope, receive, send).run(self._pool)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})


class _LeftError(OSError):
    """Say to the application that nobody waits for the answer any more."""


class _Exchange:
    """Carry one request: ``run`` and what is called by it belongs to the loop, ``_work`` to a thread of the pool."""

    def __init__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._body = _Body(self._ask)
        self._response = _Response(app, self._tell)
        self._parcels: asyncio.Queue[tuple[Message, ...] | None] = asyncio.Queue()
        self._taken: SimpleQueue[BaseException | None] = SimpleQueue()
        self._left = False

    async def run(self, pool: ThreadPoolExecutor) -> None:
        """Run the application in the pool and send what it says; return when the thread is done with the request."""
        watching = self._loop.create_task(self._watch())
        work = pool.submit(copy_context().run, self._work)
        work.add_done_callback(self._note_end)
        cut: asyncio.CancelledError | None = None
        try:
            while True:
                try:
                    if (parcel := await self._parcels.get()) is None:
                        break
                    await self._deliver(parcel)
                except asyncio.CancelledError as error:  # the thread is told, and waited for: it uses the snapshot
                    cut = error
                    self._leave()
                    work.cancel()
            if cut is not None:
                raise cut
            work.result()
        finally:
            watching.cancel()
            # no circles: an exception of the application refers to this frame, and these two to this object
            del work, cut, self._body, self._response

    def _take(self, parcel: tuple[Message, ...]) -> None:
        """Take messages of the thread. The client may leave: to learn that, one part of the body is read ahead."""
        self._parcels.put_nowait(parcel)
        if self._body.starving:
            self._asked.set()

    async def _deliver(self, parcel: tuple[Message, ...]) -> None:
        """Send messages of the thread, and tell it whether that went well."""
        failure: BaseException | None = _LeftError("nobody waits for it any more") if self._left else None
        try:
            if failure is None:
                for message in parcel:
                    await self._send(message)
        except asyncio.CancelledError:
            failure = _LeftError("the request was cut off")
            raise
        except Exception as error:  # noqa: BLE001 - it is the application that did what can't be sent
            failure = error
        finally:
            self._taken.put(failure)
            del failure

    async def _watch(self) -> None:
        """Bring the body as it is asked for; then wait for the end of the response, or of the client."""
        more = True
        if not _has_body(self._scope):
            self._asked.set()
        while more:
            await self._asked.wait()
            self._asked.clear()
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                return
            more = message.get("more_body", False)
            self._body.bring(message.get("body", b""), more=more)
        await self._receive()
        self._leave()

    def _leave(self) -> None:
        """Let the thread find out that nobody waits for the answer any more."""
        self._left = True
        self._body.bring(None)

    def _note_end(self, _: Future[None]) -> None:
        self._loop.call_soon_threadsafe(self._parcels.put_nowait, None)

    # --- in the thread ---

    def _work(self) -> None:
        """Answer the request. That nobody waits any more is no error of the application."""
        if self._left:
            return
        errors = _Errors()
        try:
            self._response.give(environ_of(self._scope, io.BufferedReader(self._body), errors))
        except _LeftError as error:
            _logger.info("the answer is not complete: %s", error)
        except _STRAYS as error:  # in a thread they would end nothing, in the loop more than the request
            message = f"the application raised {type(error).__name__}"
            raise RuntimeError(message) from error
        finally:
            errors.flush()

    def _ask(self) -> None:
        self._loop.call_soon_threadsafe(self._asked.set)

    def _tell(self, *messages: Message) -> None:
        """Have messages sent, and wait until that is done; raise what went wrong."""
        self._loop.call_soon_threadsafe(self._take, messages)
        if (failure := self._taken.get()) is not None:
            raise failure


class _Response:
    """Be the server's side of PEP 3333: the head goes out with the first part of the body, and only once."""

    def __init__(self, app: App, tell: Callable[..., None]) -> None:
        self._app, self._tell = app, tell
        self._head: Message | None = None
        self._length: int | None = None
        self._bodiless = False
        self._sent = -1  # bytes of the body; -1 before the head was sent

    def give(self, environ: Environ) -> None:
        """Call the application, send what it returns, and close that."""
        parts = self._app(environ, self._start)
        try:
            for part in parts:
                self._write(part)
            if self._sent < 0 or self._sent != self._length:
                self._put(b"", more=False)
        finally:
            if (close := getattr(parts, "close", None)) is not None:
                close()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[..., None]:
        """Take the head of the response; after an exception another one, as long as none was sent."""
        if exc_info is None and self._head is not None:
            message = "start_response was called twice, the second time without exc_info"
            raise RuntimeError(message)
        if exc_info is not None and self._sent >= 0:
            try:
                raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # its traceback refers to this frame: no circle
        if not _STATUS.match(status):
            message = f'a status begins with three digits, like "200 OK"; found {status!r}'
            raise ValueError(message)
        self._bodiless, self._length, encoded = status[:3] in ("204", "304"), None, []
        for name, value in headers:
            if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
                message = f"header {name!r} has characters that no header may have, in its name or in its value"
                raise ValueError(message)
            if name.lower() == "content-length":
                if self._bodiless:  # what it would be; the server takes it for what is to come
                    continue
                self._length = int(value)
            encoded.append((name.encode("latin-1"), value.encode("latin-1")))
        self._head = {"type": "http.response.start", "status": int(status[:3]), "headers": encoded}
        return self._write

    def _write(self, part: Any) -> None:
        """Send one part of the body; where that is all that Content-Length announced, the response is complete."""
        if not isinstance(part, bytes):
            message = f"a WSGI response consists of bytes, found {type(part).__name__}"
            raise TypeError(message)
        if not part or self._bodiless:
            return
        total = max(self._sent, 0) + len(part)
        if self._length is not None and total > self._length:
            message = f"the response is longer than the {self._length} bytes that its Content-Length says"
            raise RuntimeError(message)
        self._put(part, more=total != self._length)

    def _put(self, part: bytes, *, more: bool) -> None:
        if self._head is None:
            message = "the application returned a response before it called start_response"
            raise RuntimeError(message)
        body = {"type": "http.response.body", "body": part, "more_body": more}
        head = () if self._sent >= 0 else (self._head,)
        self._sent = max(self._sent, 0) + len(part)
        self._tell(*head, body)


class _Body(io.RawIOBase):
    """Be the body of the request: the thread asks for the next part, the loop brings it."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._parts: SimpleQueue[tuple[bytes, bool] | None] = SimpleQueue()
        self._rest, self._more = memoryview(b""), True

    def bring(self, part: bytes | None, *, more: bool = False) -> None:
        """Bring a part, or None where there will be none because the client has left."""
        self._parts.put(None if part is None else (part, more))

    @property
    def starving(self) -> bool:
        """Return whether the next part must be asked for."""
        return self._parts.empty()

    def readable(self) -> bool:
        """Say that this is for reading."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer with what is there, and wait where nothing is; return 0 at the end."""
        while not self._rest and self._more:
            if self.starving:
                self._ask()
            part = self._parts.get()
            if part is None:
                self._parts.put(None)
                message = "the client left before the body of its request was complete"
                raise _LeftError(message)
            self._rest, self._more = memoryview(part[0]), part[1]
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._rest))
        target[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


class _Errors(io.TextIOBase):
    """Be ``wsgi.errors``: each line becomes a log record."""

    def __init__(self) -> None:
        self._line = ""

    def write(self, text: str, /) -> int:
        """Log every line that is complete."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            _logger.error("%s", line)
        if len(self._line) > _MAX_LINE_CHARACTERS:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Log what isn't a line yet."""
        if self._line:
            _logger.error("%s", self._line)
            self._line = ""


def environ_of(scope: Scope, body: io.BufferedReader, errors: io.TextIOBase) -> Environ:
    """Return the environment of one request (PEP 3333). Header names with ``_`` are left out: they pass for others."""
    root = scope.get("root_path", "").encode().decode("latin-1")
    raw_path = scope.get("raw_path") or scope["path"].encode()
    host, port = scope.get("server") or ("localhost", None)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root,
        "PATH_INFO": unquote_to_bytes(raw_path).decode("latin-1").removeprefix(root),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.input_terminated": True,  # it ends where the body ends, also where no Content-Length says so
        "wsgi.errors": errors,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = scope["client"][0], str(scope["client"][1])
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").upper(), raw_value.decode("latin-1")
        if "_" in name:
            continue
        key = name.replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        if key in environ:
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value
    return environ


def _has_body(scope: Scope) -> bool:
    """Return whether a body may follow the head of a request."""
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
