"""``schema``: JSON Schema of a directory's files, on stdout or beside them for editors.

Decided here: which schemas are shown, and which files are written. Not decided here: what a schema says and in which
process models are imported for it (``compiler/``).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.compiler.describe import DAEMON, SECTION_KEY, described
from nexus_supervisor.core.settings import overrides_from_environment
from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.errors import ConflictError, DirectoryError, RejectedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexus_supervisor.compiler.describe import Described

__all__ = ["FOLDER", "put_schemas", "schema"]

FOLDER = "schemas"
_MAX_BYTES = 64 << 20


@click.command
@click.argument("section", metavar="[SECTION]", required=False)
@with_directory(argument=False)
@click.option("--write", is_flag=True, help="Write them to schemas/SECTION.json and schemas/daemon.json in DIR.")
@json_option
def schema(directory: Path, *, section: str | None, write: bool, as_json: bool) -> None:
    """Print or write JSON Schema, by which editors complete and check.

    SECTION is one of the directory's sections, or daemon for daemon.toml; without it, all of them by name.
    """
    overrides, _ = overrides_from_environment(os.environ)
    found = described(directory, overrides, section)
    if section is not None and section not in found.documents and Path(section).is_dir():
        message = f"{section} is a directory and no section of {directory}: to name the directory, write -d {section}"
        raise UsageError(message)
    if section is not None and section not in found.documents and not found.problems:
        raise UsageError(_unknown(section, found))
    if write:
        _tell(directory, put_schemas(directory, found.documents), as_json=as_json)
    elif section is None:
        terminal.show_json(found.documents)
    elif section in found.documents:
        terminal.show_json(found.documents[section])
    if found.problems:
        message = f"not every section of {directory} can be described"
        raise RejectedError(message, found.problems)


def put_schemas(directory: Path, documents: Mapping[str, Any]) -> dict[str, bool]:
    """Write a file for each document into ``schemas/``; return, by name, whether it differed from what was there.

    Each file is written whole or not at all. Raise ConflictError, and write nothing, where a file is no schema of ours.
    """
    from nexus_supervisor.supervisor import durable

    if not directory.is_dir():
        message = f"{directory} is not a directory: name the one that holds daemon.toml"
        raise DirectoryError(message)
    (directory / FOLDER).mkdir(exist_ok=True)
    with durable.directory(directory / FOLDER) as folder:
        texts = {name: f"{json.dumps(document, indent=2)}\n".encode() for name, document in documents.items()}
        differs = {name: _differs(folder, directory, name, raw) for name, raw in texts.items()}
        for name, is_new in differs.items():
            if is_new:
                durable.replace(folder, _file(name), texts[name], mode=0o644)
    return differs


def _differs(folder: int, directory: Path, name: str, raw: bytes) -> bool:
    """Say whether a file has to be written; raise ConflictError where it holds something else than a schema of ours."""
    from nexus_supervisor.supervisor import durable

    try:
        there = durable.read(folder, _file(name), _MAX_BYTES)
    except FileNotFoundError:
        return True
    except OSError as error:
        there, reason = b"", f" ({error.strerror})"
    else:
        reason = ""
    if not _is_ours(there):
        place = directory / FOLDER / _file(name)
        message = f"{place} is no schema that was written by this command{reason}, and is not overwritten: move it away"
        raise ConflictError(message)
    return there != raw


def _is_ours(raw: bytes) -> bool:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and SECTION_KEY in document


def _file(name: str) -> str:
    return f"{name}.json"


def _tell(directory: Path, differs: Mapping[str, bool], *, as_json: bool) -> None:
    paths = {os.fspath(directory / FOLDER / _file(name)): is_new for name, is_new in sorted(differs.items())}
    if as_json:
        changed = [path for path, is_new in paths.items() if is_new]
        terminal.show_json({"written": changed, "unchanged": [path for path in paths if path not in changed]})
        return
    for path, is_new in paths.items():
        terminal.say(f"{path} is {'written' if is_new else 'up to date'}")


def _unknown(section: str, found: Described) -> str:
    known = sorted((DAEMON, *found.sections))
    meant = suggestion(section, known)
    hint = f"did you mean {meant}?" if meant else f"there are {', '.join(known)}"
    return f"there is no section {section!r}: {hint}"
