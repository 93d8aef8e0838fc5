"""The program ``asgi``: serve the ASGI application that ``[supervisor] app`` or ``--app`` names, unmodified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.agent.program import needs

from .application import application
from .needed import REHEARSAL, SERVER

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent

__all__ = ["run"]


@needs(*SERVER, rehearsal=REHEARSAL)
def run(agent: Agent) -> None:
    """Serve the agent's application until the agent drains."""
    from nexus_supervisor.adapters.asgi import serve

    serve(agent, application(agent, "an ASGI application, called with scope, receive and send", 3))
