"""Making a snapshot in this process, from a directory that the compiler has found valid.

Decided here: where models and hooks are imported from, and that ``derived`` is what the hook ``prepare`` makes. Not
decided here: whether the directory is valid (``compiling.py``), and how models are built (``models/building.py``).
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nexus_supervisor.core.content import Version
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.models.building import NOTHING, Builder
from nexus_supervisor.models.hooks import Hooks, load_hooks
from nexus_supervisor.testing.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from types import ModuleType

    from nexus_supervisor.core.settings import Settings

__all__ = ["Made", "made_from", "snapshot_from"]

_imported: dict[str, Path] = {}
"""The modules that were imported here, by name, with the directory that they were imported for."""


class Made(NamedTuple):
    """Hold a snapshot that was made from a directory, and the directory's hooks."""

    snapshot: Snapshot
    hooks: Hooks


def snapshot_from(directory: str | PathLike[str], *, version: int = 1) -> Snapshot:
    """Return the snapshot that a worker would get of a directory, secrets and ``derived`` included.

    The directory is compiled in a process of its own, as ``nexus-supervisor check`` does; raise RejectedError with
    every problem. Nothing is written, and it needs no keys. Models are imported and built, and the hook ``prepare`` is
    called, in this process; its exceptions are raised as they are. The directory is on ``sys.path`` meanwhile.
    """
    return made_from(directory, version).snapshot


def made_from(directory: str | PathLike[str], version: int) -> Made:
    """Return the snapshot of a directory, and its hooks."""
    where = Path(directory).resolve()
    found = compiled(where)
    supervisor = found.settings.supervisor
    sections = found.content.sections.items()
    rows = {name: {entry: row for row, entry in enumerate(section.entries)} for name, section in sections}
    with _importing(where, found.settings):
        built = Builder(found.settings.programs[0].program).build(found.content, NOTHING, found.secrets, rows)
        snapshot = Snapshot(Version(version), found.content.digest, built.sections, built.daemon, built.rows)
        hooks = load_hooks(supervisor.hooks)
        if hooks.prepare is not None:
            snapshot.__dict__["derived"] = hooks.prepare(snapshot, None)
    return Made(snapshot, hooks)


@contextmanager
def _importing(directory: Path, settings: Settings) -> Iterator[None]:
    """Put a directory first on the import path, and forget modules of other directories that it has itself."""
    wanted = [spec.model.partition(":")[0] for spec in settings.supervisor.sections]
    _forget_strangers(directory, {*wanted, settings.supervisor.hooks})
    before = set(sys.modules)
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        fresh = sys.modules.keys() - before
        _imported.update((name, directory) for name in fresh if _is_in(directory, sys.modules[name]))


def _forget_strangers(directory: Path, wanted: set[str]) -> None:
    """Forget modules of these names that are another directory's, and what was imported for other directories.

    What a test has imported by itself from this directory stays, so that a class is the same everywhere.
    """
    others = {name for name, where in _imported.items() if where != directory}
    tops = {name.partition(".")[0] for name in wanted | others}
    own = {name for name in tops if (directory / f"{name}.py").exists() or (directory / name).is_dir()}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in own and not _is_in(directory, module):
            del sys.modules[name]
            _imported.pop(name, None)


def _is_in(directory: Path, module: ModuleType) -> bool:
    """Return whether a module was loaded from a file below a directory."""
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(place is not None and Path(place).resolve().is_relative_to(directory) for place in places)
