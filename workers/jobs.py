"""The program ``jobs``: call the function that ``[supervisor] app`` or ``--app`` names, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.agent.program import needs

from .application import application

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent

__all__ = ["run"]


@needs("nexus_supervisor.adapters.jobs")
def run(agent: Agent) -> None:
    """Call the agent's function until the agent drains, each call with one snapshot."""
    from nexus_supervisor.adapters.jobs import serve

    serve(agent, application(agent, "a function that does one job, called without arguments", 0))
