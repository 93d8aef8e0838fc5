"""Verdicts: waiting for the end of a request, and telling it.

Decided here: what is shown during the wait, what an interrupted wait says, and how an end is told. Not decided here:
which request it is (``rollout.py``, ``steering.py``) and what it leads to (the supervisor).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import invocation
from nexus_supervisor.cli.progress import Progress
from nexus_supervisor.cli.words import figures
from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import canonical
from nexus_supervisor.core.settings import needs
from nexus_supervisor.errors import UnfinishedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexus_supervisor.core.control import Ended, Noticed, PushRequest, RestartRequest, RollbackRequest, StatusReport

__all__ = ["await_end", "tell", "waiting"]

_LIVE_SECONDS = 1.0
_QUIET_SECONDS = 5.0


def await_end(request: PushRequest | RestartRequest | RollbackRequest, text: str, verb: str, directory: Path) -> Ended:
    """Send a request and return its end; show meanwhile where it is, after ``text`` says what is waited for.

    On a terminal that is one living line, elsewhere a line for each phase. An interrupt says where to find the end.
    """
    progress = Progress(text, time.monotonic)
    client = ControlClient(directory)
    try:
        if terminal.is_live():
            with terminal.living(lambda: progress.line):
                return client.watch(request, progress.note, every=_LIVE_SECONDS)
        return client.watch(request, lambda told: _say(progress, told), every=_QUIET_SECONDS)
    except KeyboardInterrupt:
        look = invocation("history", directory)
        message = f"interrupted: it goes on; its result will be in `{look}` under {verb} {request.push_id}"
        raise UnfinishedError(message) from None


@contextmanager
def waiting(text: str, directory: Path) -> Iterator[None]:
    """Show what is being waited for; say after Ctrl-C that it may happen all the same."""
    try:
        with terminal.progress(text):
            yield
    except KeyboardInterrupt:
        look = invocation("status", directory)
        message = f"interrupted: what was asked may still happen, `{look}` tells"
        raise UnfinishedError(message) from None


def tell(ended: Ended, directory: Path, *, as_json: bool, push_id: str = "") -> None:
    """Show how it ended and leave with its exit code; only what went well goes to stdout, or the one JSON document."""
    document: dict[str, Any] = canonical.decode(ended.document)
    if as_json:
        verdict = {"outcome": ended.outcome, "exit_code": ended.exit_code, "text": ended.text}
        known = {"push_id": push_id} if push_id else {}
        terminal.show_json({**known, **document, **verdict, "problems": list(ended.problems)})
    else:
        for line in _lines(ended, document, directory):
            terminal.say(line, err=ended.exit_code != 0)
    click.get_current_context().exit(ended.exit_code)


def _say(progress: Progress, told: Noticed | StatusReport) -> None:
    line = progress.note(told)
    if line is not None:
        terminal.say(line, err=True)


def _lines(ended: Ended, document: dict[str, Any], directory: Path) -> list[str]:
    """Return the verdict, its numbers, every problem, and for what is held the keys and what applies them."""
    share = _share(document) if ended.outcome == "APPLIED" else ""
    lines = [f"{ended.outcome}{share}: {ended.text}"]
    if measured := figures(document.get("numbers")):
        lines.append(f"  {measured}")
    lines += [f"  {problem}" for problem in ended.problems]
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
