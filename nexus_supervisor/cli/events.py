"""``events``: the notices of the running supervisor.

Decided here: a notice's one line. Not decided here: what is announced (the supervisor).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.cli.render import moment
from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import canonical

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["events"]


@click.command
@with_directory(argument=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new notices until the supervisor ends.")
@click.option("--since", type=click.IntRange(min=0), default=0, metavar="NUMBER", help="Leave out older notices.")
@json_option
def events(directory: Path, *, follow: bool, since: int, as_json: bool) -> None:
    """Show the notices that are kept, and with --follow each new one; with --json one document a line."""
    for noticed in ControlClient(directory).notices(since, follow=follow):
        document: dict[str, Any] = canonical.decode(noticed.document)
        if as_json:
            terminal.show_json_line({"number": noticed.number, "at": noticed.at, **document})
        else:
            terminal.say(_line(noticed.at, document))


def _line(at: float, notice: dict[str, Any]) -> str:
    return f"{moment(at)} {notice.get('level', '-'):<7} {notice.get('kind', '-')}: {notice.get('text', '')}"
