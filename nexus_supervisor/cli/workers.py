"""``workers``: what each worker is and does.

Decided here: that memory is measured for it. Not decided here: how it is shown (``render.py``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from nexus_supervisor.cli import render, terminal
from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.client import ControlClient

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["workers"]


@click.command
@with_directory()
@json_option
def workers(directory: Path, *, as_json: bool) -> None:
    """Show what each worker runs, does and costs."""
    document = ControlClient(directory).status(sizes=True)
    if as_json:
        terminal.show_json(document.get("workers", []))
    else:
        terminal.show_page(render.workers_page(document, time.time()))
