"""``run``: the daemon in the foreground.

Decided here: which settings the options give, and what is said about a directory that ``--init`` made. Not decided
here: everything that runs (``supervisor/run.py``).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import shell_quoted, with_directory
from nexus_supervisor.cli.scaffold import DEFAULT_PROGRAM, demo_keys, scaffold
from nexus_supervisor.core.settings import overrides_from_environment

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["run"]

BAKE_SECONDS = 0.0
DEFAULT_BIND = "127.0.0.1"
DEFAULT_PORT = 8080
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - shown, not bound
_MAX_PORT = 65_535
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


class _Address(click.ParamType[tuple[str, int]]):
    """Read ``HOST:PORT``, with an IPv6 host in brackets."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return host and port."""
        if isinstance(value, tuple):
            return value
        found = _ADDRESS.fullmatch(str(value))
        if found is None or int(found["port"]) > _MAX_PORT:
            self.fail(f"expected HOST:PORT like 127.0.0.1:8080 or [::1]:8080, found {value!r}", param, ctx)
        return found["six"] or found["host"], int(found["port"])


@click.command
@with_directory(argument=True)
@click.option("--init", "make", is_flag=True, help="Make the directory first if it is missing.")
@click.option("-w", "--workers", type=click.IntRange(min=1), metavar="N", help="How many workers.")
@click.option("-b", "--bind", "address", type=_Address(), metavar="HOST:PORT", help="Where to listen.")
@click.option("--program", metavar="NAME", help="The worker program.")
@click.option("--app", metavar="MODULE:ATTR", help="The application that the program serves.")
@click.option("--allow-unsigned", is_flag=True, help="Start with signing off on a directory that was signed.")
def run(
    directory: Path,
    *,
    make: bool,
    workers: int | None,
    address: tuple[str, int] | None,
    program: str | None,
    app: str | None,
    allow_unsigned: bool,
) -> None:
    """Run the daemon in the foreground until it is stopped. TERM and INT drain it; HUP looks at the directory now."""
    from nexus_supervisor.supervisor.run import run as run_supervisor

    bind, port = address or (None, None)
    daemon = {"bind": bind, "port": port}
    overrides = {"daemon": _given(daemon), "supervisor": _given({"workers": workers, "program": program, "app": app})}
    if make and not (directory / "daemon.toml").exists():
        scaffold(directory, program or DEFAULT_PROGRAM, BAKE_SECONDS)
        _introduce(directory, overrides["daemon"])
    code = run_supervisor(
        directory, {table: given for table, given in overrides.items() if given}, allow_unsigned=allow_unsigned
    )
    click.get_current_context().exit(code)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _introduce(directory: Path, options: dict[str, Any]) -> None:
    """Say what was made, and print commands that try it."""
    terminal.say(f"{directory} is made: its files explain themselves. Edit them while this runs, and try:")
    environment = overrides_from_environment(os.environ)[0].get("daemon", {})
    daemon = {"bind": DEFAULT_BIND, "port": DEFAULT_PORT, **environment, **options}
    host = _ANY_ADDRESS.get(daemon["bind"], daemon["bind"])
    base = f"http://{f'[{host}]' if ':' in host else host}:{daemon['port'] or 'PORT'}"
    for source, path in sorted(demo_keys(directory).items())[:1]:
        key = f'-H "Authorization: Bearer $(cat {shell_quoted(path)})"'
        terminal.say(f"  curl -s {key} {base}/whoami")
        body = """-H 'Content-Type: application/json' -d '{"content": "hello"}'"""
        terminal.say(f"  curl -s {key} {body} {base}/inbound/{source}")
    terminal.say(f"  nexus-supervisor status -d {shell_quoted(directory)}")
