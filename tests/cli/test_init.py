"""init and the directory that it makes; run and what it hands on; keygen."""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from nexus_supervisor.cli import main
from nexus_supervisor.supervisor import keys

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(
        main, [str(one) for one in arguments], env={"NEXUS_HOME": None, **environment}, catch_exceptions=False
    )


def content(directory: Path) -> dict[str, bytes]:
    """Return every file of a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_new_directory_has_examples_and_keys(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "demo"

    result = run("init", directory)

    assert result.exit_code == 0
    assert result.stdout == f"{directory} is ready. Run it with: nexus-supervisor run {directory}\n"
    settings = tomllib.loads((directory / "daemon.toml").read_text())
    assert settings["supervisor"]["rollout"]["bake_seconds"] == 2
    assert {"sources", "destinations", "keys", "daemon.toml"} <= {path.name for path in directory.iterdir()}
    assert not [path for path in directory.iterdir() if path.name.startswith(".")]
    assert keys.load(directory, "keys/signing.key").key_id.startswith("SHA256:")


def test_every_key_that_the_examples_name_is_random_and_private(tmp_path: Path) -> None:
    run("init", tmp_path / "one")
    run("init", tmp_path / "two")

    for name in ("demo-claude-code.key", "demo-cursor.key"):
        path = tmp_path / "one" / "keys" / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().startswith("nxs_")
        assert len(path.read_text()) > 40
        assert path.read_text() != (tmp_path / "two" / "keys" / name).read_text()


def test_only_the_owner_reads_secret_keys_and_everybody_reads_the_examples(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        run("init", tmp_path / "demo")
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / "demo" / "keys").stat().st_mode) == 0o700
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) & 0o077
        for path in (tmp_path / "demo").rglob("*")
        if path.is_file()
    }
    for private in ("signing.key", "pepper", "demo-claude-code.key", "demo-cursor.key"):
        assert modes[private] == 0
    assert modes["daemon.toml"] & 0o044 == 0o044


@pytest.mark.parametrize("there", ["daemon.toml", "sources", "keys", "state", "compiled"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")

    result = run("init", tmp_path)

    assert result.exit_code == 6
    assert f"already has {there}, and nothing is overwritten" in result.stderr
    assert content(tmp_path) == {there: b"mine"}


@pytest.mark.parametrize("there", ["README.md", "sources"])
def test_what_appears_while_a_directory_is_made_is_not_overwritten_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    def generate(draft: Path) -> None:
        generated(draft)
        (tmp_path / there).write_text("mine")

    generated = keys.generate
    monkeypatch.setattr(keys, "generate", generate)

    result = run("init", tmp_path)

    assert result.exit_code == 6
    assert f"already has {there}, and nothing is overwritten" in result.stderr
    assert content(tmp_path) == {there: b"mine"}
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    run("init", tmp_path / "demo")
    before = content(tmp_path)

    assert run("init", tmp_path / "demo").exit_code == 6
    assert content(tmp_path) == before


def test_files_that_are_not_in_the_way_stay(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("app = None")

    assert run("init", tmp_path).exit_code == 0
    assert (tmp_path / "main.py").read_text() == "app = None"


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = run("init", tmp_path / "file")
    below = run("init", tmp_path / "file" / "demo")

    assert result.exit_code == 3
    assert "file is not a directory" in result.stderr
    assert below.exit_code == 1
    assert "Not a directory" in below.stderr


def test_the_directory_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    result = run("init")

    assert result.exit_code == 2
    assert "name the directory to make" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failed_init_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        message = "no room"
        raise OSError(message)

    monkeypatch.setattr(keys, "generate", fail)

    assert run("init", tmp_path / "demo").exit_code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", ["asgi", "wsgi", "jobs", "hello", "mine.workers:run"])
def test_other_programs_get_a_directory_of_their_own(tmp_path: Path, program: str) -> None:
    assert run("init", tmp_path, "--program", program).exit_code == 0

    settings = tomllib.loads((tmp_path / "daemon.toml").read_text())["supervisor"]
    assert settings["program"] == program
    assert [(section["name"], section["model"]) for section in settings["section"]] == [("knobs", "models:Knobs")]
    assert (tmp_path / "knobs" / "main.toml").is_file()


def test_an_unknown_program_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    result = run("init", tmp_path / "demo", "--program", "gatewya")

    assert result.exit_code == 2
    assert "'gatewya' is no worker program: did you mean gateway?" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, dict[str, Any], bool]]:
    """Stand in for the daemon, which runs until it is stopped; return what it was started with."""
    calls: list[tuple[Path, dict[str, Any], bool]] = []

    def run_supervisor(directory: Path, overrides: dict[str, Any], *, allow_unsigned: bool) -> int:
        calls.append((directory, overrides, allow_unsigned))
        return 4

    module = ModuleType("nexus_supervisor.supervisor.run")
    module.run = run_supervisor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_run_hands_on_what_the_options_give_and_nothing_else(
    tmp_path: Path, started: list[tuple[Path, dict[str, Any], bool]]
) -> None:
    everything = ["-w", "3", "-b", "[::1]:0", "--program", "asgi", "--app", "main:app", "--allow-unsigned"]

    (tmp_path / "daemon.toml").touch()
    assert run("run", tmp_path).exit_code == 4
    assert run("run", tmp_path, *everything).exit_code == 4

    given = {"daemon": {"bind": ["[::1]:0"]}, "supervisor": {"workers": 3, "program": "asgi", "app": "main:app"}}
    assert started == [(tmp_path, {}, False), (tmp_path, given, True)]


@pytest.mark.parametrize(
    "address", ["8080", "127.0.0.1", ":80", "::1:80", "host:", "host:x", "host:70000", "host:-1", "h:²"]
)
def test_an_address_that_is_none_is_refused(
    tmp_path: Path, started: list[tuple[Path, dict[str, Any], bool]], address: str
) -> None:
    result = run("run", tmp_path, "-b", address)

    assert result.exit_code == 2
    assert "expected HOST:PORT" in result.stderr
    assert started == []


def test_run_with_init_makes_a_missing_directory_without_bake_and_says_what_to_try(
    tmp_path: Path, started: list[tuple[Path, dict[str, Any], bool]]
) -> None:
    directory = tmp_path / "demo"

    first = run("run", directory, "--init")
    before = content(directory)
    second = run("run", directory, "--init")

    settings = tomllib.loads((directory / "daemon.toml").read_text())
    assert settings["supervisor"]["rollout"]["bake_seconds"] == 0
    key = f'-H "Authorization: Bearer $(cat {directory}/keys/demo-claude-code.key)"'
    assert f"curl -s {key} http://127.0.0.1:8080/whoami" in first.stdout
    assert "http://127.0.0.1:8080/inbound/claude-code" in first.stdout
    assert (directory / "keys" / "demo-claude-code.key").read_text().strip() not in first.stdout
    assert (second.stdout, content(directory)) == ("", before)
    assert len(started) == 2


def test_the_commands_to_try_name_the_address_that_was_chosen(
    tmp_path: Path, started: list[tuple[Path, dict[str, Any], bool]]
) -> None:
    chosen = run("run", tmp_path / "one", "--init", "-b", "[::]:9000")
    by_environment = run("run", tmp_path / "two", "--init", NEXUS_DAEMON__PORT="9001")

    assert "http://[::1]:9000/whoami" in chosen.stdout
    assert "http://127.0.0.1:9001/whoami" in by_environment.stdout


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("asgi", "  curl -s 'http://127.0.0.1:9000/?name=you'   # the price follows from knobs/main.toml"),
        ("wsgi", "  curl -s 'http://127.0.0.1:9000/?name=you'   # the price follows from knobs/main.toml"),
        ("jobs", "  tail -F '{}/data/jobs.log'   # each line follows from knobs/main.toml"),
        ("hello", "  curl -si 'http://127.0.0.1:9000/'   # Nexus-Config-Version rises"),
        ("mine.workers:run", "  # what it does is up to mine.workers:run; it sees knobs/*.toml as current().knobs"),
    ],
)
def test_every_program_has_something_to_try(
    tmp_path: Path, started: list[tuple[Path, dict[str, Any], bool]], program: str, line: str
) -> None:
    told = run("run", tmp_path / "my demo", "--init", "--program", program, "-b", "127.0.0.1:9000").stdout.splitlines()

    assert told[1].startswith(line.format(tmp_path / "my demo"))
    assert told[-1] == f"  nexus-supervisor status '{tmp_path / 'my demo'}'"


def test_a_directory_is_made_for_the_program_that_the_environment_names(
    tmp_path: Path, started: list[tuple[Path, dict[str, Any], bool]]
) -> None:
    run("run", tmp_path, "--init", NEXUS_SUPERVISOR__PROGRAM="asgi")

    assert tomllib.loads((tmp_path / "daemon.toml").read_text())["supervisor"]["program"] == "asgi"


def test_run_in_a_directory_that_is_none_of_ours_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tmp_path / "my project"
    directory.mkdir()
    (directory / "main.py").touch()

    result = run("run", directory)

    make = f"`nexus-supervisor init '{directory}'` or `nexus-supervisor run '{directory}' --init`"
    assert result.exit_code == 3
    assert result.stderr == (
        f"nexus-supervisor: {directory} is no directory of nexus-supervisor (it has no daemon.toml): "
        f"name another, or make one with {make}\n"
    )
    assert [path.name for path in directory.iterdir()] == ["main.py"]


def test_run_without_init_makes_nothing(tmp_path: Path) -> None:
    result = run("run", tmp_path / "demo")

    assert result.exit_code == 3
    assert f"demo is not a directory: make one with `nexus-supervisor init {tmp_path / 'demo'}`" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_ran_before_is_ours_without_its_daemon_toml(
    tmp_path: Path, started: list[tuple[Path, dict[str, Any], bool]]
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal").touch()

    assert run("run", tmp_path).exit_code == 4
    assert len(started) == 1


def test_the_examples_say_which_edit_withdraws_a_key(tmp_path: Path) -> None:
    run("init", tmp_path)
    source = tmp_path / "sources" / "claude-code.toml"

    comment = source.read_text().partition("[source]")[0].replace("\n# ", " ")
    assert "Delete the file, move it out of sources/ or let its name no longer end in .toml" in comment
    assert "Another name within sources/ changes nothing" in comment


def test_keygen_makes_keys_once(tmp_path: Path) -> None:
    first = run("keygen", tmp_path)
    before = content(tmp_path)
    second = run("keygen", tmp_path)

    assert first.exit_code == 0
    assert set(before) == {f"keys/{name}" for name in ("signing.key", "signing.pub", "allowed_signers", "pepper")}
    assert second.exit_code == 6
    assert "never overwritten" in second.stderr
    assert content(tmp_path) == before


def test_keygen_makes_no_directory(tmp_path: Path) -> None:
    result = run("keygen", tmp_path / "missing")

    assert result.exit_code == 3
    assert "missing is not a directory" in result.stderr
