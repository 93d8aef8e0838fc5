"""What knobs/*.toml may say: any other key, type or value is refused, and what runs goes on."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from nexus_supervisor import RestartRequired


class Knobs(BaseModel):
    """Describe what a job does."""

    text: Annotated[str, Field(min_length=1, max_length=200, description="What each line says.")]
    every_seconds: Annotated[float, Field(ge=0.1, le=3600, description="How long the pause between two lines is.")] = 2
    log_file: Annotated[
        str, RestartRequired, Field(pattern=r"^[\w-]+\.log$", description="The file in data/ that lines go to.")
    ] = "jobs.log"
