"""How a process ended, in words.

Decided here: what an exit code and a signal are called, and when a kill is put down to a lack of memory. Not decided
here: how an end is noticed (``child.py``) and what follows from it (``core/``).

``in_words`` is pure. ``OomKills`` reads the only evidence there is: the kernel counts the processes that it kills for
lack of memory, but doesn't say which ones.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["MEANINGS", "OomKills", "in_words"]

MEANINGS = {
    75: "it was not done when its drain timeout was over",
    120: "Python could not flush its output",
}
"""Exit codes that mean the same whatever the program is: the agent's own and the interpreter's."""

_NAMES = {
    signal.SIGABRT: "abort",
    signal.SIGALRM: "timer expired",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGILL: "illegal instruction",
    signal.SIGPIPE: "broken pipe",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGSYS: "forbidden system call",
    signal.SIGTERM: "told to end",
    signal.SIGTRAP: "trap",
    signal.SIGXCPU: "out of processor time",
    signal.SIGXFSZ: "file too large",
}

_GROUPS = Path("/proc/self/cgroup")
_HIERARCHY = Path("/sys/fs/cgroup")
_MACHINE = Path("/proc/vmstat")


def in_words(code: int, *, sent: Collection[int] = (), out_of_memory: str = "") -> str:
    """Say how a process ended, by its exit code (below 0: the signal that ended it).

    ``sent`` are the signals that the supervisor sent it. ``out_of_memory`` says where a process was killed for lack of
    memory, where there is evidence of it.
    """
    if code >= 0:
        return f"exit code {code}" + (f" ({MEANINGS[code]})" if code in MEANINGS else "")
    try:
        found = signal.Signals(-code)
    except ValueError:
        return f"killed by signal {-code}"
    killed = f"killed by {found.name}"
    if found in sent:
        return f"{killed}, which the supervisor sent"
    if found is not signal.SIGKILL:
        return killed + (f" ({_NAMES[found]})" if found in _NAMES else "")
    if out_of_memory:
        return f"{killed}: the kernel ended a process of {out_of_memory} for lack of memory"
    return f"{killed}, which the supervisor did not send: maybe out of memory"


class OomKills:
    """Tell from the kernel's count whether something was killed for lack of memory; each kill explains one death.

    Counted is in our control group, to which the workers belong, or on the whole machine where that has no count.
    """

    def __init__(self, *, groups: Path = _GROUPS, hierarchy: Path = _HIERARCHY, machine: Path = _MACHINE) -> None:
        group = _file_of_group(groups, hierarchy)
        self._file, self._where = (machine, "the machine") if _count(group) is None else (group, "its control group")
        self._explained = _count(self._file) or 0

    def take(self) -> str:
        """Return where a process was killed that explains no death yet, and note that it does now; else return ""."""
        if (_count(self._file) or 0) <= self._explained:
            return ""
        self._explained += 1
        return self._where


def _file_of_group(groups: Path, hierarchy: Path) -> Path | None:
    """Return the file that counts in our control group (cgroup v2, or memory of v1), None where there is none."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return None
    found = None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers and found is None:
            found = hierarchy / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            found = hierarchy / "memory" / path.lstrip("/") / "memory.oom_control"
    return found


def _count(file: Path | None) -> int | None:
    """Return how many processes a file says were killed; None where it doesn't say."""
    if file is None:
        return None
    try:
        words = (line.split() for line in file.read_text().splitlines())
        return next((int(line[1]) for line in words if len(line) == 2 and line[0] == "oom_kill"), None)
    except (OSError, ValueError):
        return None
