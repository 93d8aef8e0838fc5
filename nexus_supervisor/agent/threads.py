"""Threads: code that a request runs in a thread belongs to the request.

Decided here: what such a thread sees of its request. Not decided here: what ``current()`` answers (``context.py``).

Whoever starts a thread, or gives a job to a ``ThreadPoolExecutor``, hands on the cell that is pinned there, and nothing
else of its context. The cell pins nothing by itself: after the request's end it is empty, and ``current()`` gives the
newest snapshot. A pool's own threads belong to nobody, only the jobs do. What copies its context by itself, such as
``asyncio.to_thread``, is left alone.

This changes two functions of the standard library, so it is done in workers only, once, by ``boot.py``.
"""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from functools import partial, wraps
from threading import Thread
from typing import TYPE_CHECKING, Any

from nexus_supervisor.agent.context import PINNED

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.agent.holder import Cell

__all__ = ["carry"]

_start: Callable[[Thread], None] = Thread.start
_submit: Callable[..., Future[Any]] = ThreadPoolExecutor.submit


def carry() -> None:
    """Have threads and jobs see the snapshot of the request that starts them, in this process, from now on."""
    Thread.start = _start_carried  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = _submit_carried  # type: ignore[method-assign, assignment]


@wraps(_start)
def _start_carried(self: Thread) -> None:
    cell = PINNED.get()
    if cell is None or cell.generation is None:
        _start(self)
        return
    own = self.__dict__
    before = own.get("run")
    own["run"] = partial(_run_carried, self, cell, before)  # also where the class has a ``run`` of its own
    try:
        _start(self)
    except BaseException:
        _restore(own, before)
        raise


def _run_carried(thread: Thread, cell: Cell, before: Callable[[], object] | None) -> None:
    _restore(thread.__dict__, before)
    PINNED.set(cell)  # this context is the thread's own
    thread.run()


def _restore(own: dict[str, Any], before: Callable[[], object] | None) -> None:
    """Give a thread its ``run`` back: the one set on the object, or that of its class."""
    if before is None:
        own.pop("run", None)
    else:
        own["run"] = before


@wraps(_submit)
def _submit_carried(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    cell = PINNED.get()
    if cell is None:
        return _submit(self, fn, *args, **kwargs)
    token = PINNED.set(None)  # a thread that the pool starts here is no thread of the request
    try:
        if cell.generation is None or _has_context(fn) or _leaves_process(self):
            return _submit(self, fn, *args, **kwargs)
        return _submit(self, _do_carried, cell, fn, args, kwargs)
    finally:
        PINNED.reset(token)


def _do_carried(cell: Cell, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    token = PINNED.set(cell)
    try:
        return fn(*args, **kwargs)
    finally:
        PINNED.reset(token)


def _has_context(fn: object) -> bool:
    """Return whether a job runs in a context that was copied for it, as those of ``asyncio.to_thread`` do."""
    while isinstance(fn, partial):
        fn = fn.func
    return isinstance(getattr(fn, "__self__", None), Context)


def _leaves_process(pool: ThreadPoolExecutor) -> bool:
    """Return whether a pool hands its jobs to other interpreters (Python 3.14), which know no cell of ours."""
    elsewhere = sys.modules.get("concurrent.futures.interpreter")
    return elsewhere is not None and isinstance(pool, elsewhere.InterpreterPoolExecutor)
