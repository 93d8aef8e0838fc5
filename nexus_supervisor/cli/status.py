"""``status``: what runs, and what doesn't yet.

Decided here: which part of the status is shown. Not decided here: how (``render.py``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from nexus_supervisor.cli import render, terminal
from nexus_supervisor.cli.options import invocation, json_option, with_directory
from nexus_supervisor.client import ControlClient

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["status"]


@click.command
@with_directory()
@json_option
def status(directory: Path, *, as_json: bool) -> None:
    """Show what runs, what is held and what was refused.

    Exits with 0 whenever the supervisor answers, whatever it says.
    """
    document = ControlClient(directory).status()
    if as_json:
        terminal.show_json(document)
    else:
        terminal.show_page(render.status_page(document, time.time(), lambda command: invocation(command, directory)))
