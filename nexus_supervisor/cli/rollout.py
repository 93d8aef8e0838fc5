"""``push``, ``restart`` and ``stop``: commands that change what runs, and wait for the end.

Decided here: the requests that they build, and how an end is told. Not decided here: what the requests lead to (the
supervisor). Each builds one request value and sends it.
"""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import invocation, json_option, with_directory
from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import Ended, PushRequest, RestartRequest, StatusReport
from nexus_supervisor.core.settings import needs
from nexus_supervisor.errors import ProtocolError, UnfinishedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["push", "restart", "stop"]

_reason = click.option("--reason", default="", metavar="TEXT", help="Say why; it is noted beside what happens.")


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
@json_option
def push(directory: Path, *, expect: int | None, reason: str, wait: str, as_json: bool) -> None:
    """Apply what the directory holds now and wait for the verdict.

    Exits with 0 when it is live, 3 when it was refused, 4 when it was rolled back, 5 without a verdict, 6 when another
    version than expected is live, 7 when no supervisor runs, and 8 while anything is held until a restart.
    """
    with _waiting("waiting for the verdict on what the directory holds", directory):
        ended = _ended(ControlClient(directory).ask(PushRequest(reason=reason, expect=expect, wait=wait)))
    _tell(ended, directory, as_json=as_json)


@click.command
@with_directory()
@click.option("--now", is_flag=True, help="Don't wait for requests in hand: what is not answered is lost.")
@_reason
@json_option
def restart(directory: Path, *, now: bool, reason: str, as_json: bool) -> None:
    """Replace every worker and apply what is held.

    Workers start anew, with the code as it is now. A replacement is ready before the old worker is told to finish.
    """
    with _waiting("waiting until every worker is replaced", directory):
        ended = _ended(ControlClient(directory).ask(RestartRequest(reason=reason, now=now)))
    _tell(ended, directory, as_json=as_json)


@click.command
@with_directory()
@click.option("--now", is_flag=True, help="Don't wait for requests in hand: what is not answered is lost.")
@json_option
def stop(directory: Path, *, now: bool, as_json: bool) -> None:
    """Drain and end the running supervisor.

    Returns when its process is gone.
    """
    with _waiting("waiting until requests in hand have ended", directory):
        ended = ControlClient(directory).stop(now=now)
    if ended.exit_code == 0:  # it was accepted, and by now it has happened
        ended = dataclasses.replace(ended, text="the supervisor has drained and ended.")
    _tell(ended, directory, as_json=as_json)


@contextmanager
def _waiting(text: str, directory: Path) -> Iterator[None]:
    """Show what is being waited for; say after Ctrl-C that it may happen all the same."""
    try:
        with terminal.progress(text):
            yield
    except KeyboardInterrupt:
        look = invocation("status", directory)
        message = f"interrupted: what was asked may still happen, `{look}` tells"
        raise UnfinishedError(message) from None


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
    share = _share(document) if ended.outcome == "APPLIED" else ""
    lines = [f"{ended.outcome}{share}: {ended.text}", *(f"  {problem}" for problem in ended.problems)]
    if ended.outcome == "HELD":
        keys = list(document.get("held", ()))
        commands = ["stop", "run"] if any(needs(str(key)) == "start" for key in keys) else ["restart"]
        lines += [f"  {key}" for key in keys]
        lines.append(f"Apply it with: {' && '.join(invocation(command, directory) for command in commands)}")
    return lines


def _share(document: dict[str, Any]) -> str:
    """Return in how many workers it is live, of how many slots where the supervisor says so."""
    workers = document.get("workers")
    return f" {workers}/{document.get('slots') or workers}" if workers else ""
