"""Workers that run and don't work: each is found, says what it was doing where it can, and is replaced."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from nexus_supervisor.supervisor import keys
from tests.support import leaks
from tests.support.chaos import stopped
from tests.support.http import PATIENCE_SECONDS
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from pathlib import Path

APP = """
import asyncio, ctypes, re, threading


async def app(scope, receive, send):
    if scope["type"] == "http":
        match scope["path"]:
            case "/lock":
                lock_twice(threading.Lock())
            case "/regex":
                re.match("(a+)+$", "a" * 60 + "b")
            case "/native":
                call_and_keep_the_interpreter()
            case "/wait":
                await asyncio.Event().wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def lock_twice(lock):
    lock.acquire()
    lock.acquire()


def call_and_keep_the_interpreter():
    while True:
        ctypes.PyDLL(None).sleep(10_000)  # a signal cuts it short
"""
JOB = """
import threading, time
from pathlib import Path


def job():
    with Path(__file__).with_name("began").open("a") as began:
        print(threading.get_native_id(), file=began)
    time.sleep(10_000)
"""
DAEMON = """\
[daemon]
port = 0
shutdown.drain_timeout_seconds = 1

[supervisor]
program = "{program}"
app = "app:{app}"
workers = 2

[supervisor.rollout]
max_parallel = 1
bake_seconds = 0
trial.enabled = false

[supervisor.liveness]
timeout_seconds = 1.0
dump_seconds = 2.0
term_seconds = 0.5
"""


def make(directory: Path, *, app: str = APP, name: str = "app", program: str = "asgi", more: str = "") -> Path:
    (directory / "daemon.toml").write_text(DAEMON.format(program=program, app=name) + more)
    (directory / "app.py").write_text(app)
    keys.generate(directory)
    return directory


def pid(nexus: Nexus, slot: str) -> int:
    return int(nexus.workers()[slot]["pid"])


def gone(*pids: int) -> bool:
    """Wait until processes are gone."""
    found = [psutil.Process(one) for one in pids if psutil.pid_exists(one)]
    return not leaks.await_exit(found, PATIENCE_SECONDS)


def await_output(nexus: Nexus, text: str) -> str:
    """Wait until something was written, and return the lines with it."""
    while text not in nexus.output:
        assert nexus.process.poll() is None, nexus.output
    return "\n".join(line for line in nexus.output.splitlines() if text in line)


@pytest.mark.parametrize(
    ("path", "function"),
    [("/lock", "lock_twice"), ("/regex", "in match"), ("/native", "call_and_keep_the_interpreter")],
)
def test_a_worker_that_hangs_says_where_and_is_replaced(tmp_path: Path, path: str, function: str) -> None:
    with Nexus(make(tmp_path)) as nexus:
        victim = pid(nexus, "asgi-1")
        with nexus.connection("asgi-1") as hanging:
            hanging.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            found = nexus.until("slot_silent")
            nexus.until("slot_ready", slot="asgi-1")

            assert (found["slot"], found["pid"], found["found"]) == ("asgi-1", victim, "silent")
            assert f"asgi-1[{victim}] stderr" in await_output(nexus, function)
            assert gone(victim)
        assert nexus.request("GET", "/", worker="asgi-1").incarnation == 2
        assert pid(nexus, "asgi-0") == nexus.history("slot_started", slot="asgi-0")[0]["pid"]


def test_a_stopped_worker_is_replaced_and_the_notice_says_that_it_was_stopped(tmp_path: Path) -> None:
    with Nexus(make(tmp_path)) as nexus:
        victim = pid(nexus, "asgi-0")
        with stopped(victim):
            found = nexus.until("slot_silent")
            nexus.until("slot_ready", slot="asgi-0")

            assert (found["slot"], found["pid"], found["found"]) == ("asgi-0", victim, "stopped")
            assert gone(victim)


def test_workers_that_are_stopped_at_once_are_replaced_one_after_the_other(tmp_path: Path) -> None:
    with Nexus(make(tmp_path)) as nexus:
        victims = [pid(nexus, slot) for slot in ("asgi-0", "asgi-1")]
        with stopped(victims[0]), stopped(victims[1]):
            first = nexus.until("slot_silent")
            ready = nexus.until("slot_ready")
            second = nexus.until("slot_silent")

            assert first["slot"] == ready["slot"] != second["slot"]
            assert gone(*victims)
        nexus.until("slot_ready", slot=second["slot"])


def test_a_request_that_waits_for_too_long_costs_the_worker_its_place(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, more="max_request_seconds = 1.0\n")) as nexus:
        victim = pid(nexus, "asgi-1")
        with nexus.connection("asgi-1") as hanging:
            hanging.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            found = nexus.until("slot_silent")

            assert (found["slot"], found["found"]) == ("asgi-1", "request")
            assert gone(victim)


def test_a_job_may_take_long_but_not_while_it_is_stopped(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, app=JOB, name="job", program="jobs"), bind="") as nexus:
        began = tmp_path / "began"
        while not began.exists() or len(began.read_text().split()) < 2:
            assert nexus.process.poll() is None
        victim = pid(nexus, "jobs-0")
        with stopped(victim):
            found = nexus.until("slot_silent")

            assert (found["slot"], found["found"]) == ("jobs-0", "stopped")
            assert gone(victim)
        nexus.until("slot_ready", slot="jobs-0")
        assert len(nexus.history("slot_silent")) == 1


def test_a_worker_that_is_told_to_quit_writes_down_its_stacks_and_goes_on(tmp_path: Path) -> None:
    with Nexus(make(tmp_path)) as nexus:
        os.kill(pid(nexus, "asgi-0"), signal.SIGQUIT)

        assert await_output(nexus, "most recent call first")
        assert nexus.request("GET", "/", worker="asgi-0").incarnation == 1
