"""nexus-supervisor: launch multi-worker daemons and change their configuration while they serve.

The public names, nothing else. Each is imported when it is first used, so that nobody pays for what they don't use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent, Snapshot, current, pinned, refresh
    from nexus_supervisor.agent.program import derives
    from nexus_supervisor.models.hooks import Objection
    from nexus_supervisor.models.marks import HashedSecret, References, RestartRequired, Secret, Unique, Widens

__all__ = [
    "Agent",
    "HashedSecret",
    "Objection",
    "References",
    "RestartRequired",
    "Secret",
    "Snapshot",
    "Unique",
    "Widens",
    "current",
    "derives",
    "pinned",
    "refresh",
]

_MODULES = {
    **dict.fromkeys(("Agent", "Snapshot", "current", "pinned", "refresh"), "agent"),
    "Objection": "models.hooks",
    "derives": "agent.program",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'models.marks')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
