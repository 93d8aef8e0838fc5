"""What each signal to the supervisor leads to: the table in docs/supervision.md, row by row, on real processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.chaos import add_item, make_stall
from tests.support.nexus import Nexus

BUSY = '''
import os, time

def serve(agent):
    """Hold one request in hand until the end of the drain."""
    agent.ready()
    agent.drain.wait()
    while agent.drain.deadline > time.monotonic():
        time.sleep(0.01)
'''
"""A worker that needs all the time that a drain may take."""

PATIENT = "watch.reconcile_seconds = 3600\n"


def daemon(tmp_path: Path, code: str = "", *, workers: int = 2, drain_seconds: float = 30.0) -> Path:
    directory = make_stall(tmp_path, code, workers=workers, settings=PATIENT)
    settings = directory / "daemon.toml"
    table = f"[daemon.shutdown]\ndrain_timeout_seconds = {drain_seconds}\n\n"
    settings.write_text(table + settings.read_text())
    return directory


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_drain_and_end(tmp_path: Path, number: signal.Signals) -> None:
    with Nexus(daemon(tmp_path)) as nexus:
        nexus.signal(number)
        assert nexus.until("daemon_stopping") is not None
        assert nexus.until("slot_drained") is not None
        assert nexus.exit_code() == 0
        assert f"({number.name})" in nexus.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_same_twice_ends_now(tmp_path: Path, number: signal.Signals) -> None:
    with Nexus(daemon(tmp_path, BUSY, drain_seconds=3_600)) as nexus:
        nexus.signal(number)
        nexus.until("daemon_stopping")
        nexus.signal(number)
        assert nexus.exit_code() == 0
        assert "killed by SIGKILL, which the supervisor sent" in nexus.output


def test_hup_looks_at_the_directory_again(tmp_path: Path) -> None:
    with Nexus(daemon(tmp_path)) as nexus:
        add_item(nexus.directory, "bolt")
        nexus.signal(signal.SIGHUP)
        while nexus.until("committed")["version"] != 2:
            continue
        assert nexus.version == 2


def test_usr1_opens_the_log_file_anew(tmp_path: Path) -> None:
    directory = daemon(tmp_path)
    settings = directory / "daemon.toml"
    settings.write_text('[daemon]\nlog_file = "own.log"\n' + settings.read_text())
    with Nexus(directory) as nexus:
        (directory / "own.log").rename(directory / "old.log")
        nexus.signal(signal.SIGUSR1)
        nexus.until("log_reopened")
    assert " daemon_ready " in (directory / "old.log").read_text()
    assert " daemon_stopped " in (directory / "own.log").read_text()


def test_ttin_and_ttou_have_one_worker_more_and_one_less(tmp_path: Path) -> None:
    with Nexus(daemon(tmp_path, workers=1)) as nexus:
        nexus.signal(signal.SIGTTIN)
        nexus.until("slot_ready", slot="serve-1")
        nexus.signal(signal.SIGTTOU)
        nexus.until("worker_exited", slot="serve-1")
        assert list(nexus.workers()) == ["serve-0"]
        assert [told["requester"] for told in nexus.history("scaled")] == ["SIGTTIN", "SIGTTOU"]


def test_quit_writes_down_all_stacks_and_ends_without_waiting(tmp_path: Path) -> None:
    with Nexus(daemon(tmp_path, BUSY, drain_seconds=3_600)) as nexus:
        pids = {slot: worker["pid"] for slot, worker in nexus.workers().items()}
        nexus.signal(signal.SIGQUIT)
        assert nexus.exit_code() == 0
        lines = nexus.output.splitlines()
        start = next(number for number, line in enumerate(lines) if "the stacks of the supervisor's threads:" in line)
        assert any('run.py", line' in line for line in lines[start + 1 :])
        for slot, pid in pids.items():
            assert any(f" OUTPUT  {slot}[{pid}] stderr |   File " in line and " in serve" in line for line in lines)


def test_chld_reaps_whatever_has_ended(tmp_path: Path) -> None:
    orphans = """
import os
def serve(agent):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    agent.ready()
    agent.drain.wait()
"""
    with Nexus(daemon(tmp_path, orphans, workers=1)) as nexus:
        children = Path(f"/proc/{nexus.process.pid}/task/{nexus.process.pid}/children")
        while any(state_of(int(pid)) == "Z" for pid in children.read_text().split()):
            os.sched_yield()
        assert nexus.push().exit_code == 0


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_usr2_upgrades_in_place(tmp_path: Path) -> None:
    with Nexus(daemon(tmp_path)) as nexus:
        before = nexus.workers()
        nexus.signal(signal.SIGUSR2)
        nexus.until("upgrade_begins")
        nexus.follow_anew()
        assert nexus.until("upgraded")["workers"] == len(before)
        assert nexus.push().exit_code == 0
