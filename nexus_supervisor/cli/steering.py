"""``promote``, ``pause``, ``resume`` and ``abort``: commands that steer the running rollout.

Decided here: the requests that they build. Not decided here: what a rollout makes of them (the supervisor). Each is
answered when it is accepted, not when it has happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.cli.verdict import tell
from nexus_supervisor.client import ANSWER_SECONDS, ControlClient
from nexus_supervisor.core.control import Ended, SteerRequest
from nexus_supervisor.errors import ProtocolError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["abort", "pause", "promote", "resume"]


def _steering(verb: str, about: str) -> click.Command:
    """Return the command of one verb; ``about`` is its help."""

    @click.command(verb, help=about)
    @with_directory()
    @click.option("--reason", default="", metavar="TEXT", help="Say why; it is noted beside what happens.")
    @json_option
    def command(directory: Path, *, reason: str, as_json: bool) -> None:
        ended = ControlClient(directory).ask(SteerRequest(verb=verb, reason=reason), ANSWER_SECONDS)
        if not isinstance(ended, Ended):
            message = "the supervisor answered with a status instead of an end: it may be of another version"
            raise ProtocolError(message)
        tell(ended, directory, as_json=as_json)

    found: click.Command = command
    return found


promote = _steering(
    "promote",
    """End the bake or the pause of the running rollout and go on to all.

    Exits with 0 when it was accepted, with 6 where there is nothing to promote.
    """,
)
pause = _steering(
    "pause",
    """Pause the running rollout.

    From its bake at once, else before the next group of workers. A pause that lasts too long goes back.
    """,
)
resume = _steering(
    "resume",
    """Go on with the rollout that is paused.

    What was left of its bake is baked.
    """,
)
abort = _steering(
    "abort",
    """Give the running rollout up and go back.

    What the directory holds is not applied again until it changes or a push asks for it.
    """,
)
