"""What site/board.toml may say; the models of the database are in notices/models.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from nexus_supervisor import RestartRequired, Secret


class Board(BaseModel):
    """The notice board."""

    title: str
    closed: bool = False
    most_shown: int = Field(default=20, ge=1, le=1000)
    most_letters: int = Field(default=200, ge=1, le=10_000)
    language: Annotated[Literal["en", "de"], RestartRequired] = "en"
    poster_key: Secret
