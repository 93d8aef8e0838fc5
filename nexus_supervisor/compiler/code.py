"""Code: the modules of DIR that were imported, and which of their files changed since.

Decided here: how such a change is known (by size and time of the file). Not decided here: what it leads to; a running
process never imports a module twice.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["Code"]

_MOST_NAMED = 3


class Code:
    """Remember the files of the modules that were imported from one directory."""

    def __init__(self, directory: Path) -> None:
        self._inside = f"{directory}{os.sep}"
        self._known: dict[str, tuple[int, int] | None] = {}

    def note(self) -> None:
        """Note the modules that were imported since the last time."""
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file.startswith(self._inside) and file not in self._known:
                self._known[file] = _state(file)

    def changed(self) -> list[str]:
        """Return the names, relative to the directory, of files that are not what was imported; not more than a few."""
        found = [file for file, known in self._known.items() if _state(file) != known]
        return [file.removeprefix(self._inside) for file in sorted(found)[:_MOST_NAMED]]


def _state(file: str) -> tuple[int, int] | None:
    """Return size and time of a file; None where it is gone."""
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
