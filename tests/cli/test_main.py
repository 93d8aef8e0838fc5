"""What every command has in common: the overview, its imports, and errors as sentences."""

from __future__ import annotations

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


@pytest.mark.parametrize("command", sorted(main.list_commands(click.Context(main))))
def test_every_command_of_the_overview_exists_and_takes_a_directory(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"])

    assert shown.exit_code == 0
    assert "-d, --dir DIR" in shown.stdout


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
            ["nexus-supervisor: interrupted: what was asked may still happen, `nexus-supervisor status` tells"],
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

    result = CliRunner().invoke(main, ["failing"], catch_exceptions=False)

    assert result.exit_code == exit_code
    assert result.stderr.splitlines() == lines
    assert result.stdout == ""
