"""Vitals: what the system says about one process, whatever the process says itself.

Decided here: how it is found out, at one read where there is /proc. Not decided here: what follows from it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

__all__ = ["Vitals", "vitals"]

_PROCESSES = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RESIDENT = 21  # of the fields after the name, proc_pid_stat(5)


class Vitals(NamedTuple):
    """Hold the memory in use, and whether the process is stopped by a signal; 0 and False where nobody knows."""

    rss_bytes: int = 0
    stopped: bool = False


def vitals(pid: int) -> Vitals:
    """Return what is known of a process."""
    try:
        fields = (_PROCESSES / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return Vitals(int(fields[_RESIDENT]) * _PAGE_BYTES, fields[0] == b"T")
    except (OSError, IndexError):  # it is gone, or there is no /proc
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            return Vitals(int(process.memory_info().rss), process.status() == psutil.STATUS_STOPPED)
        return Vitals()
