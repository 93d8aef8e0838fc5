"""Workers as another user: what a worker that was taken over can try on the supervisor and on the compiler."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from nexus_supervisor.core import canonical
from tests.support.chaos import count_in_memory, launched, make_stall
from tests.support.isolation import (
    EVERYTHING,
    HARMLESS,
    LOOKING,
    NOBODY,
    attacked,
    python_for_nobody,
    shared_stall,
    surroundings,
)

if TYPE_CHECKING:
    from nexus_supervisor.client import ControlClient

AS_NOBODY = f'isolation.user = "{NOBODY}"\nisolation.group = "{NOBODY}"\n'

ORDINARY: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/"}


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> str:
    """Have daemons run by an interpreter that nobody can use, too."""
    found = python_for_nobody()
    monkeypatch.setattr(sys, "executable", found)
    return found


def processes(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.usefixtures("python")
def test_everything_that_runs_code_of_the_application_runs_as_the_user_that_is_asked_for() -> None:
    with shared_stall(settings=AS_NOBODY) as directory, launched(directory, env=surroundings()) as (process, client):
        started = processes(process.pid)
        assert len(started) >= 4  # compiler, two workers, trial worker, and a zygote where there is one
        assert {child.uids() for child in started} == {(NOBODY, NOBODY, NOBODY)}
        assert {child.gids() for child in started} == {(NOBODY, NOBODY, NOBODY)}
        assert {status_of(child.pid)["Groups"] for child in started} == {str(NOBODY)}
        assert {status_of(child.pid)["CapEff"] for child in started} == {"0" * 16}
        assert {status_of(child.pid)["NoNewPrivs"] for child in started} == {"1"}
        assert client.status()["isolation"] == "own-uid"


@pytest.mark.usefixtures("python")
def test_the_user_of_the_workers_can_do_nothing_to_the_supervisor() -> None:
    with shared_stall(settings=AS_NOBODY) as directory, launched(directory, env=surroundings()) as (process, client):
        assert not any(attacked(process.pid, EVERYTHING).values())
        worker = client.status()["workers"][0]["pid"]
        assert attacked(worker, ("environment",)) == {"environment": True}  # so the attacks are real ones


@pytest.mark.usefixtures("python")
def test_a_worker_can_not_look_into_the_compiler_whose_words_are_signed() -> None:
    with shared_stall(settings=AS_NOBODY) as directory, launched(directory, env=surroundings()) as (process, _):
        compilers = [child for child in processes(process.pid) if "nexus_supervisor.compiler" in child.cmdline()]
        assert [any(attacked(child.pid, LOOKING).values()) for child in compilers] == [False]


@pytest.mark.usefixtures("python")
def test_the_key_is_in_no_process_of_the_workers_user_and_its_file_is_closed_to_it() -> None:
    with shared_stall(settings=AS_NOBODY) as directory, launched(directory, env=surroundings()) as (process, _):
        key = (directory / "keys" / "signing.key").read_bytes().splitlines()[2]
        assert {count_in_memory(child.pid, key) for child in processes(process.pid)} == {0}
        line = ["cat", str(directory / "keys" / "signing.key"), str(directory / "keys" / "pepper")]
        tried = subprocess.run(line, check=False, capture_output=True, **ORDINARY)
        assert (tried.returncode, tried.stdout) == (1, b"")


@pytest.mark.usefixtures("python")
def test_a_process_of_the_supervisor_s_own_user_can_not_look_into_it() -> None:
    with shared_stall() as directory:
        given_away(directory)
        with launched(directory, env=surroundings(), **ORDINARY) as (process, client):
            assert not any(attacked(process.pid, LOOKING).values())
            assert client.status()["isolation"] == "same-uid"
            worker = client.status()["workers"][0]["pid"]
            assert all(attacked(worker, HARMLESS).values()) or yama()


def given_away(directory: Path) -> None:
    """Make a directory one of the ordinary user's."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


def yama() -> bool:
    """Say whether the kernel lets nobody trace what it has not started."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return scope.exists() and scope.read_text().strip() != "0"


def test_bounds_hold_in_every_worker_and_not_in_the_supervisor(tmp_path: Path) -> None:
    bounds = "isolation.max_open_files = 200\nisolation.max_memory_mb = 900\nisolation.max_processes = 5000\n"
    with launched(make_stall(tmp_path, settings=bounds)) as (process, client):
        pids = [worker["pid"] for worker in client.status()["workers"]]
        for kind, bound in (
            (resource.RLIMIT_NOFILE, 200),
            (resource.RLIMIT_DATA, 900 << 20),
            (resource.RLIMIT_NPROC, 5000),
            (resource.RLIMIT_CORE, 0),
        ):
            assert {resource.prlimit(pid, kind) for pid in pids} == {(bound, bound)}
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_rights_are_gained_where_that_is_asked_for(tmp_path: Path) -> None:
    with launched(make_stall(tmp_path, settings="isolation.no_new_privs = false\n")) as (process, client):
        pids = [process.pid, *(worker["pid"] for worker in client.status()["workers"])]
        assert {status_of(pid)["NoNewPrivs"] for pid in pids} == {status_of(os.getpid())["NoNewPrivs"]}


@pytest.mark.usefixtures("python")
def test_who_is_not_root_is_told_that_another_user_can_not_be_had() -> None:
    with shared_stall(settings='isolation.user = "0"\n') as directory:
        given_away(directory)
        said = refused(directory, surroundings(), **ORDINARY)
        assert (
            f"user is '0', and the supervisor runs as user {NOBODY}: only root can start processes as another" in said
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask for another user")
def test_a_user_that_is_unknown_here_is_refused_before_anything_runs(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, "raise SystemExit", settings='isolation.user = "no-such-user"\n')
    assert "this machine has no user 'no-such-user'" in refused(directory)


@pytest.mark.usefixtures("python")
def test_a_directory_that_its_workers_could_change_is_warned_about() -> None:
    with shared_stall(settings=AS_NOBODY) as directory:
        (directory / "daemon.toml").chmod(0o666)
        with launched(directory, env=surroundings()) as (_, client):
            assert weak(client) == [["write daemon.toml"]]


def weak(client: ControlClient) -> list[list[str]]:
    told = [canonical.decode(noticed.document) for noticed in client.notices(0, follow=False)]
    return [one["fields"]["reached"] for one in told if one["kind"] == "isolation_weak"]


@pytest.mark.usefixtures("python")
def test_no_model_is_imported_as_root_while_daemon_toml_is_broken() -> None:
    code = "import os; open(os.path.join(os.path.dirname(__file__), f'as-{os.geteuid()}'), 'w').close()"
    with shared_stall(code, settings=AS_NOBODY) as directory:
        directory.chmod(0o777)
        with (directory / "daemon.toml").open("a") as file:
            file.write("\n[daemon]\nport = 'none'\n")
        refused(directory, surroundings())
        (directory / "daemon.toml").write_text("[supervisor]\nisolation = 5\n")
        refused(directory, surroundings())
        assert not (directory / "as-0").exists()


def refused(directory: Path, variables: dict[str, str] | None = None, **options: Any) -> str:
    """Run a daemon that doesn't start; return what it says."""
    line = [sys.executable, "-m", "nexus_supervisor", "run", str(directory), "-b", "127.0.0.1:0"]
    ended = subprocess.run(line, check=False, capture_output=True, text=True, env=variables, **options)
    assert ended.returncode == 3, ended.stderr
    return ended.stderr
