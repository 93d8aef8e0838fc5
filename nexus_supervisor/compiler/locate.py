"""Locating what is written, without compiling it all: for ``nexus-supervisor explain``.

Decided here: what is asked, and that files are read and models imported in a process of their own. Not decided here:
the answer (``locator.py``) and how it is shown (``cli/``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.inquiry import answer_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Located", "located"]

_MODULE = "nexus_supervisor.compiler.locator"


@dataclass(frozen=True, slots=True)
class Located:
    """Say where an entry, or a value in it, is written.

    ``section``, ``entry`` and ``path`` are the parts of the key. ``body`` is the whole entry as it is stored, with the
    reference and digest of secrets; None where no file gives a valid one, then ``trouble`` says why. ``file`` is
    relative to the directory, or empty; ``written`` is False where the line is that of what is around it. ``known`` are
    the names among which the wrong one of the key should be.
    """

    section: str
    entry: str
    path: tuple[str | int, ...]
    body: Any
    file: str
    line: int
    written: bool
    trouble: str
    known: tuple[str, ...]


def located(directory: Path, overrides: Mapping[str, Any], key: str, pepper: bytes | None) -> Located:
    """Locate a dotted key in a child process; without a pepper the digests of secrets mean nothing.

    Raise RejectedError where a model ends that process, UnfinishedError where it takes too long.
    """
    request = {"directory": str(directory.resolve()), "overrides": dict(overrides), "key": key}
    request["pepper"] = (pepper or os.urandom(32)).hex()
    answer = answer_of(_MODULE, request, does="reads the files")
    return Located(**{**answer, "path": tuple(answer["path"]), "known": tuple(answer["known"])})
