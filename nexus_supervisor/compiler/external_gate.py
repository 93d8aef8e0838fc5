"""The external gate as the compiler sees it: whether its command could be run at all.

Decided here: that a command which nobody could run is a mistake in daemon.toml, found before a version waits for it.
Not decided here: how it is run and what its answer means (the supervisor).
"""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["COMMAND_KEY", "not_runnable"]

COMMAND_KEY = "supervisor.external_gate.command"


def not_runnable(command: str, directory: Path) -> str | None:
    """Return what is wrong with a command, None where it can be run; a path in it is relative to DIR."""
    try:
        parts = shlex.split(command)
    except ValueError as error:
        return f"expected a command, quoted as for a shell, found one that can't be taken apart: {error}"
    if not parts:
        return None
    program = parts[0]
    found = shutil.which(directory / program) if os.sep in program else shutil.which(program)
    return (
        None
        if found
        else f"expected a program that can be run, found none at {program!r}: it is looked up in DIR or PATH"
    )
