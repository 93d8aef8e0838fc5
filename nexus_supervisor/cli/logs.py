"""``logs``: what workers wrote to stdout and stderr.

Decided here: a line's form. Not decided here: which lines there are (the supervisor).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import with_directory
from nexus_supervisor.cli.words import moment
from nexus_supervisor.client import ControlClient

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.control import OutputLine

__all__ = ["logs"]

_LINES = 100


@click.command
@click.argument("slot", metavar="[SLOT]", default="", required=False)
@with_directory(argument=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the supervisor ends, or Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=_LINES,
    show_default=True,
    metavar="NUMBER",
    help="Show so many of the newest lines that are kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line on stdout.")
def logs(slot: str, *, directory: Path, follow: bool, lines: int, as_json: bool) -> None:
    """Show what workers wrote, and follow it.

    These are the newest kept lines of stdout and stderr, of one slot or of all, and with --follow each new one.
    """
    try:
        for line in ControlClient(directory).output(slot, lines, follow=follow):
            _show(line, as_json=as_json)
    except KeyboardInterrupt:
        if not follow:
            raise
        terminal.break_line()  # whoever follows has no other way to leave


def _show(line: OutputLine, *, as_json: bool) -> None:
    if as_json:
        terminal.show_json_line(dataclasses.asdict(line))
    else:
        terminal.say(f"{moment(line.at)} {line.slot}[{line.pid}] {line.stream} | {line.text}")
