"""A small ASGI application that answers with what greetings/world.toml says at this moment."""

from __future__ import annotations

from typing import Any

from nexus_supervisor import current


async def app(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    """Answer every request with one greeting; what is read here stays the same until the request ends."""
    if scope["type"] != "http":
        return
    text = f"{current().greetings['world']['text']}\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
