"""The signing key: in the supervisor's memory and its file, and nowhere else, whatever happens to a process."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from tests.support.chaos import as_root, compiler, count_in_memory, launched
from tests.support.gateway_directory import a_source, make_directory, write_atomically
from tests.support.nexus import Nexus

UNPRIVILEGED = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all"]
"""Root without the right to look into any process: the same user as the daemon, and no more."""


def seed_of(directory: Path) -> bytes:
    key = load_ssh_private_key((directory / "keys" / "signing.key").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key.private_bytes_raw()


@as_root
def test_the_signing_key_is_in_no_memory_but_the_supervisor_s(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        for tier in range(3):
            write_atomically(nexus.directory / "sources" / "alpha.toml", a_source("alpha", tier=tier))
            assert nexus.push().exit_code == 0
        assert nexus.restart().exit_code == 0
        killed = nexus.workers()["gateway-1"]["pid"]
        os.kill(killed, signal.SIGKILL)
        nexus.until("worker_exited", pid=killed)
        nexus.until("slot_ready", slot="gateway-1")
        seed, pepper = seed_of(nexus.directory), (nexus.directory / "keys" / "pepper").read_bytes()
        pids = [compiler(nexus).pid, *(worker["pid"] for worker in nexus.workers().values())]
        everybody = [child.pid for child in psutil.Process(nexus.process.pid).children(recursive=True)]
        assert set(pids) < set(everybody)  # the others: the trial worker, and the zygote of each program
        assert count_in_memory(nexus.process.pid, seed) > 0
        assert {count_in_memory(pid, seed) for pid in everybody} == {0}
        assert all(count_in_memory(pid, pepper) for pid in pids)  # what they are given is found this way
        for pid in everybody:
            for where in ("environ", "cmdline"):
                assert seed not in Path(f"/proc/{pid}/{where}").read_bytes()


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_process_of_the_same_user_can_not_look_into_the_supervisor(tmp_path: Path) -> None:
    def readable(pid: int) -> bool:
        line = [*UNPRIVILEGED, "readlink", f"/proc/{pid}/exe"]
        return subprocess.run(line, check=False, capture_output=True).returncode == 0

    with launched(make_directory(tmp_path), prefix=UNPRIVILEGED) as (process, client):
        assert [readable(worker["pid"]) for worker in client.status()["workers"]] == [True, True]
        assert not readable(process.pid)


def test_a_supervisor_that_crashes_leaves_no_core(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        pids = [nexus.process.pid, compiler(nexus).pid, *(worker["pid"] for worker in nexus.workers().values())]
        assert {resource.prlimit(pid, resource.RLIMIT_CORE) for pid in pids} == {(0, 0)}
        nexus.signal(signal.SIGABRT)
        ended = os.waitid(os.P_PID, nexus.process.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        assert ended.si_code == os.CLD_KILLED  # and not CLD_DUMPED
        nexus.kill()
