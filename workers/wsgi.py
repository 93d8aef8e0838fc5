"""The program ``wsgi``: serve the WSGI application that ``[supervisor] app`` or ``--app`` names, unmodified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.agent.program import needs

from .application import application
from .needed import REHEARSAL, SERVER

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent

__all__ = ["run"]


@needs(*SERVER, "nexus_supervisor.adapters.wsgi", rehearsal=REHEARSAL)
def run(agent: Agent) -> None:
    """Serve the agent's application until the agent drains, ``supervisor.threads`` requests at a time."""
    from nexus_supervisor.adapters.wsgi import serve

    serve(agent, application(agent, "a WSGI application, called with environ and start_response", 2))
