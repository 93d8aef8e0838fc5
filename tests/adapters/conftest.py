"""A site whose workers serve a small ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.workers import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WEB = '''
import asyncio, json, os, threading, weakref

from nexus_supervisor import current

seen = weakref.WeakSet()
started = []


async def answer(send, value, status=200):
    body = json.dumps(value).encode()
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


async def stream(send, fifo):
    """Say the version, wait until somebody writes, say it again: here, and in a thread of the request."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d " % current().version, "more_body": True})
    await asyncio.to_thread(lambda: open(fifo).read())
    inside = await asyncio.to_thread(lambda: current().version)
    await send({"type": "http.response.body", "body": b"%d %d" % (current().version, inside)})


async def events(send, headers=()):
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b"event\\n", "more_body": True})
        await asyncio.sleep(3600)


async def chat(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(current().version)})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        started.append(current().version)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan ended", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        await chat(scope, receive, send)
        return
    seen.add(current())
    match scope["path"]:
        case "/":
            prices = {name: item.price for name, item in current().items.items()}
            await answer(send, {"version": current().version, "prices": prices})
        case "/alive":
            await answer(send, {"alive": sorted(one.version for one in seen), "started": started})
        case "/stream":
            await stream(send, scope["query_string"].decode())
        case "/events":
            await events(send)
        case "/event-stream":
            await events(send, [(b"content-type", b"text/event-stream; charset=utf-8")])
        case "/wait":
            await asyncio.Event().wait()
        case "/503":
            await answer(send, {}, 503)
        case "/raise":
            raise ValueError("broken")
        case "/raise-exit":
            raise SystemExit("broken")
        case "/raise-interrupt":
            raise KeyboardInterrupt
        case "/raise-cancelled":
            raise asyncio.CancelledError
        case "/raise-late":
            await answer(send, {}, 500)
            raise ValueError("broken")
        case "/silent":
            return
'''


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "web.py").write_text(WEB)
    with Site(tmp_path) as made:
        yield made
