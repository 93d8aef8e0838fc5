"""``run``: the daemon in the foreground.

Decided here: which settings the options give, which directories are none of ours, and what is said about one that
``--init`` made. Not decided here: everything that runs (``supervisor/run.py``).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click
import tomli

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import invocation, shell_quoted, with_directory
from nexus_supervisor.cli.scaffold import DEFAULT_PROGRAM, demo_keys, scaffold
from nexus_supervisor.core.programs import declares_programs
from nexus_supervisor.core.rules import addresses
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

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - shown, not bound
_MAX_PORT = 65_535
_HANDOVER = "NEXUS_HANDOVER"
"""Set where this process goes on with a daemon that runs (``supervisor/upgrade.py``): nothing is made then."""

_ADDRESS = re.compile(r"(?:\[[^\[\]]+\]|[^:\[\]]+):(?P<port>[0-9]{1,5})|unix:.+|fd://.+", re.ASCII)


class _Address(click.ParamType[str]):
    """Read ``HOST:PORT``, with an IPv6 host in brackets, ``unix:PATH`` or ``fd://NAME``."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address."""
        found = _ADDRESS.fullmatch(str(value))
        if found is None or int(found["port"] or 0) > _MAX_PORT:
            expected = "expected HOST:PORT like 127.0.0.1:8080 or [::1]:8080, unix:PATH or fd://NAME"
            self.fail(f"{expected}, found {value!r}", param, ctx)
        return str(value)


@click.command
@with_directory()
@click.option("--init", "make", is_flag=True, help="Make the directory first if it has no daemon.toml.")
@click.option("-w", "--workers", type=click.IntRange(min=1), metavar="N", help="How many workers; default: one a CPU.")
@click.option(
    "-b",
    "--bind",
    "binds",
    type=_Address(),
    multiple=True,
    metavar="HOST:PORT",
    help="Where to listen, also unix:PATH or fd://NAME; may be given several times. Port 0: any that is free.",
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
    binds: tuple[str, ...],
    program: str | None,
    app: str | None,
    allow_unsigned: bool,
) -> None:
    """Run the daemon in the foreground.

    `nexus-supervisor stop`, TERM and INT end it when requests in hand have ended; HUP has it look at the directory now.
    """
    if _HANDOVER in os.environ:
        from nexus_supervisor.supervisor.process import harden

        harden()  # an exec made this process readable, and there are workers who could
    overrides = {
        "daemon": {"bind": list(binds)} if binds else {},
        "supervisor": _given({"workers": workers, "program": program, "app": app}),
    }
    _refuse_mistakes(overrides)
    if make and not (directory / DAEMON_FILE).exists() and _HANDOVER not in os.environ:
        environment = overrides_from_environment(os.environ)[0]
        made_for = program or environment.get("supervisor", {}).get("program", DEFAULT_PROGRAM)
        scaffold(directory, made_for, BAKE_SECONDS)
        _introduce(directory, made_for, {**environment.get("daemon", {}), **overrides["daemon"]})
    _refuse_others(directory)
    _refuse_for_several(directory, overrides["supervisor"])
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


def _refuse_for_several(directory: Path, given: dict[str, Any]) -> None:
    """Refuse options that speak of one program where daemon.toml declares several."""
    spoken = [name for name in ("workers", "app") if name in given and "program" not in given]
    names = _declared(directory) if spoken else []
    if names:
        message = (
            f"--{spoken[0]} speaks of one program, and {DAEMON_FILE} declares {', '.join(names)}: "
            f"set {spoken[0]} there, for each"
        )
        more = ", or run `nexus-supervisor scale N --program NAME` while it runs" if "workers" in spoken else ""
        raise UsageError(message + more)


def _declared(directory: Path) -> list[str]:
    """Return the names of the programs that daemon.toml declares; what is wrong with the file, the start says."""
    try:
        supervisor = tomli.loads((directory / DAEMON_FILE).read_text(encoding="utf-8")).get("supervisor")
    except (OSError, ValueError):
        return []
    if not isinstance(supervisor, dict) or not declares_programs(supervisor):
        return []
    return [str(table.get("name")) for table in supervisor["program"] if isinstance(table, dict)]


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
    curl, base = _base(directory, {"bind": DEFAULT_BIND, "port": DEFAULT_PORT, **daemon})
    for source, path in sorted(demo_keys(directory).items())[:1]:
        key = f'-H "Authorization: Bearer $(cat {shell_quoted(path)})"'
        terminal.say(f"  {curl} -s {key} {base}/whoami")
        body = """-H 'Content-Type: application/json' -d '{"content": "hello"}'"""
        terminal.say(f"  {curl} -s {key} {body} {base}/inbound/{source}")
    if program in _ANSWERS:
        options, question, seen = _ANSWERS[program]
        terminal.say(f"  {curl} {options} '{base}{question}'   # {seen}")
    elif program == "jobs":
        log = shell_quoted(directory / "data" / "jobs.log")
        terminal.say(f"  tail -F {log}   # each line follows from knobs/main.toml")
    elif program != DEFAULT_PROGRAM:
        terminal.say(f"  # what it does is up to {program}; it sees knobs/*.toml as current().knobs")
    terminal.say(f"  {invocation('status', directory)}")


def _base(directory: Path, daemon: dict[str, Any]) -> tuple[str, str]:
    """Return how curl is called, and what the addresses that it asks begin with: by the first one of ``bind``."""
    bind = daemon["bind"]
    given = addresses((bind,) if isinstance(bind, str) else tuple(bind), daemon["port"])
    first = next((one for one in given if not one.startswith("fd://")), "HOST:PORT")
    if first.startswith("unix:"):
        return f"curl --unix-socket {shell_quoted(directory / first.removeprefix('unix:'))}", "http://localhost"
    host, _, port = first.rpartition(":")
    return "curl", f"http://{_ANY_ADDRESS.get(host, host)}:{'PORT' if port == '0' else port}"
