"""``push``, ``restart``, ``rollback`` and ``stop``: commands that change what runs, and wait for the end.

Decided here: the requests that they build. Not decided here: what the requests lead to (the supervisor) and how an end
is told (``verdict.py``). Each builds one request value and sends it.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.cli.verdict import await_end, tell, waiting
from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import guards
from nexus_supervisor.core.control import PUSH_ID, PushRequest, RestartRequest, RollbackRequest
from nexus_supervisor.core.options import STRATEGIES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["push", "restart", "rollback", "stop"]


class _PushId(click.ParamType[str]):
    """Read the name of a request."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        if not PUSH_ID.fullmatch(str(value)):
            self.fail(f"expected 1 to 64 letters, digits, ., _, : and -, found {value!r}", param, ctx)
        return str(value)


def _require_reason(option: str, reason: str) -> None:
    if not reason.strip():
        message = f"--{option} passes over a check: say why with --reason TEXT"
        raise click.UsageError(message)


_reason = click.option("--reason", default="", metavar="TEXT", help="Say why; it is noted beside what happens.")
_push_id = click.option(
    "--push-id",
    type=_PushId(),
    default=lambda: uuid.uuid4().hex,
    metavar="ID",
    help="Name this request: the same one again is answered like the first; default: a new name.",
)


@click.command
@with_directory()
@click.option("--expect", type=click.IntRange(min=0), metavar="VERSION", help="Only if this version is live (else 6).")
@_reason
@click.option(
    "--wait",
    type=click.Choice(["active", "retired"]),
    default="active",
    show_default=True,
    help="Wait until every worker uses it, or also until no request uses an older one.",
)
@click.option("--now", is_flag=True, help="Don't bake it: the canary's survival is enough; needs --reason.")
@click.option(
    "--allow",
    type=click.Choice(guards.NAMES),
    multiple=True,
    metavar="GUARD",
    help=f"Let this shape of change pass ({', '.join(guards.NAMES)}), may be repeated; needs --reason.",
)
@click.option("--force", is_flag=True, help="Try content that failed before once more; needs --reason.")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    callback=lambda _context, _option, value: value or "",
    metavar="NAME",
    help=f"Move the workers in this order ({', '.join(STRATEGIES)}) instead of the one of daemon.toml.",
)
@_push_id
@json_option
def push(directory: Path, *, push_id: str, as_json: bool, **asked: Any) -> None:
    """Apply what the directory holds now and wait for the verdict.

    Exits with 0 when it is live, 3 when it was refused, 4 when it was rolled back, 5 without a verdict, 6 when another
    version than expected is live, 7 when no supervisor runs, and 8 while anything is held until a restart.
    """
    for option in ("now", "allow", "force"):
        if asked[option]:
            _require_reason(option, asked["reason"])
    request = PushRequest(**asked, push_id=push_id)
    text = "waiting for the verdict on what the directory holds"
    tell(await_end(request, text, "push", directory), directory, as_json=as_json, push_id=push_id)


@click.command
@with_directory()
@click.option("--now", is_flag=True, help="No bake, and no wait for requests in hand: what is not answered is lost.")
@click.option("--force", is_flag=True, help="Try content that failed before once more; needs --reason.")
@_reason
@_push_id
@json_option
def restart(directory: Path, *, now: bool, force: bool, reason: str, push_id: str, as_json: bool) -> None:
    """Replace every worker and apply what is held.

    Workers start anew, with the code as it is now. A replacement is ready before the old worker is told to finish, and
    the first ones are watched like those of a push. Exits with 0 when all are replaced, 3 when the new code can't be
    imported, and 4 when the code from before runs on.
    """
    if force:
        _require_reason("force", reason)
    request = RestartRequest(reason=reason, now=now, push_id=push_id, force=force)
    ended = await_end(request, "waiting until every worker is replaced", "restart", directory)
    tell(ended, directory, as_json=as_json, push_id=push_id)


@click.command
@click.argument("version", metavar="[VERSION]", type=click.IntRange(min=1), required=False)
@with_directory(argument=False)
@_reason
@_push_id
@json_option
def rollback(directory: Path, *, version: int | None, reason: str, push_id: str, as_json: bool) -> None:
    """Go back to the content of an older version.

    Without VERSION, of the previous one that differs. It becomes a new version, less the entries whose file is gone,
    and is tried and watched like any other. What the directory holds is not applied again until it changes or a push
    asks for it. Codes as for push.
    """
    request = RollbackRequest(version=version, reason=reason, push_id=push_id)
    ended = await_end(request, "waiting until older content is live again", "rollback", directory)
    tell(ended, directory, as_json=as_json, push_id=push_id)


@click.command
@with_directory()
@click.option("--now", is_flag=True, help="Don't wait for requests in hand: what is not answered is lost.")
@json_option
def stop(directory: Path, *, now: bool, as_json: bool) -> None:
    """Drain and end the running supervisor.

    Returns when its process is gone.
    """
    with waiting("waiting until requests in hand have ended", directory):
        ended = ControlClient(directory).stop(now=now)
    if ended.exit_code == 0:  # it was accepted, and by now it has happened
        ended = dataclasses.replace(ended, text="the supervisor has drained and ended.")
    tell(ended, directory, as_json=as_json)
