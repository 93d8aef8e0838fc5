"""What init makes for each program: it runs, shows an edit at once, and refuses a mistake before it is live."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.editor import complaints
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ["gateway", "asgi", "wsgi", "jobs", "hello"]
SHOPS = ["asgi", "wsgi"]
TYPO = {
    "gateway": ("sources/cursor.toml", "namespace =", "namespce =", "source.namespce"),
    "asgi": ("knobs/main.toml", "discount_percent =", "discount_pecent =", "discount_pecent"),
    "wsgi": ("knobs/main.toml", "greeting =", "greting =", "greting"),
    "jobs": ("knobs/main.toml", "every_seconds =", "every_second =", "every_second"),
    "hello": ("knobs/main.toml", "text =", "txt =", "txt"),
}


def made(tmp_path: Path, program: str) -> Path:
    directory = tmp_path / "shop"
    assert command("init", directory, "--program", program).returncode == 0
    return directory


def edit(path: Path, old: str, new: str) -> int:
    """Change one line of a file, as an editor saves it; return the line's number."""
    text = path.read_text()
    assert text.count(old) == 1
    beside = path.with_name(".saving")
    beside.write_text(text.replace(old, new))
    beside.replace(path)
    return text.partition(old)[0].count("\n") + 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_init_makes_runs(tmp_path: Path, program: str) -> None:
    directory = made(tmp_path, program)

    with Nexus(directory, "-w", "1") as nexus:
        assert nexus.status()["state"] == "ok"
        assert nexus.push().outcome == "APPLIED"


@pytest.mark.parametrize("program", SHOPS)
def test_the_next_request_sees_an_edit_and_a_marked_field_waits_for_a_restart(tmp_path: Path, program: str) -> None:
    directory = made(tmp_path, program)
    knobs = directory / "knobs" / "main.toml"

    with Nexus(directory, "-w", "1") as nexus:
        first = nexus.request("GET", "/?name=you")
        assert first.json == {"shop": "The Corner Shop", "text": "hello, you", "price_cents": 900, "version": 1}
        assert first.version == 1

        edit(knobs, 'greeting = "hello"', 'greeting = "welcome"')
        assert nexus.push().outcome == "APPLIED"
        assert nexus.request("GET", "/").json["text"] == "welcome, world"

        edit(knobs, "The Corner Shop", "The Other Shop")
        edit(knobs, "discount_percent = 10", "discount_percent = 50")
        assert nexus.push().outcome == "HELD"
        assert nexus.status()["pending_restart"]["keys"] == ["knobs.main.shop"]
        half = nexus.request("GET", "/").json
        assert (half["shop"], half["price_cents"]) == ("The Corner Shop", 500)

        assert nexus.restart().outcome == "APPLIED"
        assert nexus.request("GET", "/").json["shop"] == "The Other Shop"


def test_the_next_job_sees_an_edit(tmp_path: Path) -> None:
    directory = made(tmp_path, "jobs")
    log = directory / "data" / "jobs.log"
    os.mkfifo(log)  # a line is an event then

    with Nexus(directory, bind="") as nexus, os.fdopen(os.open(log, os.O_RDWR), encoding="utf-8") as lines:
        assert re.fullmatch(r"\S+ version 1: all is well\n", next(lines))
        edit(directory / "knobs" / "main.toml", 'text = "all is well"', 'text = "all is new"')
        version = nexus.until("committed", version=2)["version"]
        assert f"version {version}: all is new\n" in next(line for line in lines if "version 1:" not in line)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_typo_is_refused_with_file_and_line(tmp_path: Path, program: str) -> None:
    directory = made(tmp_path, program)
    file, old, new, key = TYPO[program]
    line = edit(directory / file, old, new)

    refused = command("check", directory)

    assert refused.returncode == 3
    assert f"{file}:{line}: {key}: expected a known key" in refused.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_editor_finds_nothing_wrong_and_completes_by_the_schemas_at_once(tmp_path: Path, program: str) -> None:
    directory = made(tmp_path, program)

    for path in directory.rglob("*.toml"):
        first = path.read_text().splitlines()[0]
        schema = path.parent / first.removeprefix("#:schema ")
        assert schema.is_file(), f"{path} begins with {first}"
    assert complaints(directory) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_editor_sees_a_typo_on_the_same_line_as_check_does(tmp_path: Path, program: str) -> None:
    directory = made(tmp_path, program)
    file, old, new, key = TYPO[program]
    line = edit(directory / file, old, new)

    found = [(one.file, one.line, one.message) for one in complaints(directory) if "required" not in one.message]

    assert found == [(file, line, f'"{key.rpartition(".")[2]}" is not allowed')]


def test_the_schemas_are_those_that_the_command_writes(tmp_path: Path) -> None:
    directory = made(tmp_path, "asgi")

    written = command("schema", "--write", "-d", directory)

    assert written.stdout.splitlines() == [
        f"{directory}/schemas/daemon.json is up to date",
        f"{directory}/schemas/knobs.json is up to date",
    ]


@pytest.mark.parametrize("program", [*SHOPS, "hello", "gateway"])
def test_the_commands_that_run_prints_work(tmp_path: Path, program: str) -> None:
    directory = tmp_path / "shop"

    with Nexus(directory, "--init", "--program", program, "-w", "1") as nexus:
        lines = re.findall(r"^  (curl .*?)(?: +# .*)?$", nexus.output, flags=re.MULTILINE)
        for line in lines:
            asked = ["bash", "-c", f"{line.replace('127.0.0.1:PORT', nexus.address)} --fail"]
            done = subprocess.run(asked, capture_output=True, check=False)
            assert (done.returncode, done.stdout != b"") == (0, True), done
        assert lines
