"""Descriptors: none is missing for ever, none is left behind, and no process holds one that it should not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from tests.support.chaos import add_item, compiler, descriptors, make_stall, room_for, sockets, steady, zombies
from tests.support.gateway_directory import a_source, make_directory, write_atomically
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from pathlib import Path

PATIENT = "restart.backoff_seconds = 0.05\nrestart.max_restarts = 1000\n"
OWN = ("pipe:", "anon_inode:", "socket:", "/memfd:nexus-counters", "/dev/null")
"""What a worker may hold besides stdio: what it made itself, what it was given."""


def test_a_supervisor_without_free_descriptors_recovers_whichever_of_them_is_missing(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, settings=PATIENT)
    with Nexus(directory) as nexus:
        held = steady(nexus)
        for more in (0, 1, 2, 4, 6):
            worker = nexus.workers()["serve-1"]
            with room_for(nexus.process.pid, more):
                psutil.Process(worker["pid"]).kill()
                told = nexus.until("slot_ready", "slot_backoff", slot="serve-1")
            if "incarnation" not in told:
                nexus.until("slot_ready", slot="serve-1")
            assert nexus.workers()["serve-0"]["incarnation"] == 1
            assert zombies(nexus) == []
            assert steady(nexus) == held, more
        add_item(directory, "bolt")
        assert nexus.push().exit_code == 0


def test_a_push_without_free_descriptors_is_made_up_for(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, settings=f"{PATIENT}watch.reconcile_seconds = 0.2\n")) as nexus:
        held = steady(nexus)
        for more in (0, 1, 2, 5):
            before = nexus.version
            with room_for(nexus.process.pid, more):
                for number in range(1_500):  # so many that they travel as sealed memory
                    name = f"a-name-that-takes-room-{number}.toml"
                    (nexus.directory / "items" / name).write_text(f"price = {more}\n")
                nexus.until("committed", "compiler_died", "slot_fenced")
            assert nexus.push().exit_code == 0, more
            assert nexus.version > before
            assert {worker["version"] for worker in nexus.workers().values() if worker["pid"]} == {nexus.version}
            while any(worker["state"] != "ready" for worker in nexus.workers().values()):
                nexus.until("slot_ready")
        assert steady(nexus) == held
        assert zombies(nexus) == []


def test_a_worker_holds_its_pipe_and_the_listener_and_nothing_of_anybody_else(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        for number in range(3):  # descriptors that a restart could leave open, or a push
            write_atomically(nexus.directory / "sources" / "alpha.toml", a_source("alpha", tier=number))
            assert nexus.push().exit_code == 0
        assert nexus.restart().exit_code == 0
        pids = [worker["pid"] for worker in nexus.workers().values()]
        for pid in pids:
            others = {number: what for number, what in descriptors(pid).items() if number > 2}
            assert [what for what in others.values() if not what.startswith(OWN)] == []
            assert sum(what.startswith("/memfd") for what in others.values()) <= 1
            assert "anon_inode:inotify" not in others.values()
            assert "anon_inode:[pidfd]" not in others.values()
        ours = sockets(nexus.process.pid)
        (listener,) = sockets(pids[0]) & sockets(pids[1])
        assert [sockets(pid) & ours for pid in pids] == [{listener}, {listener}]
        assert sockets(compiler(nexus).pid) & (ours | sockets(pids[0]) | sockets(pids[1])) == set()
        assert descriptors(compiler(nexus).pid).keys() - {0, 1, 2} == {
            number for number, what in descriptors(compiler(nexus).pid).items() if what.startswith("socket:")
        }
