"""Importing what belongs to the user: models and hooks, from DIR or from wherever they are installed.

Decided here: how a failed import reads. Not decided here: what is looked for in the module (``loading.py``,
``hooks.py``).
"""

from __future__ import annotations

import importlib
import os
import sysconfig
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

from nexus_supervisor.errors import RejectedError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["LoadError", "imported", "place_of", "why"]


class LoadError(RejectedError):
    """Say that something of the user's can't be loaded, and why."""


def imported(what: str, module_name: str) -> ModuleType:
    """Import a module of the user's; what it raises, or that it wants to exit, becomes a sentence about ``what``."""
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise  # somebody who imports it in a session of their own
    except BaseException as error:
        message = f"{what} can't be loaded: {why(error)}"
        raise LoadError(message) from error


def why(error: BaseException) -> str:
    """Say what went wrong and where; the text of an exception of the user's own is not shown: it may hold anything."""
    match error:
        case SyntaxError(filename=str(file), lineno=int(line), msg=words):
            return f"{type(error).__name__} ({words}) at {file}:{line}"
        case SyntaxError(msg=words):
            return f"{type(error).__name__} ({words}){place_of(error)}"
        case ImportError():
            return f"{error}{place_of(error)}"
    return f"{type(error).__name__}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """Return ``" at FILE:LINE"``, where the user's code led to an error; nothing where that can't be told.

    A library that the code called is passed over, unless all of the code is one.
    """
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    theirs = [(file, line) for file, line in frames if not file.startswith(("<", _OWN)) and "importlib" not in file]
    libraries = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "purelib", "platlib"))
    nearest = [(file, line) for file, line in theirs if not file.startswith(libraries)] or theirs
    return f" at {nearest[-1][0]}:{nearest[-1][1]}" if nearest else ""


_OWN = f"{Path(__file__).parents[1]}{os.sep}"
