"""The gateway: the worker program that is shipped and started by default.

Decided here: how the program is put together in a worker process. Not decided here: what it answers (``app.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.agent.program import derives, needs

from ..needed import REHEARSAL, SERVER
from .keyring import derive_index

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent

__all__ = ["run"]


@derives(derive_index)
@needs(*SERVER, f"{__name__}.app", f"{__name__}.destinations", f"{__name__}.surroundings", rehearsal=REHEARSAL)
def run(agent: Agent) -> None:
    """Serve the gateway until the agent drains: the entry point ``gateway`` of ``nexus_supervisor.workers``."""
    from nexus_supervisor.adapters.asgi import serve

    from .app import Gateway
    from .destinations import Destinations
    from .surroundings import surroundings_of

    destinations = Destinations(agent.directory, agent.current().destinations)
    serve(agent, Gateway(surroundings_of(agent), destinations))
