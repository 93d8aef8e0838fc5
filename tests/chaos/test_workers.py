"""Workers that are killed and stopped: at any moment, one or all, a push ends on one version everywhere."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil

from tests.support.chaos import kinds, stopped, zombies
from tests.support.gateway_directory import a_source, key_of, make_directory, write_atomically
from tests.support.http import PATIENCE_SECONDS
from tests.support.leaks import await_exit
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from pathlib import Path

THREE = "workers = 3\n"
QUICK = "rollout.stage_timeout_seconds = 0.3\nrollout.activate_timeout_seconds = 0.3\n"
"""How long a worker may be silent: what is tested is that silence ends, not when."""


def make(parent: Path, settings: str = "", *, workers: int = 2) -> Path:
    directory = make_directory(parent, daemon=settings)
    daemon = directory / "daemon.toml"
    daemon.write_text(daemon.read_text().replace("workers = 2", f"workers = {workers}"))
    return directory


def edit(nexus: Nexus, tier: int) -> None:
    write_atomically(nexus.directory / "sources" / "alpha.toml", a_source("alpha", tier=tier))


def versions(nexus: Nexus) -> dict[str, int]:
    """What each worker says that it serves."""
    return {slot: answer.version for slot, answer in nexus.everywhere("GET", "/whoami", key_of("alpha")).items()}


def kill(nexus: Nexus, *slots: str) -> None:
    """Kill workers at one moment, and wait until each slot serves again."""
    workers = nexus.workers()
    for slot in slots:
        os.kill(workers[slot]["pid"], signal.SIGKILL)
    for slot in slots:
        await_ready(nexus, slot, after=workers[slot]["incarnation"])


def await_ready(nexus: Nexus, slot: str, *, after: int) -> None:
    while not any(told["incarnation"] > after for told in nexus.history("slot_ready", slot=slot)):
        nexus.until("slot_ready")


def test_killed_workers_are_replaced_and_serve_the_committed_version(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, workers=3)) as nexus:
        edit(nexus, 1)
        assert nexus.push().exit_code == 0
        before = nexus.version
        kill(nexus, "gateway-1")
        assert versions(nexus) == dict.fromkeys(["gateway-0", "gateway-1", "gateway-2"], before)
        kill(nexus, "gateway-0", "gateway-1", "gateway-2")
        assert versions(nexus) == dict.fromkeys(["gateway-0", "gateway-1", "gateway-2"], before)
        assert {worker["incarnation"] for worker in nexus.workers().values()} == {2, 3}
        assert zombies(nexus) == []
        assert nexus.version == before


def test_workers_killed_while_versions_are_staged_end_on_the_last_one(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, workers=3)) as nexus:
        for number in range(6):
            edit(nexus, number % 3)
            for slot in ("gateway-0", "gateway-1", "gateway-2")[: 1 + number % 3]:
                if pid := nexus.workers()[slot]["pid"]:
                    os.kill(pid, signal.SIGKILL)
            ended = nexus.push()
            while ended.exit_code in (3, 4):  # so many were lost on it that it failed: the content has to change, then
                edit(nexus, number % 3 + 1)
                ended = nexus.push()
            assert ended.exit_code == 0, ended
        for slot, worker in nexus.workers().items():
            if worker["state"] != "ready":  # while it waits for its next process, the last one counts
                dead = worker["incarnation"] - (worker["state"] != "backoff")
                await_ready(nexus, slot, after=dead)
        assert set(versions(nexus).values()) == {nexus.version}
        assert zombies(nexus) == []
        assert command("verify", nexus.directory).returncode == 0


def test_a_push_is_not_complete_before_a_stopped_worker_is_fenced(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, QUICK)) as nexus:
        before = nexus.version
        worker = nexus.workers()["gateway-1"]
        gone = psutil.Process(worker["pid"])
        with stopped(worker["pid"]):
            edit(nexus, 1)
            ended = nexus.push()
            assert (ended.exit_code, nexus.version) == (0, before + 1)
            assert kinds(nexus, "slot_fenced", "committed")[-2:] == ["slot_fenced", "committed"]
            assert await_exit([gone], PATIENCE_SECONDS) == []
        await_ready(nexus, "gateway-1", after=worker["incarnation"])
        assert set(versions(nexus).values()) == {before + 1}
        assert nexus.workers()["gateway-1"]["incarnation"] == worker["incarnation"] + 1


def test_a_stopped_worker_that_goes_on_in_time_takes_the_newest_version(tmp_path: Path) -> None:
    with Nexus(make(tmp_path)) as nexus:
        before = nexus.version
        worker = nexus.workers()["gateway-1"]
        with stopped(worker["pid"]):
            edit(nexus, 1)
            nexus.until("rollout_started", version=before + 1)
            nexus.until("version_staged", slot="gateway-0")
            assert nexus.version == before
            edit(nexus, 2)
        ended = nexus.push()
        assert ended.exit_code == 0
        assert set(versions(nexus).values()) == {nexus.version}
        assert nexus.workers()["gateway-1"]["pid"] == worker["pid"]
