"""The command line: which commands exist, and how an error becomes a sentence and an exit code.

Decided here: the names of the commands and what every command has in common. Not decided here: what a command does (one
module per noun beside this one). A command's module is imported only when the command is used, so that ``--help`` stays
fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NoReturn

import click

from nexus_supervisor.cli.escape import escaped
from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.errors import NexusError, RejectedError, UnfinishedError

__all__ = ["main"]

_COMMANDS: dict[str, tuple[str, str]] = {
    "abort": ("steering:abort", "Give the running rollout up and go back."),
    "build": ("build:build", "Compile and sign a directory while no supervisor runs."),
    "check": ("check:check", "Validate a directory without touching anything."),
    "diff": ("diff:diff", "Show what differs between two versions, or one and the directory."),
    "events": ("events:events", "Show the notices of the running supervisor."),
    "explain": ("explain:explain", "Show where a value comes from and where it is used."),
    "history": ("history:history", "Show what ran when, who asked for it, and how it ended."),
    "init": ("init:init", "Make a runnable directory with keys and examples."),
    "keygen": ("keys:keygen", "Make the keys of an existing directory."),
    "logs": ("logs:logs", "Show what workers wrote, and follow it."),
    "pause": ("steering:pause", "Pause the running rollout."),
    "promote": ("steering:promote", "End the bake or the pause of the running rollout and go on to all."),
    "push": ("rollout:push", "Apply what the directory holds now and wait for the verdict."),
    "restart": ("rollout:restart", "Replace every worker and apply what is held."),
    "resume": ("steering:resume", "Go on with the rollout that is paused."),
    "rollback": ("rollout:rollback", "Go back to the content of an older version."),
    "run": ("run:run", "Run the daemon in the foreground."),
    "scale": ("scale:scale", "Have N workers of a program; +N or -N: so many more or fewer."),
    "schema": ("schema:schema", "Print or write JSON Schema, by which editors complete and check."),
    "show": ("history:show", "Show one stored version, without its secrets."),
    "status": ("status:status", "Show what runs, what is held and what was refused."),
    "stop": ("rollout:stop", "Drain and end the running supervisor."),
    "top": ("top:top", "Watch the workers."),
    "unit": ("unit:unit", "Print a systemd unit that runs a directory."),
    "upgrade": ("upgrade:upgrade", "Have the installed version take over in the running process."),
    "verify": ("keys:verify", "Check every stored version, signature and record."),
    "workers": ("workers:workers", "Show what each worker runs, does and costs."),
}
"""Command: where it is, relative to this package, and what the overview says about it."""


class _Commands(click.Group):
    """Find a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import the module of a command; return None for a name that is none."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names; of an unknown one, say which was meant."""
        word = args[0]
        if word not in _COMMANDS and not word.startswith("-") and not ctx.resilient_parsing:
            meant = suggestion(word, _COMMANDS)
            ctx.fail(f"there is no command {word!r}" + (f": did you mean {meant}?" if meant else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in sorted(_COMMANDS.items())])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; show every expected error as a sentence and leave with its exit code."""
        try:
            return super().invoke(ctx)
        except RejectedError as error:
            self._fail(ctx, error.exit_code, *error.problems, error)
        except NexusError as error:
            self._fail(ctx, error.exit_code, error)
        except KeyboardInterrupt:
            self._fail(ctx, UnfinishedError.exit_code, "interrupted")
        except BrokenPipeError:
            raise  # click ends quietly when whoever reads the output has gone
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            self._fail(ctx, NexusError.exit_code, f"{place}{error.strerror or error}")

    def _fail(self, ctx: click.Context, exit_code: int, *lines: object) -> NoReturn:
        for detail in lines[:-1]:
            click.echo(escaped(detail), err=True)
        click.echo(f"nexus-supervisor: {escaped(lines[-1])}", err=True)
        ctx.exit(exit_code)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command works on a directory: DIR or -d DIR, else $NEXUS_HOME, else the current one.",
)
@click.version_option(package_name="nexus-supervisor", prog_name="nexus-supervisor")
def main() -> None:
    """Launch multi-worker daemons and change their configuration while they serve."""
