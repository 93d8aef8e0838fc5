"""A small shop: each answer follows from knobs/main.toml, as it was when the request began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from nexus_supervisor import current

if TYPE_CHECKING:
    from starlette.requests import Request

PRICE_CENTS = 1_000


async def offer(request: Request) -> JSONResponse:
    """Greet a visitor and name today's price."""
    snapshot = current()
    knobs = snapshot.knobs["main"]
    visitor = request.query_params.get("name", "world")
    price = PRICE_CENTS * (100 - knobs.discount_percent) // 100
    answer = {"shop": knobs.shop, "text": f"{knobs.greeting}, {visitor}", "price_cents": price}
    return JSONResponse({**answer, "version": snapshot.version})


app = Starlette(routes=[Route("/", offer)])
