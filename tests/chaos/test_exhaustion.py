"""A system that has nothing left to give, no process and no memory: who serves goes on, the rest comes later."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.chaos import add_item, as_root, room_for, strace, with_strace, zombies
from tests.support.nexus import Nexus, command
from tests.support.steady_load import Load
from tests.support.under_load import await_workers, failures, kill_with_its_requests, make_web, titled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = "restart.backoff_seconds = 0.05\nrestart.max_restarts = 1000\n"


def a_loss(nexus: Nexus, load: Load, missing: contextlib.AbstractContextManager[None]) -> None:
    """Lose a worker while something is missing: the rest goes on meanwhile, and it comes back later."""
    with missing:
        in_hand = kill_with_its_requests(nexus.workers()["asgi-0"]["pid"])
        nexus.until("slot_backoff", slot="asgi-0")
        nexus.until("slot_backoff", slot="asgi-0")
        load.until_answered_by({"asgi-1"}, nexus.version)
        assert nexus.status()["state"] == "degraded"
        assert command("status", nexus.directory).stdout
    await_workers(nexus)
    load.until_answered_by({"asgi-0", "asgi-1"}, nexus.version)
    assert nexus.workers()["asgi-1"]["incarnation"] == 1
    assert failures(load) <= in_hand
    assert zombies(nexus) == []
    add_item(nexus.directory, "bolt")
    assert nexus.push().exit_code == 0


@contextlib.contextmanager
def without_memory(pid: int) -> Iterator[None]:
    """Leave a process, and those that it forks, no address space beyond what it has."""
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (psutil.Process(pid).memory_info().vms, before[1]))
    try:
        yield
    finally:
        if psutil.pid_exists(pid):
            resource.prlimit(pid, resource.RLIMIT_AS, before)


def zygote(nexus: Nexus) -> int:
    found = titled(nexus, "zygote")
    assert found is not None
    return found


@as_root
@with_strace
def test_without_a_process_to_be_had_who_serves_goes_on_and_the_rest_comes_later(tmp_path: Path) -> None:
    with Nexus(make_web(tmp_path, settings=SETTINGS)) as nexus, Load(nexus.address) as load:
        load.until_answered_by({"asgi-0", "asgi-1"}, 1)
        a_loss(nexus, load, strace(zygote(nexus), "fork,vfork,clone,clone3", "error=EAGAIN"))


def test_without_memory_for_another_worker_who_serves_goes_on_and_the_rest_comes_later(tmp_path: Path) -> None:
    with Nexus(make_web(tmp_path, settings=SETTINGS)) as nexus, Load(nexus.address) as load:
        load.until_answered_by({"asgi-0", "asgi-1"}, 1)
        a_loss(nexus, load, without_memory(zygote(nexus)))


def test_without_a_descriptor_in_the_supervisor_who_serves_goes_on_and_it_answers(tmp_path: Path) -> None:
    with Nexus(make_web(tmp_path, settings=SETTINGS)) as nexus, Load(nexus.address) as load:
        load.until_answered_by({"asgi-0", "asgi-1"}, 1)
        a_loss(nexus, load, room_for(nexus.process.pid, 2))


def test_nobody_of_the_same_user_can_take_connections_from_the_port(tmp_path: Path) -> None:
    with Nexus(make_web(tmp_path)) as nexus, socket.socket() as thief:
        host, port = nexus.address.split(":")
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            thief.bind((host, int(port)))


def test_a_worker_is_replaced_although_its_code_is_gone_from_disk(tmp_path: Path) -> None:
    with Nexus(make_web(tmp_path, settings=SETTINGS)) as nexus, Load(nexus.address) as load:
        load.until_answered_by({"asgi-0", "asgi-1"}, 1)
        (nexus.directory / "stall.py").rename(tmp_path / "aside.py")
        in_hand = kill_with_its_requests(nexus.workers()["asgi-0"]["pid"])
        await_workers(nexus, after={"asgi-0": 1})
        before = nexus.workers()
        assert nexus.restart().exit_code == 3
        assert [one["pid"] for one in nexus.workers().values()] == [one["pid"] for one in before.values()]
        (tmp_path / "aside.py").rename(nexus.directory / "stall.py")
        assert nexus.restart().exit_code == 0
        load.until_answered_by({"asgi-0", "asgi-1"}, 1)
        assert failures(load) <= in_hand


GRANDCHILD = '''
import subprocess

_app = app

async def app(scope, receive, send):
    """Leave a process behind that has every descriptor of the worker."""
    if scope["type"] == "http" and scope["path"] == "/leave":
        subprocess.Popen(["sleep", "1000"], close_fds=False, pass_fds=[
            int(one.name) for one in Path("/proc/self/fd").iterdir() if one.exists()])
    await _app(scope, receive, send)

from pathlib import Path
'''


def test_a_dead_worker_is_noticed_although_its_child_holds_its_pipe_open(tmp_path: Path) -> None:
    with Nexus(make_web(tmp_path, GRANDCHILD, settings=SETTINGS)) as nexus:
        assert nexus.request("GET", "/leave", worker="asgi-0").status == 200
        worker = psutil.Process(nexus.workers()["asgi-0"]["pid"])
        (left,) = [one for one in worker.children() if one.name() == "sleep"]
        worker.send_signal(signal.SIGKILL)
        await_workers(nexus, after={"asgi-0": 1})
        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0
        assert left.is_running()
        left.kill()
        while psutil.pid_exists(left.pid):  # the supervisor reaps whatever has lost its parent
            assert nexus.process.poll() is None
        assert [one["slot"] for one in nexus.history("worker_exited")] == ["asgi-0"]
