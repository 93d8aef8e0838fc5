"""``check``: validate a directory without touching anything and without a supervisor.

Decided here: what is judged beside the files (the environment's settings) and how the verdict is told. Not decided
here: what is valid, and in which process that is found out (``compiler/``).
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import invocation, json_option, with_directory
from nexus_supervisor.compiler.check import compile_once
from nexus_supervisor.core.compilation import Refused, Seen
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import overrides_from_environment
from nexus_supervisor.errors import RejectedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ENVIRONMENT", "NOT_THERE", "check", "pepper_of"]

ENVIRONMENT = "environment"
"""Where a problem is that no file holds."""

NOT_THERE = "expected a directory, found nothing: name the one that holds daemon.toml"
"""What is wrong where there is no directory."""


@click.command
@with_directory()
@json_option
def check(directory: Path, *, as_json: bool) -> None:
    """Validate a directory without touching anything.

    Every problem is a line with its file and line. Exits with 0 where the directory is valid, else with 3.
    """
    overrides, mistakes = overrides_from_environment(os.environ)
    problems = tuple(Problem(ENVIRONMENT, 0, one.key, one.code, one.message) for one in mistakes)
    pepper = pepper_of(directory)
    verdict = compile_once(directory, overrides, pepper) if directory.exists() else None
    if isinstance(verdict, Refused):
        problems += verdict.problems
    elif verdict is None:
        problems += (Problem(str(directory), 0, "", "missing", NOT_THERE),)
    warnings = verdict.warnings if isinstance(verdict, Seen) else ()
    if as_json:
        digest = verdict.wanted if isinstance(verdict, Seen) and pepper is not None else None
        terminal.show_json(_document(digest, problems, warnings))
    else:
        for problem in problems:
            terminal.say(problem)
        for warning in warnings:
            terminal.say(f"warning: {warning}", err=True)
    if problems:
        message = f"{directory} is not valid: {len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise RejectedError(message)
    if not as_json and isinstance(verdict, Seen):
        terminal.say(f"{directory} is valid: {verdict.files} file{'' if verdict.files == 1 else 's'}")
    if pepper is None:
        terminal.say(f"note: it has no keys yet, which `run` needs: {invocation('keygen', directory)}", err=True)


def _document(digest: str | None, problems: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "ok": not problems,
        "digest": digest,
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "warnings": [dataclasses.asdict(warning) for warning in warnings],
    }


def pepper_of(directory: Path) -> bytes | None:
    """Return the directory's pepper, or None where no keys are yet, for example in a repository.

    Secrets are then hashed under a random one, so the digest means nothing and isn't shown.
    """
    if not (directory / "keys" / "pepper").exists():
        return None
    from nexus_supervisor.supervisor.keys import load_pepper

    return load_pepper(directory)
