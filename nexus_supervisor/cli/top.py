"""``top``: the workers, again and again.

Decided here: how often it looks, and that it looks once where nobody can watch. Not decided here: what is shown
(``render.py``) and how (``terminal.py``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from nexus_supervisor.cli import render, terminal
from nexus_supervisor.cli.options import with_directory
from nexus_supervisor.client import ControlClient

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.cli.page import Page

__all__ = ["top"]

EVERY_SECONDS = 1.0


@click.command
@with_directory()
def top(directory: Path) -> None:
    """Watch the workers.

    In a terminal they are drawn again every second until Ctrl-C; elsewhere they are shown once.
    """
    client = ControlClient(directory)

    def look() -> Page:
        return render.top_page(client.status(sizes=True), time.time())

    if terminal.is_watched():
        terminal.watch(look, EVERY_SECONDS)
    else:
        terminal.show_page(look())
