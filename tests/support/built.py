"""Directories whose versions were built offline: a shop, its edits, and what is written into its journal by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from nexus_supervisor.cli import main
from nexus_supervisor.supervisor.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.records import Record

__all__ = ["edit", "made", "note", "run"]


def run(*arguments: object, **environment: Any) -> Result:
    """Run one command in this process."""
    return CliRunner().invoke(
        main, [str(one) for one in arguments], env={"NEXUS_HOME": None, **environment}, catch_exceptions=False
    )


def made(place: Path) -> Path:
    """Make a shop that nothing ran on yet."""
    directory = place / "shop"
    assert run("init", directory, "--program", "asgi").exit_code == 0
    return directory


def edit(path: Path, old: str, new: str) -> None:
    """Change a file in one place."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def note(directory: Path, *records: Record) -> None:
    """Write records at the end of the journal of a directory on which nothing runs."""
    opened = Journal.open(directory / "state")
    try:
        for record in records:
            opened.journal.append(record, durable=True)
    finally:
        opened.journal.close()
