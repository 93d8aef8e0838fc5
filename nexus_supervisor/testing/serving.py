"""Serving a snapshot in a whole process: every thread of it, with no request around.

Decided here: which snapshot ``current()`` answers where a test or a person provides one. Not decided here: how it is
made (``making.py``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from nexus_supervisor.agent.context import serve_from
from nexus_supervisor.agent.holder import Holder
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.errors import UsageError
from nexus_supervisor.testing.making import Made, made_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

__all__ = ["Served", "serve", "serving"]


class _ByHand(Holder):
    """Hold a snapshot that no supervisor has sent."""


def serve(snapshot: Snapshot) -> None:
    """Let ``current()`` answer a snapshot in this process from now on, until the next call: for a REPL or a server.

    Code in a block of ``provide`` keeps that one. Raise UsageError in a worker, whose supervisor says what is served.
    """
    _serve(snapshot)


def _serve(snapshot: Snapshot) -> Holder | None:
    """Serve a snapshot, and return what was served before."""
    holder = _ByHand(lambda: None)
    holder.swap(snapshot)
    before = serve_from(holder)
    if before is not None and not isinstance(before, _ByHand):
        serve_from(before)
        message = "this is a worker: its snapshots come from the supervisor; call serve() in other processes only"
        raise UsageError(message)
    return before


class Served:
    """Serve one snapshot after the other, each made by hand or from a directory."""

    def __init__(self) -> None:
        self._before: list[Holder | None] = []
        self._made: list[Made] = []

    def __call__(self, what: str | PathLike[str] | Snapshot) -> Snapshot:
        """Let ``current()`` answer a snapshot, or that of a directory, and return it; raise RejectedError."""
        if isinstance(what, Snapshot):
            snapshot = what
        else:
            self._made.append(made_from(what, len(self._made) + 1))
            snapshot = self._made[-1].snapshot
        self._before.append(_serve(snapshot))
        return snapshot

    def end(self) -> None:
        """Serve what was served before, and call the hook ``retired`` for everything that was made here."""
        if self._before:
            serve_from(self._before[0])
        for snapshot, hooks in self._made:
            if hooks.retired is not None:
                hooks.retired(snapshot)


@contextmanager
def serving() -> Iterator[Served]:
    """Yield what serves snapshots until the end of the block."""
    served = Served()
    try:
        yield served
    finally:
        served.end()
