"""Stored versions, as somebody sees them who is not the supervisor.

Decided here: which version is the committed one for such a reader, and that none is read that doesn't verify. Not
decided here: how versions are stored (``archive.py``) and what the supervisor trusts (``core/trust.py``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nexus_supervisor.errors import DamageError, UsageError
from nexus_supervisor.supervisor.archive import Archive, listed
from nexus_supervisor.supervisor.verify import read_by, signers

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.content import Content
    from nexus_supervisor.supervisor.archive import Stored

__all__ = ["committed_version", "content_of", "stored_version"]


def committed_version(directory: Path) -> int | None:
    """Return the version that ``compiled/current`` names, None where nothing is stored yet; raise DamageError."""
    archive = Archive(directory)
    version = archive.pointer()
    if version is None and archive.versions():
        message = "compiled/current names no version that is kept: name the versions to compare"
        raise DamageError(message, file="compiled/current")
    return version


def stored_version(directory: Path, version: int) -> Stored:
    """Return a version that is kept; raise UsageError for another one, DamageError for a damaged one."""
    archive = Archive(directory)
    kept = archive.versions()
    if version not in kept:
        there = f"there are {listed(kept)}" if kept else "there is none yet"
        message = f"compiled/ has no version {version}: {there}"
        raise UsageError(message)
    return archive.load(version, partial(read_by, signers(directory, None)))


def content_of(directory: Path, version: int) -> Content:
    """Return the content of a version that is kept; raise UsageError or DamageError as ``stored_version`` does."""
    return stored_version(directory, version).content
