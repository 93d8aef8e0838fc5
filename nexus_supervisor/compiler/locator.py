"""The process that locates a key: ``python -m nexus_supervisor.compiler.locator FD``.

Decided here: which file and line write a value, and what is said where none does. Not decided here: who asks
(``locate.py``) and how entries are read (``evidence.py``). One JSON object in, one out, each ended by EOF.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_supervisor.compiler.daemonfile import DAEMON_FILE, DaemonFileReader, key_path
from nexus_supervisor.compiler.evidence import Gatherer
from nexus_supervisor.compiler.inquiry import received_whole
from nexus_supervisor.compiler.limits import set_limits, settle
from nexus_supervisor.compiler.locate import Located
from nexus_supervisor.compiler.positions import positions
from nexus_supervisor.compiler.reading import TroubleError, VanishedError
from nexus_supervisor.compiler.tree import Tree, shown
from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import BUILT_IN
from nexus_supervisor.core.options import LimitSettings
from nexus_supervisor.core.settings import parse
from nexus_supervisor.models.secrets import Origins

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from nexus_supervisor.compiler.daemonfile import DaemonFile
    from nexus_supervisor.compiler.shelf import Shelf

__all__ = ["main"]

_TABLES = ("daemon", "supervisor")

Steps = tuple[str | int, ...]


def main(arguments: list[str]) -> int:
    """Answer the one question on the descriptor that the command line names; return the exit code."""
    with settle(arguments) as connection:
        request = json.loads(received_whole(connection))
        set_limits(LimitSettings())
        sys.path.insert(0, request["directory"])
        origins = Origins(Path(request["directory"]), os.environ, bytes.fromhex(request["pepper"]))
        found = _located(origins, request["overrides"], key_path(request["key"]))
        connection.sendall(json.dumps(asdict(found)).encode())
    return 0


def _located(origins: Origins, overrides: Mapping[str, Any], key: Steps) -> Located:
    first, path = str(key[0]) if key else "", key[1:]
    try:
        with Tree(origins.directory) as tree:
            daemon = DaemonFileReader(overrides, origins).look(tree, LimitSettings(), doubt=False)
            if first in _TABLES:
                return _setting(daemon, first, path)
            return _of_section(tree, origins, daemon, overrides, key)
    except TroubleError as trouble:
        return _unknown(first, "", path, trouble.message, ())


def _setting(daemon: DaemonFile, table: str, path: Steps) -> Located:
    lines, written = positions(daemon.text), (table, *path)
    body = None
    if daemon.section is not None and table in daemon.section.entries:
        body = canonical.decode(daemon.section.entries[table].body)
    trouble = str(daemon.problems[0]) if daemon.problems else ""
    return Located(BUILT_IN, table, path, body, DAEMON_FILE, lines.line(written), written in lines.lines, trouble, ())


def _of_section(tree: Tree, origins: Origins, daemon: DaemonFile, overrides: Mapping[str, Any], key: Steps) -> Located:
    settings = daemon.settings or parse({}, overrides, cpu_count=1).settings
    evidence = Gatherer(origins).gather(tree, None, daemon, (settings, None))
    section, entry, path = (*map(str, (*key, "", "")[:2]), key[2:])
    shelf = evidence.survey.shelves.get(section)
    if shelf is None:
        return _unknown(section, "", path, "there is no such section", (*_TABLES, *evidence.survey.shelves))
    trouble = next((str(one) for one in evidence.problems), "")
    places = shelf.names.places(entry)
    if not places:
        return _unknown(section, entry, path, trouble or "no file holds such an entry", tuple(sorted(shelf.names)))
    file, number = places[0]
    held = shelf.item((file, number)).entry
    body = None if held is None else canonical.decode(held.body)
    line, written = _line(tree, shelf, (file, number), path, settings.supervisor.limits.max_file_bytes)
    return Located(section, entry, path, body, shown(file), line, written, "" if held else trouble, ())


def _line(tree: Tree, shelf: Shelf, place: tuple[str, int], path: Steps, most: int) -> tuple[int, bool]:
    """Return the line of a value, or of what is around it, and whether it is written there."""
    folder, _, name = place[0].rpartition("/")
    try:
        raw = tree.folder(folder).read(name, most).raw
    except VanishedError:
        return 0, False
    lines, written = positions(raw.decode("utf-8", "replace").replace("\r\n", "\n")), (*shelf.item(place).place, *path)
    return lines.line(written), not written or written in lines.lines


def _unknown(section: str, entry: str, path: Steps, trouble: str, known: tuple[str, ...]) -> Located:
    return Located(section, entry, path, None, "", 0, written=False, trouble=trouble, known=known)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # a thread that a model started must not keep the process
