"""An unmodified FastAPI application: the least that a handler can do, and what one usually does."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel

app = FastAPI()


class Quote(BaseModel):
    amount: int
    price: int
    currency: str


def currency(currency: str = "EUR") -> str:
    return currency.upper()


@app.get("/")
async def least() -> dict[str, str]:
    return {"text": "hello"}


@app.get("/quote")
async def quote(amount: int = Query(1, ge=1, le=1_000), currency: str = Depends(currency)) -> Quote:  # noqa: FAST002
    return Quote(amount=amount, price=amount * 3, currency=currency)


@app.get("/thread")
def thread(amount: int = 1) -> dict[str, int]:
    return {"price": amount * 3}
