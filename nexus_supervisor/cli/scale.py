"""``scale``: more or fewer workers.

Decided here: the request. Not decided here: which numbers are taken (the supervisor). It is answered when it is
accepted: who is missing is started then, who is too many finishes what is in hand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.cli.verdict import tell
from nexus_supervisor.client import ControlClient
from nexus_supervisor.core.programs import MAX_WORKERS
from nexus_supervisor.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["scale"]

_NUMBER = re.compile(r"[+-]?[0-9]{1,4}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("number", metavar="N")
@with_directory(argument=False)
@click.option("--program", default="", metavar="NAME", help="Which program; default: the first.")
@click.option("--reason", default="", metavar="TEXT", help="Say why; it is noted beside what happens.")
@json_option
def scale(directory: Path, *, number: str, program: str, reason: str, as_json: bool) -> None:
    """Have N workers of a program; +N or -N: so many more or fewer.

    It holds until the number in daemon.toml changes or the supervisor ends. Slots that were given up are tried again.
    Exits with 0 when it was accepted, with 3 where there is no such program or no room, with 6 during a restart.
    """
    if not _NUMBER.fullmatch(number) or abs(int(number)) > MAX_WORKERS:
        message = f"expected a number of workers such as 4, +1 or -1, up to {MAX_WORKERS}, found {number[:64]!r}"
        raise UsageError(message)
    by = int(number) if number[0] in "+-" else 0
    workers = None if number[0] in "+-" else int(number)
    tell(ControlClient(directory).scale(program, workers=workers, by=by, reason=reason), directory, as_json=as_json)
