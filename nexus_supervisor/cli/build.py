"""``build``: compile and sign offline.

Decided here: what is said. Not decided here: what is valid (``compiler/``) and how a version is made
(``supervisor/building.py``).
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.check import ENVIRONMENT, NOT_THERE, pepper_of
from nexus_supervisor.cli.options import invocation, json_option, with_directory
from nexus_supervisor.core import delta
from nexus_supervisor.core.compilation import Refused
from nexus_supervisor.core.content import EMPTY, Content
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import overrides_from_environment
from nexus_supervisor.errors import KeyFileError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from nexus_supervisor.supervisor.building import Built

__all__ = ["build"]


@click.command
@with_directory()
@click.option("--reason", default="", metavar="TEXT", help="Say why; it is noted beside the version.")
@json_option
def build(directory: Path, *, reason: str, as_json: bool) -> None:
    """Compile and sign a directory while no supervisor runs.

    What the directory holds becomes the committed version, from which the next start begins, unless it is that already.
    Exits with 3 where the directory is not valid, with 6 while a supervisor runs.
    """
    from nexus_supervisor.supervisor.building import build as built_by

    overrides, mistakes = overrides_from_environment(os.environ)
    problems = tuple(Problem(ENVIRONMENT, 0, one.key, one.code, one.message) for one in mistakes)
    if not directory.is_dir():
        problems += (Problem(str(directory), 0, "", "missing", NOT_THERE),)
    if problems:
        raise _invalid(directory, problems)
    made = built_by(
        directory,
        lambda: _compiled(directory, overrides),
        overrides,
        reason=reason,
        requester=_requester(),
    )
    _tell(directory, made, as_json=as_json)


def _requester() -> str:
    """Return who builds, by the user id alone: what the environment says of a name is anybody's word."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    return f"{name} (uid {uid})"


def _compiled(directory: Path, overrides: Mapping[str, Any]) -> Content:
    """Return what the directory holds; raise RejectedError with every problem."""
    from nexus_supervisor.compiler.check import compile_once

    pepper = pepper_of(directory)
    if pepper is None:
        message = f"{directory} has no keys yet: make them with `{invocation('keygen', directory)}`"
        raise KeyFileError(message)
    verdict = compile_once(directory, overrides, pepper)
    if isinstance(verdict, Refused):
        raise _invalid(directory, verdict.problems)
    for warning in verdict.warnings:
        terminal.say(f"warning: {warning}", err=True)
    return EMPTY if verdict.payload is None else EMPTY.after(delta.decode(verdict.payload))


def _invalid(directory: Path, problems: tuple[Problem, ...]) -> RejectedError:
    message = f"{directory} is not valid: {len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return RejectedError(message, problems)


def _tell(directory: Path, made: Built, *, as_json: bool) -> None:
    for alarm in made.alarms:
        terminal.say(f"note: {alarm}", err=True)
    if as_json:
        terminal.show_json({"version": made.version, "digest": made.digest, "new": made.is_new})
    elif made.is_new:
        terminal.say(f"version {made.version} is built: the next start of {directory} begins with it")
    else:
        terminal.say(f"nothing new: version {made.version} holds what {directory} holds")
