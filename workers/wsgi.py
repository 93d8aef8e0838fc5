"""The program ``wsgi``: serve the WSGI application that ``[supervisor] app`` or ``--app`` names, unmodified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .application import application

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent

__all__ = ["run"]


def run(agent: Agent) -> None:
    """Serve the agent's application until the agent drains, ``supervisor.threads`` requests at a time."""
    from nexus_supervisor.adapters.wsgi import serve

    serve(agent, application(agent, "a WSGI application, called with environ and start_response", 2))
