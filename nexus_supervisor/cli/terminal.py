"""Where text goes: stdout for results, stderr for what went wrong; colors only in a terminal.

Decided here: plain or drawn, and the colors of the tones. Not decided here: what is shown (``render.py``). ``NO_COLOR``
is honored by rich.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli.escape import escaped
from nexus_supervisor.cli.page import Page, aligned, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = [
    "break_line",
    "is_live",
    "is_watched",
    "living",
    "progress",
    "say",
    "show_json",
    "show_json_line",
    "show_page",
    "watch",
]

_STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "": ""}


def say(line: object, *, err: bool = False) -> None:
    """Print one line, escaped."""
    click.echo(escaped(line), err=err)


def show_json(document: Any) -> None:
    """Print one document; everything beyond ASCII is escaped."""
    click.echo(json.dumps(document, indent=2))


def show_json_line(document: Any) -> None:
    """Print one document in one line, at once."""
    click.echo(json.dumps(document, separators=(",", ":")))
    sys.stdout.flush()


def show_page(page: Page) -> None:
    """Print a page: drawn in a terminal, aligned plain text elsewhere."""
    if sys.stdout.isatty():
        _draw(page)
    else:
        click.echo(plain(page), nl=False)


def is_watched() -> bool:
    """Say whether somebody can watch what is printed change."""
    return sys.stdout.isatty()


def watch(look: Callable[[], Page], every_seconds: float) -> None:
    """Draw a page again and again on a screen of its own, until Ctrl-C, which is how one leaves."""
    from rich.console import Console
    from rich.live import Live

    try:
        first = look()
        with Live(_drawn(first), console=Console(), screen=True, auto_refresh=False) as live:
            live.refresh()
            while True:
                time.sleep(every_seconds)
                live.update(_drawn(look()), refresh=True)
    except KeyboardInterrupt:
        return


def break_line() -> None:
    """End the line in which a terminal has shown ^C."""
    if sys.stderr.isatty():
        click.echo(err=True)


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show on a terminal that something is being waited for."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(escaped(text))):
        yield


def is_live() -> bool:
    """Say whether a line can be shown that changes while something is waited for."""
    return sys.stderr.isatty()


@contextmanager
def living(line: Callable[[], str]) -> Iterator[None]:
    """Show on a terminal one line that is asked for again and again."""
    from rich.console import Console

    with Console(stderr=True).status(_Living(line)):
        yield


class _Living:
    """Be drawn as what a line is at that moment, cut where the terminal ends."""

    def __init__(self, line: Callable[[], str]) -> None:
        self._line = line

    def __rich__(self) -> Text:
        """Return the line as a text, never as markup."""
        from rich.text import Text

        return Text(escaped(self._line()), no_wrap=True, overflow="ellipsis")


def _draw(page: Page) -> None:
    """Draw a page with rich. Cells are texts, never markup: brackets in a name mean nothing.

    Long facts are wrapped beside their label. Lines of the table are as long as they are: no name is ever cut.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if page.facts:
        console.print(_facts(page))
        console.print()
    head, *rows = aligned(page)
    console.print(Text("  ".join(cell.text for cell in head), "bold"), soft_wrap=True)
    for row in rows:
        console.print(Text("  ").join(Text(cell.text, _STYLES[cell.tone]) for cell in row), soft_wrap=True)
    if page.notes:
        console.print()
    for note in page.notes:
        console.print(Text(note.text, _STYLES[note.tone]))


def _drawn(page: Page) -> RenderableType:
    """Return a page as one thing to draw; lines of the table end where the terminal does."""
    from rich.console import Group
    from rich.text import Text

    head, *rows = aligned(page)
    lines = [Text("  ".join(cell.text for cell in head), "bold")]
    lines += [Text("  ").join(Text(cell.text, _STYLES[cell.tone]) for cell in row) for row in rows]
    lines += [Text(), *(Text(note.text, _STYLES[note.tone]) for note in page.notes)]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(_facts(page), Text(), *lines)


def _facts(page: Page) -> Table:
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for label, cell in page.facts:
        facts.add_row(Text(label, "dim"), Text(cell.text, _STYLES[cell.tone]))
    return facts
