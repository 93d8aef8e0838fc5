"""A small shop: each answer follows from knobs/main.toml, as it was when the request began."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from nexus_supervisor import current

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PRICE_CENTS = 1_000


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Greet a visitor and name today's price."""
    snapshot = current()
    knobs = snapshot.knobs["main"]
    visitor = parse_qs(environ["QUERY_STRING"]).get("name", ["world"])[0]
    price = PRICE_CENTS * (100 - knobs.discount_percent) // 100
    answer = {"shop": knobs.shop, "text": f"{knobs.greeting}, {visitor}", "price_cents": price}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({**answer, "version": snapshot.version}).encode()]
