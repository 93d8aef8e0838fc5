"""What a daemon may leave behind: nothing but its directory, in order."""

from __future__ import annotations

import os
import re
import select
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["await_exit", "files", "processes"]

_KEPT = {
    "": re.compile(r"[^.].*"),
    "compiled": re.compile(r"\d{6,}|current"),
    "state": re.compile(r"journal|journal\.torn-\d+|lock|ballast"),
}
"""By directory, the names that may be there when no supervisor runs."""


def files(directory: Path) -> list[str]:
    """Return what a supervisor should have removed: sockets, the pid file, temporary files."""
    return sorted(
        str(path.relative_to(directory))
        for within, kept in _KEPT.items()
        if (directory / within).is_dir()
        for path in (directory / within).iterdir()
        if path.is_socket() or path.is_fifo() or not kept.fullmatch(path.name)
    )


def processes(session: int, mark: tuple[str, str]) -> list[psutil.Process]:
    """Return the live processes of a session, and those with a variable in their environment, whatever they became."""
    return [process for process in psutil.process_iter() if _belongs(process, session, mark)]


def _belongs(process: psutil.Process, session: int, mark: tuple[str, str]) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return os.getsid(process.pid) == session or process.environ().get(mark[0]) == mark[1]
    except (psutil.Error, OSError):  # gone meanwhile, or somebody else's
        return False


def await_exit(found: Iterable[psutil.Process], patience_seconds: float) -> list[psutil.Process]:
    """Wait for processes to exit; return those that have not."""
    return [process for process in found if not _exits(process, patience_seconds)]


def _exits(process: psutil.Process, patience_seconds: float) -> bool:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(patience_seconds * 1000))
    finally:
        os.close(descriptor)
