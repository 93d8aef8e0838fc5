"""A real daemon under a service manager's protocol, and as the first process of a container."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from nexus_supervisor.client import ControlClient
from nexus_supervisor.supervisor import keys
from tests.support.chaos import add_item, launched, make_stall, with_strace
from tests.support.http import PATIENCE_SECONDS, Connection
from tests.support.nexus import Nexus, command
from tests.support.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADERS_ONLY = "[daemon]\nport = 0\n[supervisor]\nprogram = 'hello'\nworkers = 2\nrollout.bake_seconds = 0\n"


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    with ServiceManager() as manager:
        yield manager


def changes(told: list[dict[str, str]]) -> list[str]:
    """The changes of state among what was told."""
    return [name for one in told for name in one if name in ("READY", "RELOADING", "STOPPING")]


def hello(parent: Path, port: int = 0) -> Path:
    """Make a directory of the smallest program that answers."""
    directory = parent / "dir"
    directory.mkdir()
    (directory / "daemon.toml").write_text(HEADERS_ONLY.replace("port = 0", f"port = {port}"))
    keys.generate(directory)
    return directory


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a supervisor, and wait until what it started has ended by itself."""
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert psutil.wait_procs(started, timeout=PATIENCE_SECONDS)[1] == []


# --- what is told ----------------------------------------------------------------------------------------------------


def test_it_is_ready_when_the_first_version_is_live_and_complete_on_disk(
    tmp_path: Path, manager: ServiceManager
) -> None:
    with Nexus(make_stall(tmp_path), env=manager.variables) as nexus:
        told = manager.until("READY=1")
        assert changes(told) == ["READY"]
        assert any("EXTEND_TIMEOUT_USEC" in one for one in told)
        assert (nexus.directory / "compiled" / "current").exists()
        assert nexus.version == 1
        manager.until("STATUS=Version 1: 2 of 2 workers ready")


def test_a_hangup_is_a_reload_and_its_verdict_ends_it(tmp_path: Path, manager: ServiceManager) -> None:
    with Nexus(make_stall(tmp_path), env=manager.variables) as nexus:
        manager.until("READY=1")
        add_item(nexus.directory, "bolt")
        nexus.until("committed", version=2)
        (nexus.directory / "items" / "bolt.toml").write_text("price = 'none'\n")
        nexus.until("candidate_refused")
        manager.until("STATUS=Version 2: 2 of 2 workers ready")

        nexus.signal(signal.SIGHUP)

        reloading = manager.until("RELOADING=1")[-1]
        assert int(reloading["MONOTONIC_USEC"]) > 0
        assert changes(manager.until("READY=1")) == ["READY"]
        assert nexus.version == 2


def test_a_push_is_a_reload_whether_it_is_applied_or_refused(tmp_path: Path, manager: ServiceManager) -> None:
    with Nexus(make_stall(tmp_path), env=manager.variables) as nexus:
        manager.until("READY=1")
        (nexus.directory / "items" / "bolt.toml").write_text("price = 'none'\n")
        assert nexus.push().exit_code == 3
        assert changes(manager.until("READY=1")) == ["RELOADING", "READY"]

        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0
        told = manager.until("READY=1")
        assert changes(told) == ["RELOADING", "READY"]
        assert nexus.version == 2


def test_the_end_is_told_when_it_begins_and_with_each_process_that_is_gone(
    tmp_path: Path, manager: ServiceManager
) -> None:
    with Nexus(make_stall(tmp_path), env=manager.variables) as nexus:
        manager.until("STATUS=Version 1: 2 of 2 workers ready")
        assert nexus.stop() == 0
        told = manager.until("STATUS=Stopping: 0 processes left")
        assert changes(told) == ["STOPPING"]
        assert any("EXTEND_TIMEOUT_USEC" in one for one in told)


def test_the_event_loop_feeds_the_watchdog(tmp_path: Path, manager: ServiceManager) -> None:
    with manager.running("run", make_stall(tmp_path), "-b", "127.0.0.1:0", WATCHDOG_USEC="200000") as process:
        manager.until("READY=1")
        for _ in range(3):
            manager.until("WATCHDOG=1")
        process.terminate()
        manager.until("STATUS=Stopping: 0 processes left")
        assert process.wait() == 0


def test_no_process_of_ours_can_speak_for_the_supervisor(tmp_path: Path, manager: ServiceManager) -> None:
    seen = tmp_path / "seen"
    code = f"""
import json, os
_wait = serve
def serve(agent):
    open({str(seen)!r} + agent.slot, "w").write(json.dumps(dict(os.environ)))
    _wait(agent)
"""
    with Nexus(make_stall(tmp_path, code), env={**manager.variables, "WATCHDOG_USEC": "60000000"}) as nexus:
        for slot in nexus.workers():
            written = Path(f"{seen}{slot}").read_text()
            assert "NOTIFY_SOCKET" not in written
            assert "WATCHDOG_USEC" not in written


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_a_service_that_starts_again_goes_on_with_the_socket_that_was_kept(
    tmp_path: Path, manager: ServiceManager
) -> None:
    directory = hello(tmp_path)
    with manager.running("run", directory) as process:
        manager.until("READY=1")
        (address,) = ControlClient(directory).status()["addresses"]
        assert len(manager.kept) == 1
        end(process)
    (directory / "daemon.toml").write_text(HEADERS_ONLY.replace("port = 0", f"port = {address.rpartition(':')[2]}"))

    with Connection(address) as connection:  # nobody runs, but the socket waits
        with manager.running("run", directory) as process:
            manager.until("READY=1")
            assert connection.request("GET", "/").status == 200
            assert ControlClient(directory).status()["addresses"] == [address]
            process.terminate()
            assert process.wait() == 0
        assert len(manager.kept) == 1


