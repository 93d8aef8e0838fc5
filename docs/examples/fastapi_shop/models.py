"""What the files of the shop may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from nexus_supervisor import References, RestartRequired, Secret


class Item(BaseModel):
    """One file of items/."""

    title: str
    cents: int = Field(ge=1)
    words: list[str] = []


class Discount(BaseModel):
    """One [[discount]] of discounts.toml."""

    code: str
    item: Annotated[str, References("items")]
    cents: int = Field(ge=1)


class Payment(BaseModel):
    """How orders are paid; another provider needs another session, so that one waits for a restart."""

    provider: Annotated[str, RestartRequired] = "example-pay"
    currency: str = Field(default="EUR", pattern=r"[A-Z]{3}")
    api_key: Secret
