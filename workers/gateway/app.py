"""The gateway as an ASGI application: routes, the order of the checks of a request, and its one answer.

Decided here: which route answers what, and that the checks go from cheap and telling nothing (key) to costly (body,
disk). Not decided here: each check (``permissions.py``, ``bodies.py``, ``records.py``) and the server around it
(``nexus_supervisor.adapters.asgi``, which also adds the headers that every answer carries).

Every request takes its snapshot once, at its start, and uses no other.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from . import bodies, records
from .answers import Answer, Refused, Send, problem, send_answer
from .keyring import identify, presented_key
from .once import once
from .permissions import check_question, check_reader, target_of_write
from .questions import question, search_of
from .storage import ReusedKeyError, UnavailableError

if TYPE_CHECKING:
    from .destinations import Destinations
    from .keyring import GatewaySnapshot
    from .models import Source
    from .storage import Once
    from .surroundings import Surroundings

__all__ = ["Gateway"]

Scope = MutableMapping[str, Any]
Handle = Callable[[Scope, bodies.Receive], Awaitable[Answer]]

_BODY_TIMEOUT_SECONDS = 30.0
_LARGE_BODY_BYTES = 64 * 1024
"""Bodies over this are decoded in a thread: the event loop has other requests to serve."""


class Gateway:
    """Answer HTTP requests as contract and policy of the current snapshot say."""

    def __init__(self, surroundings: Surroundings, destinations: Destinations) -> None:
        self._surroundings = surroundings
        self._destinations = destinations
        reading = ("GET", "HEAD")
        self._routes: dict[tuple[str, bool], tuple[tuple[str, ...], Handle]] = {
            ("health", False): (reading, self._health),
            ("ready", False): (reading, self._ready),
            ("whoami", False): (reading, self._whoami),
            ("inbound", True): (("POST",), self._inbound),
            ("query", True): (reading, self._query),
        }
        """By first part of the path, and whether a name follows it."""

    async def __call__(self, scope: Scope, receive: bodies.Receive, send: Send) -> None:
        """Serve one HTTP request, or the life of the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: bodies.Receive, send: Send) -> None:
        await receive()
        self._destinations.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._destinations.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: bodies.Receive, send: Send) -> None:
        try:
            answer = await self._handle_of(scope)(scope, receive)
        except Refused as refused:
            answer = refused.answer
        except Exception:
            await send_answer(send, problem(500, "internal", "the gateway failed to serve this request").answer)
            raise
        await send_answer(send, answer)

    def _handle_of(self, scope: Scope) -> Handle:
        """Return what serves this path and method; raise Refused (404 or 405)."""
        root, slash, name = scope["path"].removeprefix("/").partition("/")
        route = self._routes.get((root, bool(slash)))
        if route is None or (slash and (not name or "/" in name)):
            raise problem(404, "no_route", "there is nothing at this path")
        methods, handle = route
        if scope["method"] not in methods:
            allowed = ", ".join(methods)
            detail = f"this path answers {allowed} only"
            raise problem(405, "method", detail, {"Allow": allowed})
        return handle

    async def _health(self, _scope: Scope, _receive: bodies.Receive) -> Answer:
        return Answer.of(200, {"status": "ok"})

    async def _ready(self, _scope: Scope, _receive: bodies.Receive) -> Answer:
        if self._surroundings.draining():
            raise problem(503, "draining", "this worker finishes what it has and takes nothing new")
        if not self._surroundings.complete():
            raise problem(503, "starting", "the daemon has not yet written its first version to disk")
        if trouble := await self._destinations.trouble():
            raise problem(503, "destination", trouble)
        return Answer.of(200, {"status": "ready"})

    async def _whoami(self, scope: Scope, _receive: bodies.Receive) -> Answer:
        snapshot = self._surroundings.current()
        source = self._authenticated(snapshot, scope)
        document = {
            "source": source.name,
            "namespace": source.namespace,
            "config_version": snapshot.version,
            "worker": self._surroundings.worker,
            "pid": self._surroundings.pid,
        }
        return Answer.of(200, document)

    async def _inbound(self, scope: Scope, receive: bodies.Receive) -> Answer:
        snapshot = self._surroundings.current()
        source = self._authenticated(snapshot, scope)
        target = target_of_write(source, scope["path"].rpartition("/")[2])
        raw = await self._body(source, scope, receive)
        if len(raw) > _LARGE_BODY_BYTES:
            record, repeated = await asyncio.to_thread(self._made, source, scope, raw)
        else:
            record, repeated = self._made(source, scope, raw)
        stored = await self._stored(target, record, repeated)
        return Answer.of(201 if stored == record.id else 200, {"id": stored})

    async def _query(self, scope: Scope, _receive: bodies.Receive) -> Answer:
        snapshot = self._surroundings.current()
        source = self._authenticated(snapshot, scope)
        destination = scope["path"].rpartition("/")[2]
        check_reader(source, destination, snapshot.destinations)
        asked = question(source, scope["query_string"])
        check_question(source, asked)
        self._count(source, 0)
        try:
            found = await self._destinations.search(destination, search_of(source, asked))
        except UnavailableError as error:
            raise _unavailable(destination, error) from None
        return Answer(200, found.document())

    def _authenticated(self, snapshot: GatewaySnapshot, scope: Scope) -> Source:
        """Return the source whose key the request presents; raise Refused (401)."""
        key = presented_key(scope["headers"])
        if key is None:
            detail = "expected the key of a source: Authorization: Bearer KEY"
            raise problem(401, "no_key", detail, {"WWW-Authenticate": 'Bearer realm="nexus"'})
        source = identify(snapshot, self._surroundings.pepper, key)
        if source is None:
            challenge = 'Bearer realm="nexus", error="invalid_token"'
            raise problem(401, "unknown_key", "this key is not known", {"WWW-Authenticate": challenge})
        return source

    async def _body(self, source: Source, scope: Scope, receive: bodies.Receive) -> bytes:
        """Return the body within the limits of the source; a refused length or rate is refused before it is read."""
        headers = scope["headers"]
        limit = source.payload_limits.max_bytes
        announced = bodies.announced_length(headers, limit)
        bodies.check_media_type(headers)
        if announced is not None:
            self._count(source, announced)
        raw = await bodies.read(receive, limit, _BODY_TIMEOUT_SECONDS)
        if announced is None:
            self._count(source, len(raw))
        return raw

    def _count(self, source: Source, size: int) -> None:
        """Count this request against the rates of its source; raise Refused (429)."""
        wait = self._surroundings.allow(source, size)
        if wait is not None:
            detail = f"source {source.name} is over its rate limit: try again later"
            raise problem(429, "rate_limit", detail, {"Retry-After": str(max(1, math.ceil(wait)))})

    def _made(self, source: Source, scope: Scope, raw: bytes) -> tuple[records.Record, Once | None]:
        """Return the record of a body, and what makes its request a repetition; raise Refused (422)."""
        now_ms = self._surroundings.now_ms()
        repeated = once(source, scope["headers"], raw, now_ms)
        body = bodies.decode(raw)
        return records.record(source, body, now_ms=now_ms, random=self._surroundings.random(10)), repeated

    async def _stored(self, target: str, record: records.Record, repeated: Once | None) -> str:
        """Return the id that is stored, of this request or of the one that it repeats; raise Refused (422 or 503)."""
        try:
            return await self._destinations.write(target, record, repeated)
        except ReusedKeyError:
            detail = "this Idempotency-Key was used with another body: take a new key for a new record"
            raise problem(422, "idempotency_key_reused", detail) from None
        except UnavailableError as error:
            raise _unavailable(target, error) from None


def _unavailable(destination: str, error: UnavailableError) -> Refused:
    detail = f"destination {destination} is unavailable: {error}"
    return problem(503, "destination", detail, {"Retry-After": "1"})
