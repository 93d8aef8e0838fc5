"""Upgrades in place of real daemons under load: another supervisor in the same process, and nobody notices."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import psutil
import pytest

import nexus_supervisor
from tests.processes.test_restarts import FASTAPI, make
from tests.support.gateway_directory import key_of, write_atomically
from tests.support.gateway_directory import make_directory as make_gateway
from tests.support.http import PATIENCE_SECONDS
from tests.support.nexus import Nexus, command
from tests.support.steady_load import Load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ThreadPoolExecutor

AT_ONCE = """
[supervisor.rollout]
bake_seconds = 0
trial.enabled = false
"""

BAKES_LONG = """
[supervisor.rollout]
bake_seconds = 600
quiet_bake_seconds = 600
trial.enabled = false
"""

STREAMS = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await receive()
    left = asyncio.ensure_future(receive())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] == "/stream" and not left.done():
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.002)
    await send({"type": "http.response.body", "body": b"x"})
    left.cancel()
"""


def pids(nexus: Nexus) -> dict[str, int]:
    return {slot: worker["pid"] for slot, worker in nexus.workers().items()}


def zygotes(nexus: Nexus) -> set[int]:
    """The children of the supervisor that are zygotes."""
    return {one.pid for one in psutil.Process(nexus.process.pid).children() if "zygote" in _title(one)}


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):  # one that ends just now
        return " ".join(process.cmdline())
    return ""


def write_price(directory: Path, price: int) -> None:
    write_atomically(directory / "items" / "nut.toml", f"[item]\nprice = {price}\n")


@contextlib.contextmanager
def a_stream(address: str) -> Iterator[list[str]]:
    """Read an endless answer in a thread; give a list of what ended it: nothing as long as it goes on."""
    ended: list[str] = []
    arrived, over = Event(), Event()

    def read() -> None:
        connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/stream")
        answer = connection.getresponse()
        while not over.is_set():
            if not answer.read1(100):
                ended.append("it ended")
                break
            arrived.set()
        connection.close()

    reader = Thread(target=read)
    reader.start()
    assert arrived.wait(PATIENCE_SECONDS)
    try:
        yield ended
    finally:
        over.set()
        reader.join()


def test_upgrades_under_load_keep_pid_workers_zygote_and_version_and_lose_no_request(tmp_path: Path) -> None:
    directory = make(tmp_path / "site", "asgi", "web:app", AT_ONCE)
    (directory / "web.py").write_text(STREAMS)
    with Nexus(directory, "-w", "2") as nexus:
        before = pids(nexus), zygotes(nexus), nexus.version, nexus.address
        assert len(before[1]) == 1
        with Load(nexus.address, paths=("/",)) as load, a_stream(nexus.address) as ended:
            load.until_answered_by(set(before[0]), 1)
            for count in (1, 2, 3):
                upgraded = nexus.upgrade(f"number {count}")
                assert (upgraded.exit_code, upgraded.outcome) == (0, "UPGRADED"), upgraded.text
                assert (pids(nexus), zygotes(nexus), nexus.version, nexus.address) == before
                assert nexus.status()["supervisor"]["upgrades"] == count
                load.until_answered_by(set(before[0]), 1)
            assert ended == []
        assert [one for one in load.asked if one.failed] == []
        assert len(nexus.history("upgraded")) == 3


def test_push_restart_scale_and_stop_work_after_an_upgrade(tmp_path: Path) -> None:
    directory = make(tmp_path / "site", "asgi", "main:app", AT_ONCE)
    (directory / "main.py").write_text(FASTAPI)
    with Nexus(directory, "-w", "2") as nexus:
        before = pids(nexus)
        assert nexus.upgrade().exit_code == 0
        write_price(directory, 2)
        assert nexus.push().exit_code == 0
        assert (nexus.version, pids(nexus)) == (2, before)
        assert nexus.client.scale(by=1).exit_code == 0
        nexus.until("slot_ready", slot="asgi-2")
        assert nexus.upgrade().exit_code == 0
        assert set(pids(nexus)) == {"asgi-0", "asgi-1", "asgi-2"}
        assert nexus.restart().exit_code == 0
        assert not set(before.values()) & set(pids(nexus).values())
        assert nexus.status()["state"] == "ok"


def test_what_was_counted_and_told_before_an_upgrade_is_known_after_it(tmp_path: Path) -> None:
    with Nexus(make(tmp_path / "site", "asgi", "web:app", AT_ONCE), "-w", "1") as nexus:
        for _ in range(5):
            assert nexus.request("GET", "/").status == 200
        worker = psutil.Process(pids(nexus)["asgi-0"])
        worker.kill()
        nexus.until("slot_ready", slot="asgi-0", incarnation=2)
        for _ in range(5):
            nexus.request("GET", "/")
        told, before = nexus.history("worker_exited"), nexus.workers()["asgi-0"]
        assert nexus.upgrade().exit_code == 0
        after = nexus.workers()["asgi-0"]
        assert nexus.history("worker_exited") == told
        same = ("pid", "incarnation", "restarts", "last_exit", "requests", "version", "ready_since")
        assert {name: after[name] for name in same} == {name: before[name] for name in same}
        assert before["requests"] == 5


