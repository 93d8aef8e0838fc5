"""The reaper: children that nobody here has started, or whose number nobody here knows yet.

Decided here: which zombie is a stranger's, and that its status is kept while it may turn out to be a worker. Not
decided here: what follows from the end of a process of ours (``child.py``, which waits for each by its number).

The supervisor is the parent of orphans (PR_SET_CHILD_SUBREAPER, prctl(2)): of the workers that a zygote forks twice,
and so of what a worker leaves behind, too. A zombie is a stranger's where no ``Child`` holds it and nobody has waited
for it within a moment: threads of ours that started a process are about to.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_supervisor.supervisor import clock
from nexus_supervisor.supervisor.child import Adopted, is_known

if TYPE_CHECKING:
    import asyncio

__all__ = ["Reaper"]

LOOK_SECONDS = 0.5
"""How often to look where no signal says that a child has ended."""

PATIENCE_SECONDS = 0.2
"""How long a zombie is left to whoever may be about to wait for it."""

_KEPT = 4_096
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_TASKS = Path("/proc/self/task")


class Reaper:
    """Reap strangers, from now on until ``close``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Become the parent of orphans; ``adopts`` says whether the system has that."""
        self._loop = loop
        self.adopts = _become_subreaper()
        self._seen: dict[int, float] = {}
        self._codes: dict[int, int] = {}
        self._expecting = 0
        self._timer = loop.call_later(LOOK_SECONDS, self._tick)

    def expect(self) -> None:
        """Keep the statuses of strangers until as many calls of ``expect_no_more``: a worker's number is to come."""
        self._expecting += 1

    def expect_no_more(self) -> None:
        """Forget them, unless another worker is expected."""
        self._expecting -= 1
        if not self._expecting:
            self._codes.clear()

    def adopt(self, pid: int) -> Adopted | None:
        """Return a process that was forked for us; None where it is no child of ours, or one that is known."""
        if is_known(pid):
            return None
        if pid in self._codes:
            return Adopted(pid, self._codes.pop(pid))
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except (ChildProcessError, OverflowError):
            return None
        return Adopted(pid)

    def look(self) -> None:
        """Look for zombies now: a child has ended, or may have."""
        if not _any_zombie():
            self._seen.clear()
            return
        now = clock.monotonic()
        zombies = {pid for pid in _children() if not is_known(pid) and _is_zombie(pid)}
        self._seen = {pid: self._seen.get(pid, now) for pid in zombies}
        for pid in [pid for pid, since in self._seen.items() if now - since >= PATIENCE_SECONDS]:
            del self._seen[pid]
            self._reap(pid)

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _tick(self) -> None:
        self.look()
        wait = PATIENCE_SECONDS if self._seen else LOOK_SECONDS
        self._timer = self._loop.call_later(wait, self._tick)

    def _reap(self, pid: int) -> None:
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # whoever started it was slow, but has waited
            return
        if found and self._expecting and len(self._codes) < _KEPT:
            self._codes[pid] = os.waitstatus_to_exitcode(status)


def _become_subreaper() -> bool:
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def _any_zombie() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # there is no child at all
        return False


def _is_zombie(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _children() -> list[int]:
    """Return our children, whichever thread started them; at least the zombie at hand where the kernel has no list."""
    try:
        texts = [(task / "children").read_text(encoding="ascii") for task in _TASKS.iterdir()]
    except OSError:  # a thread has ended meanwhile, or the kernel is built without it
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return [] if found is None else [found.si_pid]
    return [int(pid) for text in texts for pid in text.split()]
