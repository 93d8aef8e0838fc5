"""``upgrade``: the installed version takes over in the process that runs.

Decided here: the request, and what is shown while it is waited for. Not decided here: when it happens and whether it
can (the supervisor).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.cli.verdict import tell, waiting
from nexus_supervisor.client import ControlClient

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["upgrade"]


@click.command
@with_directory()
@click.option("--reason", default="", metavar="TEXT", help="Say why; it is noted beside what happens.")
@json_option
def upgrade(directory: Path, *, reason: str, as_json: bool) -> None:
    """Have the installed version take over in the running process.

    The process, its workers, sockets and counters stay; workers run the version of before until `restart`. Exits with 0
    when it has taken over, with 1 where it can't start, and with 6 where something else took too long to end; then the
    old one goes on.
    """
    with waiting("waiting until the installed version has taken over", directory):
        ended = ControlClient(directory).upgrade(reason)
    tell(ended, directory, as_json=as_json)
