"""Models of a small shop, for directories that tests compile."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from nexus_supervisor.models.marks import HashedSecret, References, Secret, Unique


class Policy(BaseModel):
    """Say what a source may reach."""

    allowed: Annotated[list[str], References("destinations")] = []
    labels: set[str] = set()


class Source(BaseModel):
    """Describe who may call."""

    name: str
    api_key: Annotated[HashedSecret, Unique]
    tier: Annotated[int, Field(ge=0, le=3)] = 3
    can_write: bool = False
    share: float = 1.0
    target: Annotated[str | None, References("destinations")] = None
    policy: Policy = Policy()


class Destination(BaseModel):
    """Describe where calls go."""

    name: str
    type: Literal["sqlite", "postgres"] = "sqlite"
    path: str = ""
    dsn: Secret | None = None
