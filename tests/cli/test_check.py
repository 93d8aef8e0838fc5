"""check: a real compiler process judges real files, and nothing is touched."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from nexus_supervisor.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(
        main, [str(one) for one in arguments], env={"NEXUS_HOME": None, **environment}, catch_exceptions=False
    )


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """Make a directory as init does."""
    directory = tmp_path / "demo"
    assert run("init", directory).exit_code == 0
    return directory


@pytest.mark.parametrize("program", ["gateway", "asgi", "wsgi", "jobs", "hello"])
def test_what_init_makes_is_valid(tmp_path: Path, program: str) -> None:
    run("init", tmp_path / "demo", "--program", program)

    result = run("check", tmp_path / "demo")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{tmp_path / 'demo'} is valid: ")


def test_every_problem_is_a_line_with_file_and_line(demo: Path) -> None:
    source = demo / "sources" / "claude-code.toml"
    source.write_text(source.read_text().replace("tier = 3 ", "teir = 3 "))
    (demo / "destinations" / "broken.toml").write_text("[destination\n")

    result = run("check", demo)

    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert any(line.startswith("destinations/broken.toml:1: ") for line in lines)
    assert any(line.startswith("sources/claude-code.toml:") and "did you mean tier?" in line for line in lines)
    assert result.stderr == f"nexus-supervisor: {demo} is not valid: {len(lines)} problems\n"


def test_with_json_problems_are_one_document_on_stdout(demo: Path) -> None:
    (demo / "sources" / "broken.toml").write_text("[source]\nname = 7\n")

    result = run("check", demo, "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 3
    assert document["ok"] is False
    assert {"sources/broken.toml"} == {problem["file"] for problem in document["problems"]}
    assert json.loads(run("check", demo / "missing", "--json").stdout)["ok"] is False


def test_a_directory_without_keys_is_checked_all_the_same(demo: Path) -> None:
    for name in ("signing.key", "signing.pub", "allowed_signers", "pepper"):
        (demo / "keys" / name).unlink()

    result = run("check", demo)

    assert (result.exit_code, result.stdout) == (0, f"{demo} is valid: 4 files\n")
    assert result.stderr == f"note: it has no keys yet, which `run` needs: nexus-supervisor keygen {demo}\n"
    assert json.loads(run("check", demo, "--json").stdout)["digest"] is None


def test_a_directory_with_keys_has_a_digest(demo: Path) -> None:
    first, second = (json.loads(run("check", demo, "--json").stdout)["digest"] for _ in range(2))

    assert first == second
    assert len(first) == 64


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    result = run("check", tmp_path / "missing")

    assert result.exit_code == 3
    assert result.stdout.startswith(f"{tmp_path / 'missing'}: expected a directory, found nothing")


def test_nothing_is_touched(demo: Path) -> None:
    before = {path: path.lstat().st_mtime_ns for path in demo.rglob("*")}

    run("check", demo)

    assert {path: path.lstat().st_mtime_ns for path in demo.rglob("*")} == before


def test_a_mistake_in_the_environment_is_a_problem_too(demo: Path) -> None:
    result = run("check", demo, NEXUS_SUPERVISOR__WORKERS="many")

    assert result.exit_code == 3
    assert "NEXUS_SUPERVISOR__WORKERS" in result.stdout


def test_a_model_that_ends_the_process_is_a_refusal_and_not_our_end(tmp_path: Path) -> None:
    run("init", tmp_path, "--program", "hello")
    (tmp_path / "shapes.py").write_text("import os\nos._exit(9)\n")
    settings = tmp_path / "daemon.toml"
    settings.write_text(settings.read_text().replace("models:Knobs", "shapes:Knobs"))

    result = run("check", tmp_path)

    assert result.exit_code == 3
    assert "the compiler ended with exit code 9" in result.stdout


def test_hostile_names_are_shown_and_not_obeyed(demo: Path) -> None:
    (demo / "sources" / "evil.toml").write_text('[source]\n"\\u001b[2J" = 1\n')

    result = run("check", demo)

    assert result.exit_code == 3
    assert all(one == "\n" or one.isprintable() for one in result.stdout)


def test_secrets_are_in_no_output(demo: Path) -> None:
    secret = "nxs_canary_that_must_not_show"
    source = demo / "sources" / "cursor.toml"
    text = (
        source.read_text()
        .replace('"file:keys/demo-cursor.key"', f'"{secret}"')
        .replace("can_read = true", "can_read = 3")
    )
    source.write_text(text + os.linesep)

    for result in (run("check", demo), run("check", demo, "--json")):
        assert result.exit_code == 3
        assert secret not in result.stdout + result.stderr
