"""``events``: the notices of the running supervisor.

Decided here: a notice's one line. Not decided here: what is announced (the supervisor).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import with_directory
from nexus_supervisor.cli.words import moment
from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import canonical

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.control import Noticed

__all__ = ["events"]


@click.command
@with_directory()
@click.option("-f", "--follow", is_flag=True, help="Go on with new notices until the supervisor ends, or Ctrl-C.")
@click.option(
    "--since", type=click.IntRange(min=0), default=0, metavar="NUMBER", help="Leave out notices of a lower number."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line on stdout.")
def events(directory: Path, *, follow: bool, since: int, as_json: bool) -> None:
    """Show the notices of the running supervisor.

    These are the notices that are kept, and with --follow each new one.
    """
    try:
        for noticed in ControlClient(directory).notices(since, follow=follow):
            _show(noticed, as_json=as_json)
    except KeyboardInterrupt:
        if not follow:
            raise
        terminal.break_line()  # whoever follows has no other way to leave


def _show(noticed: Noticed, *, as_json: bool) -> None:
    document: dict[str, Any] = canonical.decode(noticed.document)
    if as_json:
        terminal.show_json_line({"number": noticed.number, "at": noticed.at, **document})
    else:
        terminal.say(_line(noticed.at, document))


def _line(at: float, notice: dict[str, Any]) -> str:
    return f"{moment(at)} {notice.get('level', '-'):<7} {notice.get('kind', '-')}: {notice.get('text', '')}"
