"""A model that uses most of what models can say, for tests that compare judges of documents."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from nexus_supervisor.models.marks import References, RestartRequired, Secret, Unique


class Box(BaseModel):
    """Describe how an item is packed."""

    kind: Literal["box"]
    height: Annotated[float, Field(gt=0, le=100)]


class Bag(BaseModel):
    """Describe an item that needs no box."""

    kind: Literal["bag"]
    color: Literal["red", "blue"] = "red"


class Stock(BaseModel):
    """Say how many there are."""

    amount: Annotated[int, Field(ge=0, le=1_000)] = 0
    shelf: str | None = None


class Item(BaseModel):
    """Describe one item of the catalog."""

    name: str
    title: Annotated[str, Field(min_length=1, max_length=20, description="What buyers read.")]
    code: Annotated[str, Unique, Field(pattern=r"^[a-z]{1,4}$")] = "x"
    price: Annotated[int, Field(ge=1, le=9, multiple_of=1)] | Literal["free"] = 1
    factor: float = 1.0
    listed: bool = True
    colors: list[Literal["red", "green"]] = []
    labels: set[str] = set()
    sizes: dict[str, int] = {}
    corner: tuple[int, int] = (0, 0)
    stock: Annotated[Stock, RestartRequired] = Stock()
    spare: Stock | None = None
    packing: Annotated[Box | Bag, Field(discriminator="kind")] | None = None
    needs: Annotated[list[str], References("catalog")] = []
    token: Secret | None = None
    since: datetime | None = None
