"""A new directory: example files, their schemas, keys and demo tokens, in a place where nothing is overwritten.

Decided here: which files a new directory gets, and that it gets all of them or none. Not decided here: what the files
say (``templates/``), how keys are made (``supervisor/keys.py``) and what a schema says (``compiler/``).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_supervisor.cli.schema import FOLDER as SCHEMAS
from nexus_supervisor.cli.schema import put_schemas
from nexus_supervisor.compiler.describe import described
from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.errors import ConflictError, DirectoryError, RejectedError, UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["demo_keys", "scaffold"]

DEFAULT_PROGRAM = "gateway"
_ANY_PROGRAM = "program"
_PROGRAM_GROUP = "nexus_supervisor.workers"
_MADE_BESIDE_TEMPLATES = ("keys", "compiled", "state", SCHEMAS)
_OWN_PROGRAM = re.compile(r"[\w.]+:[\w.]+", re.ASCII)
_DEMO_KEY = re.compile(r"file:keys/(demo-[a-z0-9_-]+\.key)")


def scaffold(directory: Path, program: str, bake_seconds: float) -> None:
    """Fill a directory, making it first where it is missing, for one worker program.

    Raise UsageError for an unknown program and ConflictError where anything that would be written is there already.
    """
    template = _template(program)
    _refuse_overwriting(directory, {*(part.name for part in _parts(template)), *_MADE_BESIDE_TEMPLATES})
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".nexus-init-", dir=directory))
    try:
        _write(template, draft, {"@BAKE_SECONDS@": f"{bake_seconds:g}", "@PROGRAM@": program})
        _make_keys(draft)
        _make_schemas(draft)
        _put_all(draft, directory)
    finally:
        shutil.rmtree(draft)
        if made and not any(directory.iterdir()):
            directory.rmdir()


def demo_keys(directory: Path) -> dict[str, Path]:
    """Return the demo tokens of a directory: source and file."""
    found = sorted((directory / "keys").glob("demo-*.key"))
    return {path.stem.removeprefix("demo-"): path for path in found}


def _template(program: str) -> Traversable:
    known = sorted({point.name for point in entry_points(group=_PROGRAM_GROUP)})
    if program not in known and not _OWN_PROGRAM.fullmatch(program):
        meant = suggestion(program, known)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(known)}, or name your own as MODULE:ATTR"
        message = f"{program!r} is no worker program: {hint}"
        raise UsageError(message)
    templates = resources.files(__package__) / "templates"
    own = templates / program
    return own if own.is_dir() else templates / _ANY_PROGRAM


def _parts(folder: Traversable) -> list[Traversable]:
    """Return what a template folder holds; installers leave compiled Python beside Python files."""
    return [part for part in folder.iterdir() if part.name != "__pycache__"]


def _refuse_overwriting(directory: Path, names: set[str]) -> None:
    if directory.exists() and not directory.is_dir():
        message = f"{directory} is not a directory: name another one"
        raise DirectoryError(message)
    taken = sorted(name for name in names if os.path.lexists(directory / name))
    if taken:
        raise ConflictError(_taken(directory, taken))


def _write(folder: Traversable, target: Path, values: dict[str, str]) -> None:
    for part in _parts(folder):
        if part.is_dir():
            (target / part.name).mkdir()
            _write(part, target / part.name, values)
            continue
        text = part.read_text(encoding="utf-8")
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        (target / part.name).write_text(text, encoding="utf-8")


def _put_all(draft: Path, directory: Path) -> None:
    """Give all parts their places, or none: what somebody else has put there meanwhile is not replaced."""
    put = contextlib.ExitStack()
    with put:
        # what decides that this is a directory of ours comes last
        for part in sorted(draft.iterdir(), key=lambda part: (part.name == "daemon.toml", part.name)):
            target = directory / part.name
            try:
                if part.is_dir():
                    target.mkdir()  # rename(2) replaces an empty directory only
                    put.callback(shutil.rmtree, target)
                    part.rename(target)
                else:
                    target.hardlink_to(part)
                    put.callback(target.unlink)
            except FileExistsError as error:
                raise ConflictError(_taken(directory, [part.name])) from error
        put.pop_all()


def _taken(directory: Path, names: list[str]) -> str:
    return f"{directory} already has {', '.join(names)}, and nothing is overwritten: name another directory"


def _make_keys(draft: Path) -> None:
    """Make the keys, and a random token for each demo key that the examples name."""
    from nexus_supervisor.supervisor import keys

    keys.generate(draft)
    named = {name for path in draft.rglob("*.toml") for name in _DEMO_KEY.findall(path.read_text(encoding="utf-8"))}
    for name in named:
        descriptor = os.open(draft / "keys" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"nxs_{secrets.token_urlsafe(32)}\n")


def _make_schemas(draft: Path) -> None:
    """Write the schemas that the first lines of the examples name."""
    found = described(draft, {})
    if found.problems:
        message = "the examples can't be described: a module of theirs is not the one that is imported"
        raise RejectedError(message, found.problems)
    put_schemas(draft, found.documents)
