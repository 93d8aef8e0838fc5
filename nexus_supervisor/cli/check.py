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
from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.compiler.check import compile_once
from nexus_supervisor.core.compilation import Refused, Seen
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import overrides_from_environment
from nexus_supervisor.errors import RejectedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check"]

ENVIRONMENT = "environment"
"""Where a problem is that no file holds."""


@click.command
@with_directory(argument=True)
@json_option
def check(directory: Path, *, as_json: bool) -> None:
    """Validate a directory without touching anything: every problem with file and line. Exits with 0 or 3."""
    overrides, mistakes = overrides_from_environment(os.environ)
    problems = tuple(Problem(ENVIRONMENT, 0, one.key, one.code, one.message) for one in mistakes)
    verdict = compile_once(directory, overrides, _pepper(directory))
    if isinstance(verdict, Refused):
        problems += verdict.problems
    warnings = verdict.warnings if isinstance(verdict, Seen) else ()
    if as_json:
        terminal.show_json(_document(verdict, problems, warnings))
    else:
        for problem in problems:
            terminal.say(problem)
        for warning in warnings:
            terminal.say(f"warning: {warning}", err=True)
    if problems:
        message = f"{directory} is not valid: {len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise RejectedError(message)
    if not as_json and isinstance(verdict, Seen):
        terminal.say(f"{directory} is valid: {verdict.files} files")


def _document(verdict: Seen | Refused, problems: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "ok": not problems,
        "digest": verdict.wanted if isinstance(verdict, Seen) else None,
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "warnings": [dataclasses.asdict(warning) for warning in warnings],
    }


def _pepper(directory: Path) -> bytes | None:
    """Return the directory's pepper, or None where no keys are yet, for example in a repository."""
    if not (directory / "keys" / "pepper").exists():
        return None
    from nexus_supervisor.supervisor.keys import load_pepper

    return load_pepper(directory)
