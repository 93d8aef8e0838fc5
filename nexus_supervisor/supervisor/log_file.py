"""Where the log goes: stderr, or a file that is appended to.

Decided here: how a log file is opened, and that stderr takes its place where it can't be. Not decided here: what is
written (``output.py``). Used by the log's own thread only: a file system may make whoever opens a file wait.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from nexus_supervisor.log_lines import write_whole

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LogFile"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MODE = 0o640


class LogFile:
    """Hold the descriptor that lines are written to; ``descriptor`` is what it is without a file."""

    def __init__(self, descriptor: int) -> None:
        self._without, self._descriptor = descriptor, descriptor

    def write(self, lines: str) -> None:
        """Write lines; never raise."""
        write_whole(self._descriptor, lines.encode("utf-8", "backslashreplace"))

    def lead(self, path: Path | None) -> str:
        """Write to this file from now on, opened anew (None: to no file); return why it can't be, or ""."""
        self.close()
        if path is None:
            return ""
        try:
            self._descriptor = _open(path)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def close(self) -> None:
        """Close the file, if there is one."""
        leaving, self._descriptor = self._descriptor, self._without
        if leaving != self._without:
            os.close(leaving)


def _open(path: Path) -> int:
    descriptor = os.open(path, _FLAGS, _MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        message = "it is not a regular file"
        raise OSError(message)
    return descriptor
