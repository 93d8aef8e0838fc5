"""The context: which snapshot the code that runs now belongs to.

Decided here: what ``current()`` answers. Not decided here: when a request begins and ends (the adapters).

The context variable holds a cell, never the snapshot: contexts are copied by timers, tasks and threads that outlive the
request, and a copied cell is emptied with the original.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from nexus_supervisor.agent.holder import Cell, Generation, Holder
from nexus_supervisor.errors import NoSnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.snapshot import Snapshot

__all__ = ["PINNED", "current", "pinned", "provide", "refresh", "serve_from"]

PINNED: ContextVar[Cell | None] = ContextVar("nexus_supervisor_pinned", default=None)
"""The cell of the request that runs now; it may be empty, after the request's end."""

_process: list[Holder] = []


def current() -> Snapshot:
    """Return the snapshot of the current request; in a worker outside a request, the newest one.

    Raise NoSnapshotError where there is none: outside a worker, and in a worker before its first version.
    """
    cell = PINNED.get()
    if cell is not None and cell.generation is not None:
        return cell.generation.snapshot
    newest = _process[-1].current if _process else None
    if newest is None:
        message = (
            "there is no snapshot here: current() works in a worker that nexus-supervisor started; elsewhere, such as "
            "in a test, wrap the call: with nexus_supervisor.agent.context.provide(Snapshot.of(1, sources={...})): ..."
        )
        raise NoSnapshotError(message)
    return newest


def refresh() -> Snapshot:
    """Let the current request go on with the newest snapshot, and return it; the one before is given back.

    For streams that last long: at a point where nothing that was read before is used any more. Outside a request this
    is ``current()``.
    """
    cell = PINNED.get()
    if cell is None or cell.generation is None or not _process:
        return current()
    holder = _process[-1]
    holder.release(cell)
    return holder.pin(cell)


@contextmanager
def pinned() -> Iterator[Snapshot]:
    """Let ``current()`` answer one snapshot until the end of the block, whatever is pushed meanwhile.

    For work that no request encloses: a task that outlives its request, a thread of the application's own. Within a
    request this is the request's snapshot, which is kept until the end of the block.
    """
    outer = PINNED.get()
    if outer is not None and outer.generation is not None:
        with provide(outer.generation.snapshot) as snapshot:
            yield snapshot
        return
    if not _process:
        yield current()
        return
    cell, holder = Cell(), _process[-1]
    snapshot = holder.pin(cell)
    token = PINNED.set(cell)
    try:
        yield snapshot
    finally:
        holder.release(cell)
        PINNED.reset(token)


@contextmanager
def provide(snapshot: Snapshot) -> Iterator[Snapshot]:
    """Let ``current()`` answer a snapshot made by hand, in this context, until the end of the block."""
    cell = Cell()
    cell.generation = Generation(snapshot)
    token = PINNED.set(cell)
    try:
        yield snapshot
    finally:
        cell.generation = None
        PINNED.reset(token)


def serve_from(holder: Holder) -> None:
    """Let ``current()`` answer from this holder wherever no request is pinned: this process is its worker."""
    _process.append(holder)