def test_a_source_can_be_revoked_after_an_upgrade(tmp_path: Path) -> None:
    directory = make_gateway(tmp_path)
    with Nexus(directory, "-w", "1") as nexus:
        assert nexus.request("GET", "/whoami", key_of("beta")).status == 200
        assert nexus.upgrade().exit_code == 0
        assert nexus.request("GET", "/whoami", key_of("beta")).status == 200
        (directory / "sources" / "beta.toml").unlink()
        assert nexus.push().exit_code == 0
        assert nexus.request("GET", "/whoami", key_of("beta")).status == 401
        assert nexus.request("GET", "/whoami", key_of("alpha")).status == 200


MOST_PUSHES = 50


def at_most(now: tuple[int, ...], then: tuple[int, ...]) -> bool:
    return all(one <= other for one, other in zip(now, then, strict=True))


def test_ten_upgrades_leave_no_descriptor_thread_or_process(tmp_path: Path) -> None:
    def held() -> tuple[int, int, int]:
        assert nexus.push().exit_code == 0  # the compiler runs then
        process = psutil.Process(nexus.process.pid)
        children = [one for one in process.children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
        return process.num_fds(), process.num_threads(), len(children)

    with Nexus(make(tmp_path / "site", "asgi", "web:app", AT_ONCE), "-w", "1") as nexus:
        assert nexus.upgrade().exit_code == 0
        before = held()
        for _ in range(10):
            assert nexus.upgrade().exit_code == 0
        seen = [held()]  # what the last push used may not be gone when it is answered: some more are given the time
        while len(seen) < MOST_PUSHES and not at_most(seen[-1], before):
            seen.append(held())
        assert at_most(seen[-1], before), (before, seen)


def test_code_that_cannot_start_leaves_the_old_supervisor_as_it_is(tmp_path: Path) -> None:
    copy = tmp_path / "packages" / "nexus_supervisor"
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(nexus_supervisor.__file__).parent, copy, ignore=skipped)
    place = {"PYTHONPATH": str(copy.parent), "PYTHONSAFEPATH": "1"}
    whole = (copy / "supervisor" / "service.py").read_text()
    with Nexus(make(tmp_path / "site", "asgi", "web:app", AT_ONCE), "-w", "1", env=place) as nexus:
        before = pids(nexus)
        (copy / "supervisor" / "service.py").write_text(f"{whole}\ndef broken(:\n")
        refused = command("upgrade", nexus.directory, "--reason", "try it")
        assert refused.returncode == 1
        assert "SyntaxError" in refused.stderr
        assert "service.py" in refused.stderr
        assert (pids(nexus), nexus.status()["supervisor"]["upgrades"]) == (before, 0)
        assert nexus.push().exit_code == 0
        (copy / "supervisor" / "service.py").write_text(whole)
        assert nexus.upgrade().exit_code == 0
        assert pids(nexus) == before


def test_an_upgrade_waits_for_a_bake_and_turns_others_away_meanwhile(
    tmp_path: Path, background: ThreadPoolExecutor
) -> None:
    directory = make(tmp_path / "site", "asgi", "web:app", BAKES_LONG)
    with Nexus(directory, "-w", "2") as nexus:
        write_price(directory, 2)
        pushed = background.submit(nexus.push)
        nexus.until("rollout_phase", phase="bake")
        upgraded = background.submit(nexus.client.upgrade, "", PATIENCE_SECONDS)
        nexus.until("upgrade_asked")
        assert nexus.restart().exit_code == 6
        assert nexus.steer("promote").exit_code == 0
        assert pushed.result(PATIENCE_SECONDS).exit_code == 0
        assert upgraded.result(PATIENCE_SECONDS).exit_code == 0
        assert nexus.version == 2
        nexus.follow_anew()


def test_an_upgrade_that_waits_too_long_says_for_what_and_everything_goes_on(
    tmp_path: Path, background: ThreadPoolExecutor
) -> None:
    limits = "\n[supervisor.limits]\nupgrade_timeout_seconds = 1\n"
    directory = make(tmp_path / "site", "asgi", "web:app", BAKES_LONG + limits)
    with Nexus(directory, "-w", "2") as nexus:
        write_price(directory, 2)
        pushed = background.submit(nexus.push)
        nexus.until("rollout_phase", phase="bake")
        late = nexus.upgrade()
        assert (late.exit_code, late.outcome) == (6, "CONFLICT")
        assert "version 2 is on its way" in late.text
        assert nexus.steer("promote").exit_code == 0
        assert pushed.result(PATIENCE_SECONDS).exit_code == 0


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_that_comes_during_the_exec_drains_the_workers(tmp_path: Path, kind: signal.Signals) -> None:
    with Nexus(make(tmp_path / "site", "asgi", "web:app", AT_ONCE), "-w", "2") as nexus:
        nexus.signal(signal.SIGUSR2)
        nexus.until("upgrade_begins")
        nexus.signal(kind)
        assert nexus.exit_code() == 0
        assert nexus.output.count(" slot_drained ") == 2


def test_a_worker_that_is_killed_during_the_exec_is_replaced(tmp_path: Path) -> None:
    with Nexus(make(tmp_path / "site", "asgi", "web:app", AT_ONCE), "-w", "2") as nexus:
        killed = pids(nexus)["asgi-1"]
        nexus.signal(signal.SIGUSR2)
        nexus.until("upgrade_begins")
        os.kill(killed, signal.SIGKILL)
        nexus.follow_anew()
        nexus.until("slot_ready", slot="asgi-1", incarnation=2)
        assert nexus.status()["state"] == "ok"
