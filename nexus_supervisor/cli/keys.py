"""``keygen`` and ``verify``: the keys of a directory, and what they vouch for.

Decided here: what is said. Not decided here: how keys are made and stored versions are checked (``supervisor/``).
"""

from __future__ import annotations

from pathlib import Path

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import invocation, json_option, with_directory
from nexus_supervisor.errors import DirectoryError, RejectedError

__all__ = ["keygen", "verify"]


@click.command
@with_directory()
def keygen(directory: Path) -> None:
    """Make the keys of an existing directory.

    Nothing is ever overwritten.
    """
    from nexus_supervisor.supervisor import keys

    if not directory.is_dir():
        message = f"{directory} is not a directory: make a whole one with `{invocation('init', directory)}`"
        raise DirectoryError(message)
    keys.generate(directory)
    terminal.say(f"{directory / 'keys'} is made. Back it up apart from the directory: who has it can sign")


@click.command
@with_directory()
@click.option(
    "--allowed-signers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Trust this file instead of keys/allowed_signers; one outside of DIR is the stronger check.",
)
@json_option
def verify(directory: Path, *, allowed_signers: Path | None, as_json: bool) -> None:
    """Check every stored version, signature and record.

    Nothing is written, and a supervisor may run meanwhile. Exits with 0 where everything verifies, else with 3.
    """
    from nexus_supervisor.supervisor.verify import verify as verify_store

    report = verify_store(directory, allowed_signers)
    if as_json:
        terminal.show_json({"ok": report.ok, "lines": list(report.lines)})
    else:
        for line in report.lines:
            terminal.say(line)
    if not report.ok:
        message = f"the store of {directory} doesn't verify"
        raise RejectedError(message)
