"""The context: which snapshot the code that runs now belongs to.

Decided here: what ``current()`` answers. Not decided here: when a request begins and ends (the adapters), and which
threads belong to one (``threads.py``).

The context variable holds a cell, never the snapshot: contexts are copied by timers, tasks and threads that outlive the
request, and a copied cell is emptied with the original.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from nexus_supervisor.agent.holder import Cell, Holder
from nexus_supervisor.errors import NoSnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.snapshot import Snapshot

__all__ = ["PINNED", "current", "pinned", "provide", "refresh", "serve_from"]

PINNED: ContextVar[Cell | None] = ContextVar("nexus_supervisor_pinned", default=None)
"""The cell of the request that runs now; it may be empty, after the request's end."""

_process: Holder | None = None

_NOWHERE = """\
there is no snapshot here: current() answers in a worker that nexus-supervisor started. Elsewhere, provide one:
  in a test, with the pytest fixture that comes with nexus-supervisor: nexus_snapshot("DIR");
  in a REPL, or in a module that plain uvicorn imports, before anything asks for it:
    from nexus_supervisor.testing import serve, snapshot_from; serve(snapshot_from("DIR"))"""


def current() -> Snapshot:
    """Return the snapshot of the current request; in a worker outside a request, the newest one.

    Raise NoSnapshotError where there is none: outside a worker, and in a worker before its first version.
    """
    cell = PINNED.get()
    if cell is not None and (generation := cell.generation) is not None:
        return generation.snapshot
    return _newest()


def refresh() -> Snapshot:
    """Let the current request go on with the newest snapshot, and return it; the one before is given back.

    For streams that last long: at a point where nothing that was read before is used any more. Outside a request this
    is ``current()``.
    """
    cell = PINNED.get()
    renewed = None if cell is None else cell.holder.renew(cell)
    return _newest() if renewed is None else renewed


@contextmanager
def pinned() -> Iterator[Snapshot]:
    """Let ``current()`` answer one snapshot until the end of the block, whatever is pushed meanwhile.

    For work that no request encloses: a task that outlives its request, a thread of the application's own. Within a
    request this is the request's snapshot, which is kept until the end of the block, also where the request ends first.
    """
    outer = PINNED.get()
    cell = None if outer is None else outer.holder.shared(outer)
    with _within(_pinned_newest() if cell is None else cell):
        yield current()  # no variable here: it would keep this snapshot after a refresh()


@contextmanager
def provide(snapshot: Snapshot) -> Iterator[Snapshot]:
    """Let ``current()`` answer a snapshot made by hand, in this context, until the end of the block."""
    cell = Cell(Holder.of(snapshot))
    cell.holder.pin(cell)
    with _within(cell):
        yield snapshot


def serve_from(holder: Holder | None) -> Holder | None:
    """Let ``current()`` answer from this holder wherever no request is pinned; return the one before.

    A worker says this once; ``nexus_supervisor.testing`` says it for other processes.
    """
    global _process
    before, _process = _process, holder
    return before


@contextmanager
def _within(cell: Cell) -> Iterator[None]:
    """Let a pinned cell be that of this context, and release it at the end of the block."""
    token = PINNED.set(cell)
    try:
        yield
    finally:
        cell.holder.release(cell)
        # a generator may be closed in another context than it began in: there is no trace of the cell there
        with suppress(ValueError):
            PINNED.reset(token)


def _pinned_newest() -> Cell:
    if _process is None or _process.current is None:
        raise NoSnapshotError(_NOWHERE)
    cell = Cell(_process)
    _process.pin(cell)
    return cell


def _newest() -> Snapshot:
    newest = None if _process is None else _process.current
    if newest is None:
        raise NoSnapshotError(_NOWHERE)
    return newest
