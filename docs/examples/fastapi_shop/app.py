"""A shop whose prices change while it sells: an ordinary FastAPI application that asks ``current()``."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from nexus_supervisor import Snapshot, current, refresh

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = FastAPI(title="Shop")
logger = logging.getLogger("shop")

Now = Annotated[Snapshot, Depends(current)]
"""A dependency works like a call of ``current()`` in the handler: one request, one snapshot."""


class Order(BaseModel):
    """What a customer orders."""

    item: str
    amount: int = Field(ge=1, le=1000)
    code: str | None = None


@app.get("/items")
def find(snapshot: Now, word: str | None = None) -> dict[str, int]:
    """Return the price in cents of each item, or of those that a word leads to."""
    names = snapshot.items if word is None else snapshot.derived.get(word.lower(), ())
    return {name: snapshot.items[name].cents for name in sorted(names)}


@app.post("/orders", status_code=201)
async def order(wanted: Order, snapshot: Now, tasks: BackgroundTasks) -> dict[str, Any]:
    """Sell something. Price, discount and key are of one version, whatever is pushed meanwhile."""
    item = snapshot.items.get(wanted.item)
    if item is None:
        raise HTTPException(404, f"there is no {wanted.item}")
    cents = wanted.amount * (item.cents - discount(snapshot, wanted))
    payment = snapshot.payment["main"]
    receipt = hmac.digest(payment.api_key.reveal().encode(), f"{wanted.item} {cents}".encode(), "sha256").hex()
    tasks.add_task(note, wanted, cents)
    return {"total": f"{cents / 100:.2f} {payment.currency}", "provider": payment.provider, "receipt": receipt}


@app.get("/items/{name}/prices")
async def prices(name: str, snapshot: Now) -> StreamingResponse:
    """Tell the price of an item, and each later one, as server-sent events."""
    if name not in snapshot.items:
        raise HTTPException(404, f"there is no {name}")
    return StreamingResponse(price_events(name), media_type="text/event-stream")


async def price_events(name: str) -> AsyncIterator[str]:
    """Yield an event whenever the price changes; ``refresh()`` moves the stream to the newest version."""
    told: int | None = None
    while (item := refresh().items.get(name)) is not None:
        if item.cents != told:
            told = item.cents
            yield f"data: {told}\n\n"
        await asyncio.sleep(0.1)
    yield "event: gone\ndata:\n\n"


def discount(snapshot: Snapshot, wanted: Order) -> int:
    """Return what a code takes off one piece."""
    found = snapshot.discounts.get(wanted.code) if wanted.code else None
    return found.cents if found is not None and found.item == wanted.item else 0


def note(wanted: Order, cents: int) -> None:
    """Log a sale, after the answer; ``current()`` is still the version that it was sold with."""
    logger.info("sold %d %s for %d cents by version %d", wanted.amount, wanted.item, cents, current().version)
