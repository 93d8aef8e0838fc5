"""The application: it answers what something costs, after a few milliseconds, unless the rule is poisoned."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import TYPE_CHECKING

from poisons import strike

from nexus_supervisor import current

if TYPE_CHECKING:
    from nexus_supervisor.adapters.asgi import Receive, Scope, Send

_SECONDS = 0.008
_TIMES_SLOWER = 10
_LAG_SECONDS = 1.2
_ONE_IN = 5

_numbers = itertools.count()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    rule = current().rules["main"]
    slower = _TIMES_SLOWER if rule.poison == "slower" else 1
    await asyncio.sleep(_SECONDS * slower)
    if rule.at == "handler" or (rule.at == "changed" and scope["path"] == "/changed"):
        strike(rule.poison)
    if rule.poison == "lags" and next(_numbers) % 20 == 0:
        time.sleep(_LAG_SECONDS)  # noqa: ASYNC251 - what it is about
    fails = rule.poison == "refuses" or (rule.poison == "errs" and next(_numbers) % _ONE_IN == 0)
    body = json.dumps({"price": rule.price}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 503 if fails else 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    for word in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{word}.complete"})
