"""A worker program that may lie: it acknowledges a version and goes on with the one before."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from app import app

from nexus_supervisor.adapters.asgi import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor import Agent, Snapshot


def run(agent: Agent) -> None:
    agent.holder.swap = partial(_pretend, agent.holder.swap)
    serve(agent, app)


def _pretend(swap: Callable[[Snapshot], None], snapshot: Snapshot) -> None:
    if snapshot.rules["main"].poison != "lies":
        swap(snapshot)
