"""What README and docs/ say is so: tests that they name exist, links lead somewhere, commands are real."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

import click
import pytest

from nexus_supervisor import errors
from nexus_supervisor.cli import main
from tests.support.pages import DOCS, PAGES, ROOT, anchors, calls, code, command_lines, parts, prose, table, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAIN_JOB = "python3 -m venv .venv && . .venv/bin/activate && pip install . && nexus-supervisor run demo --init"
CHECKS = "pip install tox && tox"
SEED_ROWS = (
    "SourcesDir",
    "ConfigDir",
    "Mu, Snapshot, Apply",
    "Reload",
    "Destinations",
    "SigningKey",
    "SigningEvent `config_signature_invalid`",
    "Logger",
    "New, Start, Stop",
)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


# --- tests and links -------------------------------------------------------------------------------------------------


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_bytes())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@every_page
def test_every_test_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", text(page))
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or (name and name not in functions(ROOT / path))
    ]
    assert missing == []


def test_every_row_of_the_seed_has_its_part_and_names_tests() -> None:
    found = parts(DOCS / "hotreload.md")
    assert len(found) == len(SEED_ROWS)
    for row, (heading, below) in zip(SEED_ROWS, found.items(), strict=True):
        assert heading.startswith(row)
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", below), f"{heading} names no test"


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        if path.startswith(("https://", "mailto:")):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_readme_and_index() -> None:
    for start in (ROOT / "README.md", DOCS / "index.md"):
        reached: set[Path] = set()
        ahead = {start}
        while ahead:
            reached |= ahead
            links = {
                (page.parent / link).resolve()
                for page in ahead
                for link in re.findall(r"\]\(([^)\s#]+\.md)[^)]*\)", text(page))
            }
            ahead = links - reached
        assert set(DOCS.rglob("*.md")) <= reached


# --- commands --------------------------------------------------------------------------------------------------------


def understood(arguments: list[str]) -> bool:
    """Whether the command line takes these words: a command, options that it has, and no word too many."""
    if arguments[0].startswith("-"):
        return arguments in (["--help"], ["-h"], ["--version"])
    command = main.get_command(click.Context(main), arguments[0])
    if command is None:
        return False
    try:
        words = [word.strip("[]…") for word in arguments[1:]]
        _, left, _ = command.make_parser(click.Context(command)).parse_args([word for word in words if word])
    except click.UsageError:
        return False
    return left == []


def test_the_parser_of_these_tests_knows_right_from_wrong() -> None:
    assert list(calls("a && nexus-supervisor run demo --init")) == [["run", "demo", "--init"]]
    assert list(calls('nexus-supervisor push demo; echo "exit code $?"')) == [["push", "demo"]]
    assert understood(["push", "demo", "--reason", "TEXT"])
    assert not understood(["push", "demo", "--no-such-option"])
    assert not understood(["push", "demo", "another"])
    assert not understood(["no-such-command"])


@every_page
def test_every_command_line_is_understood(page: Path) -> None:
    assert [call for line in command_lines(page) for call in calls(line) if not understood(call)] == []


def test_the_readme_has_one_command_line_for_the_main_job_and_one_for_the_checks() -> None:
    indented = re.findall(r"^    (\S.*)$", prose(ROOT / "README.md"), flags=re.MULTILINE)
    assert indented == [MAIN_JOB, CHECKS]


def test_the_table_of_commands_is_the_overview_of_the_command_line() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "nexus_supervisor", "--help"], capture_output=True, text=True, check=True
    ).stdout
    overview = re.findall(r"^  ([a-z]+)  +(\S.*)$", shown.partition("Commands:")[2], flags=re.MULTILINE)
    assert overview
    rows = table(text(ROOT / "README.md"), "command", "what it does")
    assert [(*code(name), about) for name, about in rows] == overview


def test_every_command_is_described_with_all_its_options() -> None:
    described = parts(DOCS / "commands.md")
    for name in main.list_commands(click.Context(main)):
        command = main.get_command(click.Context(main), name)
        assert command is not None
        wanted = {
            word for one in command.params if isinstance(one, click.Option) for word in one.opts if word[:2] == "--"
        }
        rows = table(described[f"`{name}`"], "option")
        found = {mark.split()[0] for row in rows for cell in row for mark in code(cell) if mark.startswith("--")}
        assert found == wanted, name


def test_the_exit_codes_are_those_of_the_errors() -> None:
    def below(kind: type[errors.NexusError]) -> Iterator[int]:
        yield kind.exit_code
        for one in kind.__subclasses__():
            yield from below(one)

    rows = table(parts(DOCS / "commands.md")["Exit codes"], "code", "means")
    assert {int(row[0]) for row in rows} == {0, *below(errors.NexusError)}


# --- states ----------------------------------------------------------------------------------------------------------


def test_the_page_of_states_is_what_the_tables_draw() -> None:
    drawn = subprocess.run(
        [sys.executable, DOCS / "draw_tables.py", "--print"], capture_output=True, text=True, check=True
    ).stdout
    assert text(DOCS / "states.md") == drawn, "run: python docs/draw_tables.py"
