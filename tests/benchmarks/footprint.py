"""Footprint: the memory of a server's processes, and how many there are.

Memory is the proportional set size, which counts a page that processes share once in all (smaps_rollup, proc(5)).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Footprint", "private_bytes"]

_LOOK_SECONDS = 0.05
_LOOKS_OF_MEMORY = 5  # every so many looks, and where there are more processes than ever


class Footprint:
    """Watch a process and its descendants within a block, and hold the most that was seen."""

    def __init__(self, root: psutil.Process) -> None:
        self.peak_bytes = self.processes = 0
        self._root, self._over, self._thread = root, Event(), Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        look = 0
        while not self._over.wait(_LOOK_SECONDS):
            with suppress(psutil.Error):
                all_of_it = (self._root, *self._root.children(recursive=True))
                if len(all_of_it) > self.processes or not look % _LOOKS_OF_MEMORY:
                    self.peak_bytes = max(self.peak_bytes, sum(_proportional(one) for one in all_of_it))
                self.processes = max(self.processes, len(all_of_it))
            look += 1


def private_bytes(pid: int) -> int:
    """Return what only this process has: Private_Clean and Private_Dirty."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def _proportional(process: psutil.Process) -> int:
    try:
        found: int = process.memory_full_info().pss
    except psutil.Error:  # it has just ended
        return 0
    return found
