"""``push``, ``restart`` and ``stop``: commands that change what runs, and wait for the end.

Decided here: the requests that they build, and how an end is told. Not decided here: what the requests lead to (the
supervisor). Each builds one request value and sends it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import json_option, shell_quoted, with_directory
from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import Ended, PushRequest, RestartRequest, StatusReport
from nexus_supervisor.errors import ProtocolError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["push", "restart", "stop"]

_reason = click.option("--reason", default="", metavar="TEXT", help="Why; noted beside what happens.")


@click.command
@with_directory(argument=True)
@click.option("--expect", type=click.IntRange(min=0), metavar="VERSION", help="Only if this version is live (else 6).")
@_reason
@click.option(
    "--wait",
    type=click.Choice(["active", "retired"]),
    default="active",
    show_default=True,
    help="Until every worker uses it, or also until no request uses an older one.",
)
@json_option
def push(directory: Path, *, expect: int | None, reason: str, wait: str, as_json: bool) -> None:
    """Apply what the directory holds now, and wait for the verdict.

    Exits with 0 when it is live, 3 when it was refused, 4 when it was rolled back, 5 without a verdict, 6 when another
    version than expected is live, 7 when no supervisor runs, and 8 while anything is held until a restart.
    """
    with terminal.progress("waiting for the verdict on what the directory holds"):
        ended = _ended(ControlClient(directory).ask(PushRequest(reason=reason, expect=expect, wait=wait)))
    _tell(ended, directory, as_json=as_json)


@click.command
@with_directory(argument=False)
@click.option("--now", is_flag=True, help="Don't wait for requests in flight.")
@_reason
@json_option
def restart(directory: Path, *, now: bool, reason: str, as_json: bool) -> None:
    """Replace every worker by one with new code, applying what is held.

    A replacement is ready before the old one is drained.
    """
    with terminal.progress("waiting until every worker is replaced"):
        ended = _ended(ControlClient(directory).ask(RestartRequest(reason=reason, now=now)))
    _tell(ended, directory, as_json=as_json)


@click.command
@with_directory(argument=False)
@click.option("--now", is_flag=True, help="Don't wait for requests in flight.")
@json_option
def stop(directory: Path, *, now: bool, as_json: bool) -> None:
    """Drain and end the running supervisor; return when its process is gone."""
    with terminal.progress("waiting until requests in flight have ended"):
        ended = ControlClient(directory).stop(now=now)
    if ended.exit_code == 0:  # it was accepted, and by now it has happened
        ended = dataclasses.replace(ended, text="the supervisor has drained and ended.")
    _tell(ended, directory, as_json=as_json)


def _ended(answer: StatusReport | Ended) -> Ended:
    if isinstance(answer, Ended):
        return answer
    message = "the supervisor answered with a status instead of an end: it may be of another version than this command"
    raise ProtocolError(message)


def _tell(ended: Ended, directory: Path, *, as_json: bool) -> None:
    """Show how it ended and leave with its exit code; only what went well goes to stdout, or the one JSON document."""
    document: dict[str, Any] = canonical.decode(ended.document)
    if as_json:
        verdict = {"outcome": ended.outcome, "exit_code": ended.exit_code, "text": ended.text}
        terminal.show_json({**document, **verdict, "problems": list(ended.problems)})
    else:
        for line in _lines(ended, document, directory):
            terminal.say(line, err=ended.exit_code != 0)
    click.get_current_context().exit(ended.exit_code)


def _lines(ended: Ended, document: dict[str, Any], directory: Path) -> list[str]:
    """Return the verdict, every problem, and for what is held the keys and the command that applies them."""
    workers = document.get("workers")
    share = f" {workers}/{workers}" if ended.outcome == "APPLIED" and workers else ""
    lines = [f"{ended.outcome}{share}: {ended.text}", *(f"  {problem}" for problem in ended.problems)]
    if ended.outcome == "HELD":
        lines += [f"  {key}" for key in document.get("held", ())]
        lines.append(f"Apply it with: nexus-supervisor restart -d {shell_quoted(directory)}")
    return lines
