"""Processor time of a process and of everything below it, in seconds.

Read from the clocks that Linux has for each process (clock_getcpuclockid(3)): /proc counts in hundredths of a second,
which is more than one change costs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["processor_seconds"]


def processor_seconds(roots: Iterable[int]) -> float:
    """Return what these processes, their descendants, and descendants that have ended have used so far."""
    return sum(_used(process) for root in roots for process in _tree(psutil.Process(root)))


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _used(process: psutil.Process) -> float:
    ended = process.cpu_times()
    return time.clock_gettime(_clock(process.pid)) + float(ended.children_user + ended.children_system)


def _clock(pid: int) -> int:
    """Return the number of a process's clock: CPUCLOCK_SCHED of the kernel's posix-timers."""
    return (~pid << 3) | 2
