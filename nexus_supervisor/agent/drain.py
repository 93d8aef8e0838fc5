"""Draining: from the order to end until the process has ended.

Decided here: who is told, and that the process ends by its deadline whatever the program does. Not decided here: what a
program does to finish its work (the adapters), and when it is ordered (``parent.py``).
"""

from __future__ import annotations

import logging
import os
import time
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from nexus_supervisor.agent.log import say

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OVERDUE_STATUS", "DrainState", "isolated", "wait_for"]

_logger = logging.getLogger(__name__)

OVERDUE_STATUS = 75
"""Exit status of a process that was still busy after its deadline (EX_TEMPFAIL of sysexits.h)."""

_GRACE_SECONDS = 2.0
_TURN_SECONDS = 0.5


class DrainState:
    """Hold whether this worker is to end, and by when."""

    def __init__(self) -> None:
        self._begun = Event()
        self._deadline: float | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._changing = Lock()
        self._cut = 0

    @property
    def draining(self) -> bool:
        """Return whether the worker is to finish what is in hand and end."""
        return self._begun.is_set()

    @property
    def deadline(self) -> float | None:
        """Return by when, in monotonic seconds; None while nothing was ordered."""
        return self._deadline

    @property
    def cut(self) -> int:
        """Return how many requests or jobs were cut off at the deadline."""
        return self._cut

    def note_cut(self, count: int) -> None:
        """Note that so many requests or jobs were cut off: the supervisor is told, and the exit status says it."""
        with self._changing:
            self._cut += count

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until draining begins; return whether it has."""
        return wait_for(self._begun) if timeout_seconds is None else self._begun.wait(timeout_seconds)

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Call back when draining begins, from a thread of the agent; at once where it has begun."""
        with self._changing:
            if not self._begun.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def begin(self, timeout_seconds: float) -> None:
        """Begin to drain. A second order can only bring the deadline forward."""
        deadline = time.monotonic() + timeout_seconds
        with self._changing:
            callbacks, self._callbacks = self._callbacks, []
            if self._deadline is not None and self._deadline <= deadline:
                return
            self._deadline = deadline
            self._begun.set()
        Thread(target=_end_by, args=(deadline + _GRACE_SECONDS,), name="nexus-deadline", daemon=True).start()
        for callback in callbacks:
            isolated(callback)


def wait_for(event: Event) -> bool:
    """Wait without end, in turns: a signal that arrives just before a wait is handled only when the wait returns."""
    while not event.wait(_TURN_SECONDS):
        pass
    return True


def isolated(callback: Callable[[], object]) -> None:
    """Call a program's function from a thread of the agent, which goes on whatever it raises; that is logged."""
    try:
        callback()
    except Exception:
        _logger.exception("a function that the program gave to its agent raised an exception")


def _end_by(deadline: float) -> None:
    """End the process at the deadline if it still runs: a stuck request must not keep a worker for ever."""
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(left)
    say("nexus worker: the drain timeout is over and the program still runs: the process ends now")
    os._exit(OVERDUE_STATUS)
