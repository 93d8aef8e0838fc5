"""The model of what the applications answer with."""

from __future__ import annotations

from pydantic import BaseModel


class Knobs(BaseModel):
    text: str
