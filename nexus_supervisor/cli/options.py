"""Options that commands share: the directory and ``--json``.

Decided here: where the directory comes from (argument or ``-d``, else ``$NEXUS_HOME``, else the current directory). Not
decided here: what a command does with it.
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["json_option", "shell_quoted", "with_directory"]

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


def with_directory(*, argument: bool, required: bool = False) -> Callable[[Command], Callable[..., Any]]:
    """Give a command its ``directory``; with ``argument`` DIR may stand alone, with ``required`` it must be named."""

    def decorate(command: Command) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_chosen(
            *arguments: Any, dir_option: Path | None, dir_argument: Path | None = None, **options: Any
        ) -> Any:
            directory = _chosen(dir_argument, dir_option, required=required)
            return command(*arguments, directory=directory, **options)

        option = click.option(
            "-d",
            "--dir",
            "dir_option",
            metavar="DIR",
            type=_PATH,
            help="The directory; default: $NEXUS_HOME, else '.'.",
        )
        wrapped: Callable[..., Any] = option(with_chosen)
        if argument:
            wrapped = click.argument(
                "dir_argument", metavar="DIR" if required else "[DIR]", type=_PATH, required=False
            )(wrapped)
        return wrapped

    return decorate


_PATH = click.Path(path_type=Path)


def _chosen(argument: Path | None, option: Path | None, *, required: bool) -> Path:
    if argument is not None and option is not None and argument != option:
        message = f"two directories are named, {argument} and {option}: name one"
        raise click.UsageError(message)
    named = argument or option
    if named is None and (home := os.environ.get("NEXUS_HOME")):
        named = Path(home)
    if named is None and required:
        message = "name the directory to make, for example: nexus-supervisor init demo"
        raise click.UsageError(message)
    return named or Path.cwd()


def shell_quoted(path: Path) -> str:
    """Return a path as one word of a shell command."""
    return shlex.quote(str(path))
