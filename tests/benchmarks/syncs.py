"""How often one push waits for the disk: fsync and fdatasync as strace counts them.

A virtual disk makes a sync cheap and a real one doesn't, so the count says more than the milliseconds. Counted in a run
of its own, because strace slows down what it looks at.
"""

from __future__ import annotations

import re
import statistics
import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks.contenders import Nexus

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["count_syncs"]

_CHANGES = 3
_CALL = re.compile(r"^\d+ +(\d+\.\d+) (?:fsync|fdatasync)\(", re.MULTILINE)


def count_syncs(directory: Path, workers: int, sources: int) -> dict[str, Any]:
    """Return the median number of syncs until a change is active everywhere, and until it is complete on disk."""
    trace = directory.with_suffix(".strace")
    below = ("strace", "-f", "-qq", "-ttt", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", str(trace))
    windows: list[tuple[float, float, float]] = []
    with Nexus(directory, workers, sources, below) as nexus:
        offset = (time.time_ns() - time.monotonic_ns()) / 1e9
        for number in range(1, _CHANGES + 1):
            before, moments = nexus.change(number)
            nexus.settle()
            windows.append((before / 1e9 + offset, moments[-1] / 1e9 + offset, time.time()))
    calls = [float(moment) for moment in _CALL.findall(trace.read_text())]
    return {
        "until_active": statistics.median(_within(calls, begin, active) for begin, active, _ in windows),
        "until_archived": statistics.median(_within(calls, begin, archived) for begin, _, archived in windows),
        "changes": _CHANGES,
    }


def _within(calls: list[float], begin: float, end: float) -> int:
    return sum(begin <= call < end for call in calls)
