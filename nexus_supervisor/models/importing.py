"""Importing what belongs to the user: models and hooks, from DIR or from wherever they are installed.

Decided here: how a failed import reads. Not decided here: what is looked for in the module (``loading.py``,
``hooks.py``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from nexus_supervisor.errors import RejectedError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["LoadError", "imported", "place_of"]


class LoadError(RejectedError):
    """Say that something of the user's can't be loaded, and why."""


def imported(what: str, module_name: str) -> ModuleType:
    """Import a module of the user's; what it raises, or that it wants to exit, becomes a sentence about ``what``."""
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        words = str(error) if isinstance(error, ImportError) else type(error).__name__
        message = f"{what} can't be loaded: {words}{place_of(error)}"
        raise LoadError(message) from error


def place_of(error: BaseException) -> str:
    """Return ``" at FILE:LINE"`` of where an error was raised, or nothing where that is in the import system."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = "<" if trace is None else trace.tb_frame.f_code.co_filename
    if trace is None or file.startswith("<") or "importlib" in file:
        return ""
    return f" at {file}:{trace.tb_lineno}"
