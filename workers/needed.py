"""What the programs that serve HTTP import only when they run, so that a zygote imports it before it forks.

Decided here: the names. Not decided here: what is done with them (``nexus_supervisor.agent.program.needs``).
"""

from __future__ import annotations

__all__ = ["REHEARSAL", "SERVER"]

SERVER = ("nexus_supervisor.adapters.asgi", "uvicorn.lifespan.on", "uvicorn.loops.uvloop", "uvloop")
"""The server, and what uvicorn itself imports late."""

REHEARSAL = "nexus_supervisor.adapters.rehearsal:rehearse"
"""The server's start, one request and its end."""