def test_a_kept_socket_that_is_used_no_longer_is_given_back(tmp_path: Path, manager: ServiceManager) -> None:
    directory = hello(tmp_path)
    with manager.running("run", directory) as process:
        manager.until("FDSTORE=1")
        (before,) = manager.kept
        end(process)

    with manager.running("run", directory) as process:  # port 0: another one is taken
        removed = manager.until("FDSTOREREMOVE=1")[-1]
        assert removed["FDNAME"] == before
        manager.until("FDSTORE=1")
        assert before not in manager.kept
        process.terminate()
        process.wait()


# --- the unit --------------------------------------------------------------------------------------------------------


def test_the_printed_unit_starts_reloads_and_stops_a_daemon(tmp_path: Path, manager: ServiceManager) -> None:
    directory = make_stall(tmp_path)
    printed = command("unit", directory, "--user", "somebody").stdout
    lines = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    calls = {name: lines[name].split(" -m nexus_supervisor ")[1] for name in ("ExecStart", "ExecReload")}

    with manager.running(*calls["ExecStart"].split()) as process:
        manager.until("READY=1")
        add_item(directory, "bolt")
        verb, place, option, _ = calls["ExecReload"].split(" ", 3)
        assert (verb, place, option) == ("push", str(directory), "--reason")
        assert command(verb, place, option, "systemctl reload").returncode == 0
        assert "RELOADING" in changes(manager.until("READY=1"))

        (directory / "items" / "bolt.toml").write_text("price = 'none'\n")
        assert command(verb, place, option, "systemctl reload").returncode == 3
        assert "RELOADING" in changes(manager.until("READY=1"))
        process.terminate()
        assert process.wait() == 0


# --- the first process -----------------------------------------------------------------------------------------------


NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")


@cache
def may_unshare() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def as_first() -> None:
    if not may_unshare():
        pytest.skip("this user may not make a pid namespace with unshare(1)")


ORPHAN = """
import os
_wait = serve
def serve(agent):
    child = os.fork()
    if child == 0:
        os.fork()
        os._exit(0)
    os.waitpid(child, 0)
    _wait(agent)
"""

TABLE = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


def test_as_the_first_process_it_acts_on_every_signal_of_the_table(tmp_path: Path, as_first: None) -> None:
    with launched(make_stall(tmp_path), prefix=NAMESPACE) as (process, client):
        (first,) = psutil.Process(process.pid).children()
        assert client.status()["pid"] == 1
        (caught,) = (
            int(line.split()[1], 16)
            for line in Path(f"/proc/{first.pid}/status").read_text().splitlines()
            if line.startswith("SigCgt")
        )
        # the kernel keeps from the first process of a namespace whatever it has no function for
        assert [number.name for number in TABLE if not caught >> (number - 1) & 1] == []
        first.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def zombies(parent: psutil.Process) -> list[int]:
    """The children that ended and wait to be reaped; one that is reaped meanwhile is none."""
    found = []
    for one in parent.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [one.pid] if one.status() == psutil.STATUS_ZOMBIE else []
    return found


def test_as_the_first_process_it_reaps_what_others_left(tmp_path: Path, as_first: None) -> None:
    with launched(make_stall(tmp_path, ORPHAN), prefix=NAMESPACE) as (process, client):
        (first,) = psutil.Process(process.pid).children()
        workers = len(client.status()["workers"])
        while zombies(first):
            assert first.is_running()
        assert len(client.status()["workers"]) == workers
        first.send_signal(signal.SIGTERM)
        assert process.wait() == 0


# --- what the unit denies --------------------------------------------------------------------------------------------


DENYING = """\
import ctypes, os, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
"""


@with_strace
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_a_gateway_makes_no_system_call_and_no_memory_that_the_unit_denies(tmp_path: Path) -> None:
    denying = (sys.executable, "-c", DENYING)
    if subprocess.run([*denying, shutil.which("true") or "/bin/true"], check=False).returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE (Linux 6.3)")
    directory, seen = tmp_path / "dir", tmp_path / "calls"
    assert command("init", directory).returncode == 0

    traced = ("strace", "-f", "-qq", "-o", str(seen))
    with launched(directory, prefix=(*traced, *denying)) as (process, client):
        with Connection(client.status()["addresses"][0]) as connection:
            assert connection.request("GET", "/ready").status == 200
        assert command("push", directory).returncode == 0
        assert command("stop", directory).returncode == 0
        assert process.wait() == 0

    made = {line.split(None, 1)[1].partition("(")[0] for line in seen.read_text().splitlines() if "(" in line}
    made = {name for name in made if name.isidentifier()}
    assert {"execve", "epoll_wait", "memfd_create"} <= made
    assert made - allowed("@system-service") == set()
    # sqlite gives its journal to the owner of the database where root runs it; the unit's user is not root
    assert made & allowed("@privileged") <= {"fchown"}


def allowed(group: str) -> set[str]:
    """Return the system calls of a group of systemd's, those of groups within it included."""
    line = ["systemd-analyze", "--no-pager", "syscall-filter", group]
    shown = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    found: set[str] = set()
    for row in shown.splitlines()[1:]:
        name = row.strip()
        if name.startswith("@"):
            found |= allowed(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found
