"""Snapshots where no supervisor runs: in unit tests, in a REPL, under plain ``uvicorn app:app``.

``snapshot_from`` makes one from a directory as a worker would get it, ``provide`` lets ``current()`` answer it within a
block, ``serve`` in the whole process. With pytest there is the fixture ``nexus_snapshot``, which needs no import: call
it with a directory or a snapshot, and ``current()`` answers that until the test ends. A snapshot of chosen values needs
no directory: ``Snapshot.of(1, knobs={"main": Knobs(price=5)})``.

Decided here: the public names. Not decided here: how a directory is judged (``compiling.py``) and how a snapshot is
built from it (``making.py``). Each name is imported when it is first used, since every pytest imports this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexus_supervisor.agent.context import provide
    from nexus_supervisor.testing.making import snapshot_from
    from nexus_supervisor.testing.serving import serve

__all__ = ["provide", "serve", "snapshot_from"]

_MODULES = {"provide": "agent.context", "serve": "testing.serving", "snapshot_from": "testing.making"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(f"nexus_supervisor.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
