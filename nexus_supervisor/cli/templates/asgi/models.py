"""What knobs/*.toml may say: any other key, type or value is refused, and what runs goes on."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from nexus_supervisor import RestartRequired


class Knobs(BaseModel):
    """Describe how the shop behaves."""

    greeting: Annotated[str, Field(min_length=1, max_length=80, description="What visitors are greeted with.")]
    discount_percent: Annotated[int, Field(ge=0, le=50, description="How much less everything costs today.")] = 0
    shop: Annotated[str, RestartRequired, Field(description="The shop's name.")]
