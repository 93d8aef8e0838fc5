"""``init``: a runnable directory.

Decided here: what is said about a new directory. Not decided here: what it holds (``scaffold.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import invocation, with_directory
from nexus_supervisor.cli.scaffold import DEFAULT_PROGRAM, scaffold

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["init"]

BAKE_SECONDS = 2.0


@click.command
@with_directory(required=True)
@click.option(
    "--program",
    default=DEFAULT_PROGRAM,
    show_default=True,
    metavar="NAME",
    help="The worker program that the examples are for: gateway, asgi, wsgi, jobs, hello, or your own as MODULE:ATTR.",
)
def init(directory: Path, *, program: str) -> None:
    """Make a runnable directory with keys and examples.

    The examples are made for one worker program. Nothing is ever overwritten.
    """
    scaffold(directory, program, BAKE_SECONDS)
    terminal.say(f"{directory} is ready. Run it with: {invocation('run', directory)}")
