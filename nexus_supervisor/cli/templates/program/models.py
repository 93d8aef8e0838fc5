"""What knobs/*.toml may say: any other key, type or value is refused, and what runs goes on."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


class Knobs(BaseModel):
    """Describe how the program behaves."""

    text: Annotated[str, Field(min_length=1, max_length=200, description="What it says.")]
