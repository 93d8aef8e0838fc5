"""A daemon in odd surroundings: no stdio, nobody who reads its log, no environment, odd names, odd modes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.control import PushRequest
from tests.support import leaks
from tests.support.chaos import add_item, descriptors, launched, make_stall
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from nexus_supervisor.client import ControlClient

NOISY = '''
import logging

def serve(agent):
    """Log more than any pipe holds, from the thread that serves."""
    for number in range(3_000):
        logging.getLogger("stall").warning("%06d %s", number, "x" * 100)
    agent.ready()
    agent.drain.wait()
'''


def push(client: ControlClient) -> int:
    return client.ask(PushRequest(reason="", expect=None, wait="active")).exit_code


@pytest.mark.parametrize("closed", [(2,), (1, 2), (0, 1, 2)])
def test_a_daemon_with_closed_stdio_writes_its_log_into_no_other_file(tmp_path: Path, closed: tuple[int, ...]) -> None:
    directory = make_stall(tmp_path, NOISY)
    shell = ["sh", "-c", f'exec "$@" {" ".join(f"{number}>&-" for number in closed)}', "sh"]
    with launched(directory, prefix=shell) as (process, client):
        add_item(directory, "bolt")
        assert push(client) == 0
        assert [descriptors(process.pid)[number] for number in closed] == ["/dev/null"] * len(closed)
        for worker in client.status()["workers"]:  # what workers write is read by the supervisor
            held = descriptors(worker["pid"])
            assert all(held[number].startswith("pipe:" if number else "/dev/null") for number in closed)
    assert (directory / "state" / "lock").read_bytes() == b""
    assert command("verify", directory).returncode == 0
    assert leaks.files(directory) == []


def test_a_daemon_whose_log_nobody_reads_goes_on_and_so_do_its_workers(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, NOISY)
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writing, False)
        os.write(writing, bytes(4096))
        os.set_blocking(writing, True)
        with launched(directory, stdout=writing, stderr=writing) as (_, client):
            for number in range(20):
                add_item(directory, "nut", number + 2)
                assert push(client) == 0
            assert {worker["state"] for worker in client.status()["workers"]} == {"ready"}
    finally:
        os.close(reading)
        os.close(writing)


def test_a_daemon_whose_log_reader_is_gone_goes_on(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, NOISY)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with launched(directory, stdout=writing, stderr=writing) as (_, client):
            add_item(directory, "bolt")
            assert push(client) == 0
    finally:
        os.close(writing)


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_what_is_kept_is_for_its_owner_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    directory = make_stall(tmp_path, workers=1)
    with launched(directory, umask=mask, stderr=subprocess.DEVNULL) as (_, client):
        add_item(directory, "bolt")
        assert push(client) == 0
        kept = [directory / "state", directory / "compiled", directory / "state" / "control.sock"]
        kept += [path for folder in kept[:2] for path in folder.rglob("*") if not path.is_symlink()]
        assert [path for path in kept if path.stat().st_mode & 0o077] == []
        assert [path for path in kept if path.is_file() and path.stat().st_mode & 0o600 != 0o600] == []
    assert command("verify", directory).returncode == 0


def test_a_daemon_needs_no_environment_and_no_working_directory(tmp_path: Path) -> None:
    parent = tmp_path / f"a näme with späces {'and so long that no socket address holds it ' * 3}"
    parent.mkdir()
    directory = make_stall(parent)
    gone = tmp_path / "gone"
    gone.mkdir()
    in_it = ["sh", "-c", 'cd "$0" && rmdir "$0" && exec env -i "$@"', str(gone)]
    paths = [f"PYTHONPATH={os.environ['PYTHONPATH']}"] if "PYTHONPATH" in os.environ else []
    with launched(directory, prefix=[*in_it, *paths], stderr=subprocess.DEVNULL) as (process, client):
        assert Path(f"/proc/{process.pid}/environ").read_bytes().count(b"\0") <= 2
        add_item(directory, "bolt")
        assert push(client) == 0
        assert {worker["version"] for worker in client.status()["workers"]} == {2}
    ended = subprocess.run([sys.executable, "-m", "nexus_supervisor", "verify", directory], check=False)
    assert ended.returncode == 0


def test_a_daemon_needs_no_home(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, workers=1)
    with Nexus(directory, env={"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "LANG": "xx", "TZ": "x"}) as nexus:
        add_item(directory, "bolt")
        assert nexus.push().exit_code == 0
