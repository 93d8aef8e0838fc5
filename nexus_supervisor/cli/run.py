"""``run``: the daemon in the foreground.

Decided here: which settings the options give, which directories are none of ours, and what is said about one that
``--init`` made. Not decided here: everything that runs (``supervisor/run.py``).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import invocation, shell_quoted, with_directory
from nexus_supervisor.cli.scaffold import DEFAULT_PROGRAM, demo_keys, scaffold
from nexus_supervisor.core.settings import overrides_from_environment, parse
from nexus_supervisor.errors import DirectoryError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["run"]

BAKE_SECONDS = 0.0
DEFAULT_BIND = "127.0.0.1"
DEFAULT_PORT = 8080
DAEMON_FILE = "daemon.toml"
JOURNAL = "state/journal"
_SHOP = "the price follows from knobs/main.toml, as it is at this moment"
_ANSWERS = {
    "asgi": ("-s", "/?name=you", _SHOP),
    "hello": ("-si", "/", "Nexus-Config-Version rises with each change of knobs/main.toml"),
    "wsgi": ("-s", "/?name=you", _SHOP),
}
"""Where programs of ours answer: options of curl, what to ask for, and what is to be seen."""

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
@with_directory()
@click.option("--init", "make", is_flag=True, help="Make the directory first if it has no daemon.toml.")
@click.option("-w", "--workers", type=click.IntRange(min=1), metavar="N", help="How many workers; default: one a CPU.")
@click.option(
    "-b", "--bind", "address", type=_Address(), metavar="HOST:PORT", help="Where to listen; port 0: any that is free."
)
@click.option(
    "--program",
    metavar="NAME",
    help="The worker program: gateway, asgi, wsgi, jobs, hello, or your own as MODULE:ATTR.",
)
@click.option("--app", metavar="MODULE:ATTR", help="What program asgi or wsgi serves, or program jobs calls.")
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
    """Run the daemon in the foreground.

    `nexus-supervisor stop`, TERM and INT end it when requests in hand have ended; HUP has it look at the directory now.
    """
    bind, port = address or (None, None)
    daemon = {"bind": bind, "port": port}
    overrides = {"daemon": _given(daemon), "supervisor": _given({"workers": workers, "program": program, "app": app})}
    _refuse_mistakes(overrides)
    if make and not (directory / DAEMON_FILE).exists():
        environment = overrides_from_environment(os.environ)[0]
        made_for = program or environment.get("supervisor", {}).get("program", DEFAULT_PROGRAM)
        scaffold(directory, made_for, BAKE_SECONDS)
        _introduce(directory, made_for, {**environment.get("daemon", {}), **overrides["daemon"]})
    _refuse_others(directory)
    from nexus_supervisor.supervisor.run import run as run_supervisor

    code = run_supervisor(
        directory, {table: given for table, given in overrides.items() if given}, allow_unsigned=allow_unsigned
    )
    click.get_current_context().exit(code)


def _refuse_mistakes(overrides: dict[str, Any]) -> None:
    """Refuse options that are no settings before anything is started: no edit of daemon.toml could mend them."""
    errors = parse({}, overrides, cpu_count=1).errors
    if errors:
        raise UsageError("; ".join(f"{one.key.rpartition('.')[2]}: {one.message}" for one in errors))


def _refuse_others(directory: Path) -> None:
    """Refuse a directory that is none of ours before anything is written into it.

    One that ran before is ours also without its daemon.toml: what was committed goes on.
    """
    if _is_there(directory / DAEMON_FILE) or _is_there(directory / JOURNAL):
        return
    make = f"make one with `{invocation('init', directory)}` or `{invocation('run', directory)} --init`"
    message = f"{directory} is not a directory: {make}"
    if directory.is_dir():
        message = f"{directory} is no directory of nexus-supervisor (it has no {DAEMON_FILE}): name another, or {make}"
    raise DirectoryError(message)


def _is_there(path: Path) -> bool:
    """Say whether there is anything of that name; raise PermissionError where that can't be seen."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _introduce(directory: Path, program: str, daemon: dict[str, Any]) -> None:
    """Say what was made, and print commands that try it."""
    terminal.say(f"{directory} is made: its files explain themselves. Edit them while this runs, and try:")
    base = _base({"bind": DEFAULT_BIND, "port": DEFAULT_PORT, **daemon})
    for source, path in sorted(demo_keys(directory).items())[:1]:
        key = f'-H "Authorization: Bearer $(cat {shell_quoted(path)})"'
        terminal.say(f"  curl -s {key} {base}/whoami")
        body = """-H 'Content-Type: application/json' -d '{"content": "hello"}'"""
        terminal.say(f"  curl -s {key} {body} {base}/inbound/{source}")
    if program in _ANSWERS:
        options, question, seen = _ANSWERS[program]
        terminal.say(f"  curl {options} '{base}{question}'   # {seen}")
    elif program == "jobs":
        log = shell_quoted(directory / "data" / "jobs.log")
        terminal.say(f"  tail -F {log}   # each line follows from knobs/main.toml")
    elif program != DEFAULT_PROGRAM:
        terminal.say(f"  # what it does is up to {program}; it sees knobs/*.toml as current().knobs")
    terminal.say(f"  {invocation('status', directory)}")


def _base(daemon: dict[str, Any]) -> str:
    host = _ANY_ADDRESS.get(daemon["bind"], daemon["bind"])
    return f"http://{f'[{host}]' if ':' in host else host}:{daemon['port'] or 'PORT'}"
