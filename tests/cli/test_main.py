"""What every command has in common: the overview, its imports, and errors as sentences."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nexus_supervisor import errors
from nexus_supervisor.cli import main
from nexus_supervisor.core.problems import Problem

PROJECT = Path(__file__).parents[2]
HEAVY = {"pydantic", "uvicorn", "cryptography", "watchdog", "starlette", "rich", "msgpack", "asyncio", "psutil"}


def test_the_overview_imports_nothing_that_a_command_alone_needs() -> None:
    program = """
import runpy, sys
sys.argv[1:] = ["--help"]
try:
    runpy.run_module("nexus_supervisor", run_name="__main__")
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)

    assert "Replace every worker and apply what is held." in shown.stdout
    assert HEAVY.isdisjoint(shown.stderr.split())


ARGUMENTS_OF_THEIR_OWN = {"diff", "explain", "logs", "rollback", "scale", "schema", "show"}
COMMANDS = sorted(main.list_commands(click.Context(main)))


def found(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_overview_exists_and_takes_a_directory(name: str) -> None:
    shown = CliRunner().invoke(main, [name, "--help"])

    assert shown.exit_code == 0
    assert "-d, --dir DIR" in shown.stdout
    assert ("DIR" in shown.stdout.splitlines()[0]) == (name not in ARGUMENTS_OF_THEIR_OWN)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_first_what_the_overview_says(name: str) -> None:
    overview = CliRunner().invoke(main, ["--help"]).stdout
    (about,) = re.findall(rf"^  {name}  +(\S.*)$", overview, flags=re.MULTILINE)

    assert (found(name).help or "").split("\n\n")[0] == about
    assert about.endswith(".")


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, one) for name in COMMANDS for one in found(name).params if isinstance(one, click.Option)],
)
def test_every_option_says_what_it_does(name: str, option: click.Option) -> None:
    assert option.help, f"{name} {option.opts}"
    assert option.help[0].isupper()
    assert option.help.endswith(".")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("sttaus", "there is no command 'sttaus': did you mean status?"),
        ("Worker", "there is no command 'Worker': did you mean workers?"),
        ("demo", "there is no command 'demo'"),
    ],
)
def test_an_unknown_command_is_wrong_usage_and_names_the_one_that_was_meant(word: str, told: str) -> None:
    shown = CliRunner().invoke(main, [word, "--json"])

    assert shown.exit_code == 2
    assert shown.stderr.splitlines()[-1] == f"Error: {told}"


def test_the_version_is_the_one_that_is_installed() -> None:
    shown = CliRunner().invoke(main, ["--version"])

    assert shown.stdout.startswith("nexus-supervisor, version ")


@pytest.mark.parametrize(
    ("error", "exit_code", "lines"),
    [
        (errors.NexusError("it broke"), 1, ["nexus-supervisor: it broke"]),
        (errors.ConflictError("a supervisor runs"), 6, ["nexus-supervisor: a supervisor runs"]),
        (
            errors.RejectedError("not valid", [Problem("a.toml", 3, "source.tier", "range", "expected 0 to 3")]),
            3,
            ["a.toml:3: source.tier: expected 0 to 3", "nexus-supervisor: not valid"],
        ),
        (errors.NexusError("two\nlines\x1b[2J"), 1, ["nexus-supervisor: two\\x0alines\\x1b[2J"]),
        (
            PermissionError(13, "Permission denied", "keys/pepper"),
            1,
            ["nexus-supervisor: keys/pepper: Permission denied"],
        ),
        (
            KeyboardInterrupt(),
            5,
            ["nexus-supervisor: interrupted"],
        ),
    ],
)
def test_an_expected_error_is_a_sentence_on_stderr_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, exit_code: int, lines: list[str]
) -> None:
    @click.command
    def failing() -> None:
        raise error

    monkeypatch.setattr(type(main), "get_command", lambda *_: failing)

    result = CliRunner().invoke(main, ["status"], catch_exceptions=False)

    assert result.exit_code == exit_code
    assert result.stderr.splitlines() == lines
    assert result.stdout == ""


@pytest.mark.parametrize("option", [["--app", "app"], ["--program", "no such"]])
def test_an_option_that_is_no_setting_ends_run_before_anything_starts(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "daemon.toml").touch()

    result = CliRunner().invoke(main, ["run", str(tmp_path), *option], catch_exceptions=False)

    assert result.exit_code == 2
    assert f"{option[0].removeprefix('--')}: expected" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["daemon.toml"]


def test_a_directory_in_place_of_a_section_is_told_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "daemon.toml").touch()

    result = CliRunner().invoke(main, ["schema", str(tmp_path), "-d", str(tmp_path)], catch_exceptions=False)

    assert result.exit_code == 2
    assert f"write -d {tmp_path}" in result.stderr
