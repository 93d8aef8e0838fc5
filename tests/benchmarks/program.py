"""The worker program of the push benchmark: it serves nothing and reports each version that becomes current.

It is copied into the directory that nexus-supervisor runs on, as a user's own program would be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from rounds import Reporter

if TYPE_CHECKING:
    from nexus_supervisor import Agent
    from nexus_supervisor.agent import Snapshot


class Limits(BaseModel):
    """Bound what a source may do."""

    requests_per_minute: int = Field(ge=0)
    max_payload_bytes: int = Field(ge=0)


class Source(BaseModel):
    """Describe who may call."""

    name: str
    change: int = Field(ge=0)
    tier: int = Field(ge=0, le=3)
    namespace: str
    description: str
    can_write: bool
    allowed: list[str]
    limits: Limits


def run(agent: Agent) -> None:
    """Report until the agent drains."""
    reporter = Reporter()

    def report(snapshot: Snapshot) -> None:
        sources = snapshot.sources
        reporter.current(lambda name: sources[name].change, len(sources))

    report(agent.current())
    agent.on_activated(report)
    agent.ready()
    agent.drain.wait()
