"""The process that describes a directory: ``python -m nexus_supervisor.compiler.describer FD``.

Decided here: which sections a directory has to describe although parts of daemon.toml may be wrong. Not decided here:
what a schema says (``schema.py``, ``daemon_schema.py``) and who asks (``describe.py``). One JSON object in, one out,
each ended by EOF.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.daemonfile import DaemonFile, DaemonFileReader
from nexus_supervisor.compiler.describe import DAEMON
from nexus_supervisor.compiler.inquiry import received_whole
from nexus_supervisor.compiler.limits import set_limits, settle
from nexus_supervisor.compiler.reading import TroubleError
from nexus_supervisor.compiler.schema import daemon_document, section_document
from nexus_supervisor.compiler.tree import Tree
from nexus_supervisor.core.options import LimitSettings
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.models.importing import LoadError
from nexus_supervisor.models.loading import load_model
from nexus_supervisor.models.secrets import Origins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexus_supervisor.core.sections import SectionSpec

__all__ = ["main"]

_DECLARATIONS = "supervisor.section"
_NO_PEPPER = bytes(32)


def main(arguments: list[str]) -> int:
    """Answer the one question on the descriptor that the command line names; return the exit code."""
    with settle(arguments) as connection:
        request = json.loads(received_whole(connection))
        set_limits(LimitSettings())
        sys.path.insert(0, request["directory"])
        if request["question"] == "fields":
            answer = _fields(request["models"])
        else:
            answer = _schemas(Path(request["directory"]), request["overrides"], request["only"])
        connection.sendall(json.dumps(answer).encode())
    return 0


def _fields(models: Mapping[str, str]) -> dict[str, Any]:
    """Return the marked fields of each section's model, and why some are not known."""
    restart: dict[str, Any] = {}
    wide: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for section, path in models.items():
        try:
            model = load_model(path)
        except LoadError as error:
            unknown[section] = str(error)
        else:
            restart[section] = model.restart_required()
            wide[section] = [(pattern, asdict(rule)) for pattern, rule in model.widens()]
    return {"restart": restart, "wide": wide, "unknown": unknown}


def _schemas(directory: Path, overrides: Mapping[str, Any], only: str | None) -> dict[str, Any]:
    """Return documents, the names of all sections, and problems; daemon.toml describes itself without being read."""
    documents = {DAEMON: daemon_document()} if only in (None, DAEMON) else {}
    if only == DAEMON:
        return {"documents": documents, "sections": [], "problems": []}
    problems: list[Problem] = []
    daemon = _daemon_file(directory, overrides, problems)
    specs: tuple[SectionSpec, ...] = ()
    if daemon is not None and daemon.settings is not None:
        specs = daemon.settings.supervisor.sections
        documents |= _sections(daemon, specs, only, problems)
    names = [spec.name for spec in specs]
    if only in documents:
        problems.clear()  # whatever else is wrong, this one is whole
    return {"documents": documents, "sections": names, "problems": [asdict(one) for one in problems]}


def _sections(
    daemon: DaemonFile, specs: tuple[SectionSpec, ...], only: str | None, problems: list[Problem]
) -> dict[str, Any]:
    """Return the schema of each section, or of one, whose model can be loaded; for others a problem is noted."""
    documents: dict[str, Any] = {}
    all_read = not problems
    for index, spec in enumerate(specs):
        if only not in (None, spec.name):
            continue
        try:
            documents[spec.name] = section_document(spec, load_model(spec.model))
        except LoadError as error:
            key = f"{_DECLARATIONS}[{index}].model" if all_read else _DECLARATIONS
            problems.append(daemon.problem(key, "value", str(error)))
    return documents


def _daemon_file(directory: Path, overrides: Mapping[str, Any], problems: list[Problem]) -> DaemonFile | None:
    """Return daemon.toml, with the problems that keep sections from being known noted; None where DIR is none."""
    origins = Origins(directory, os.environ, _NO_PEPPER)
    try:
        with Tree(directory) as tree:
            daemon = DaemonFileReader(overrides, origins).look(tree, LimitSettings(), doubt=False)
    except TroubleError as trouble:
        problems.append(Problem(".", 0, "", trouble.code, trouble.message))
        return None
    known = daemon.settings is not None
    problems += [one for one in daemon.problems if not known or one.key.startswith(_DECLARATIONS)]
    return daemon


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # a thread that a model started must not keep the process
