"""Options that commands share: the directory and ``--json``.

Decided here: where the directory comes from (argument or ``-d``, else ``$NEXUS_HOME``, else the current directory), and
how a command that people may copy is written. Not decided here: what a command does with the directory.
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["invocation", "json_option", "shell_quoted", "with_directory"]

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")

_PATH = click.Path(path_type=Path)
_WHICH = "The directory; default: $NEXUS_HOME, else '.'."
_WHICH_TO_MAKE = "The directory to make; default: $NEXUS_HOME."


def with_directory(*, required: bool = False, argument: bool = True) -> Callable[[Command], Callable[..., Any]]:
    """Give a command its ``directory``, as an argument or by ``-d``; with ``required`` it must be named.

    Without ``argument`` only ``-d`` names it: for commands whose arguments are something else.
    """

    def decorate(command: Command) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_chosen(
            *arguments: Any, dir_option: Path | None, dir_argument: Path | None = None, **options: Any
        ) -> Any:
            directory = _chosen(dir_argument, dir_option, required=required)
            return command(*arguments, directory=directory, **options)

        about = _WHICH_TO_MAKE if required else _WHICH
        option = click.option("-d", "--dir", "dir_option", metavar="DIR", type=_PATH, help=about)
        wrapped: Callable[..., Any] = option(with_chosen)
        if argument:
            shown = "DIR" if required else "[DIR]"
            wrapped = click.argument("dir_argument", metavar=shown, type=_PATH, required=False)(wrapped)
        return wrapped

    return decorate


def _chosen(argument: Path | None, option: Path | None, *, required: bool) -> Path:
    if argument is not None and option is not None and argument.resolve() != option.resolve():
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
    """Return a path as one word of a shell command that no command takes for an option."""
    text = os.fspath(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def invocation(command: str, directory: Path) -> str:
    """Return the command line that runs a command on a directory."""
    return f"nexus-supervisor {command} {shell_quoted(directory)}"
