"""Signals of all kinds and in any number, to one process or to all: nothing ends that should not."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.chaos import add_item, make_stall, state, zombies
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_END = (
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGWINCH,
    signal.SIGPIPE,
    signal.SIGURG,
    signal.SIGCONT,
    signal.SIGCHLD,
)
"""Signals that neither end nor stop the supervisor, nor a worker."""

IGNORED_BY_WORKERS = (*WITHOUT_END, signal.SIGUSR2, signal.SIGINT, signal.SIGTTIN, signal.SIGTTOU)
FOR_THE_GROUP = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN)
STORM = 10_000


def test_signals_that_end_nothing_end_and_stop_nothing(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path)) as nexus:
        before = nexus.workers()
        for number in WITHOUT_END:
            nexus.signal(number)
            assert nexus.push().exit_code == 0, number
        for number in (*IGNORED_BY_WORKERS, signal.SIGQUIT):
            for worker in before.values():
                os.kill(worker["pid"], number)
        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0
        after = nexus.workers()
        assert {slot: worker["pid"] for slot, worker in after.items()} == {
            slot: worker["pid"] for slot, worker in before.items()
        }
        assert nexus.history("worker_exited", "slot_fenced", "compiler_died") == []


def test_a_signal_to_the_group_ends_no_worker_that_is_just_starting(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, settings="restart.backoff_seconds = 0\n")) as nexus:
        for number in FOR_THE_GROUP:
            os.kill(nexus.workers()["serve-1"]["pid"], signal.SIGKILL)
            started = nexus.until("slot_started", slot="serve-1")
            os.killpg(nexus.process.pid, number)
            while True:
                told = nexus.until("slot_ready", "worker_exited", slot="serve-1")
                if told["incarnation"] == started["incarnation"]:
                    break
            assert "status" not in told, number
        assert zombies(nexus) == []
        assert nexus.workers()["serve-0"]["incarnation"] == 1


@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGINT])
def test_a_storm_of_signals_loses_neither_a_change_nor_the_order_to_end(tmp_path: Path, last: signal.Signals) -> None:
    with Nexus(make_stall(tmp_path, workers=1, settings="watch.reconcile_seconds = 3600\n")) as nexus:
        for number in range(STORM):
            nexus.signal((signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGWINCH)[number % 4])
        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0
        assert nexus.version == 2
        for number in range(STORM):
            nexus.signal(signal.SIGHUP)
            if number == STORM // 2:
                nexus.signal(last)
            if nexus.process.poll() is not None:
                break
        assert nexus.exit_code() == 0
        assert state(os.getpid())


def test_a_storm_on_workers_loses_no_version(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path)) as nexus:
        pids = [worker["pid"] for worker in nexus.workers().values()]
        for number in range(STORM):
            os.kill(pids[number % 2], IGNORED_BY_WORKERS[number % len(IGNORED_BY_WORKERS)])
        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0
        assert [worker["pid"] for worker in nexus.workers().values()] == pids
