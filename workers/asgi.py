"""The program ``asgi``: serve the application that ``[supervisor] app`` or ``--app`` names, unmodified.

Decided here: how the application is found. Not decided here: how it is served (``nexus_supervisor.adapters.asgi``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.agent.program import load_object
from nexus_supervisor.errors import UsageError

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent

__all__ = ["run"]


def run(agent: Agent) -> None:
    """Serve the agent's application until the agent drains."""
    from nexus_supervisor.adapters.asgi import serve

    if not agent.app:
        message = (
            'program asgi needs an application: set app = "MODULE:ATTR" in [supervisor], or run with --app MODULE:ATTR'
        )
        raise UsageError(message)
    app = load_object(agent.app, "app")
    if not callable(app):
        message = f"app {agent.app!r} must be an ASGI application, found {type(app).__name__}"
        raise UsageError(message)
    serve(agent, app)
