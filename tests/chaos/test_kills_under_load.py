"""Every process of a daemon killed and stopped under load: replaced, and only what a worker had in hand is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from nexus_supervisor.client import ControlClient
from nexus_supervisor.core.control import Ended, RestartRequest
from tests.support.chaos import add_item, await_ready, compiler, zombies
from tests.support.control import RawClient
from tests.support.http import PATIENCE_SECONDS
from tests.support.leaks import await_exit
from tests.support.nexus import Nexus
from tests.support.steady_load import Load
from tests.support.under_load import await_workers, failures, kill_with_its_requests, make_web, titled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = """\
rollout.start_timeout_seconds = 12
rollout.trial.timeout_seconds = 1
restart.max_restarts = 1000
restart.backoff_seconds = 0.05
limits.compile_timeout_seconds = 8
watch.reconcile_seconds = 3600

[supervisor.liveness]
timeout_seconds = 1.0
dump_seconds = 0.5
term_seconds = 0.5

"""
ROUNDS = 4
GATE = """
import os, setproctitle
if "zygote" in setproctitle.getproctitle() and os.path.exists(gate := __file__.replace("stall.py", "gate")):
    open(gate).read()
"""
"""Holds the import of a zygote until somebody has opened and closed the other end."""

BOTH = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])


@contextlib.contextmanager
def under_load(parent: Path, *, workers: int = 2) -> Iterator[tuple[Nexus, Load]]:
    """Run a daemon that serves while the block runs, and clients that ask without pause."""
    with Nexus(make_web(parent, settings=SETTINGS, workers=workers)) as nexus:
        with Load(nexus.address) as load:
            load.until_answered_by(set(nexus.workers()), 1)
            yield nexus, load
            load.until_answered_by(set(nexus.workers()), nexus.version)
        while zombies(nexus):  # who was just ended is one for a moment
            os.sched_yield()


def push(nexus: Nexus, price: int) -> int:
    """Have a change become live, and return the exit code of the push."""
    add_item(nexus.directory, "nut", price)
    return nexus.push().exit_code


def test_a_killed_worker_costs_only_the_requests_in_its_hands(tmp_path: Path) -> None:
    with under_load(tmp_path, workers=3) as (nexus, load):
        in_hand = 0
        for count in range(ROUNDS * 3):
            before = {slot: one["incarnation"] for slot, one in nexus.workers().items()}
            slot = f"asgi-{count % 3}"
            in_hand += kill_with_its_requests(nexus.workers()[slot]["pid"])
            await_workers(nexus, after={slot: before[slot]})
        assert failures(load) <= in_hand


def test_workers_killed_in_the_middle_of_pushes_cost_only_the_requests_in_their_hands(tmp_path: Path) -> None:
    with under_load(tmp_path, workers=3) as (nexus, load):
        in_hand, price, moments = 0, 1, ("rollout_started", "version_staged", "committed")
        for count in range(len(moments) * 2):
            slot = f"asgi-{count % 3}"
            victim = nexus.workers()[slot]
            add_item(nexus.directory, "nut", price := price + 1)
            nexus.signal(signal.SIGHUP)
            nexus.until(moments[count % len(moments)])
            in_hand += kill_with_its_requests(victim["pid"])
            while (ended := nexus.push()).exit_code in (3, 4):  # lost on a canary: the content has to change, then
                add_item(nexus.directory, "nut", price := price + 1)
            assert ended.exit_code == 0, ended
            await_workers(nexus, after={slot: victim["incarnation"]})
        assert {one["version"] for one in nexus.workers().values()} == {nexus.version}
        assert failures(load) <= in_hand


def test_a_stopped_worker_costs_only_the_requests_in_its_hands(tmp_path: Path) -> None:
    with under_load(tmp_path) as (nexus, load):
        victim = psutil.Process(nexus.workers()["asgi-0"]["pid"])
        victim.suspend()
        while victim.status() != psutil.STATUS_STOPPED:
            os.sched_yield()
        in_hand = sum(one.status == psutil.CONN_ESTABLISHED for one in victim.net_connections("tcp"))
        assert nexus.until("slot_silent", slot="asgi-0")["found"] == "stopped"
        await_workers(nexus, after={"asgi-0": 1})
        assert failures(load) <= in_hand


@BOTH
def test_a_zygote_that_is_lost_costs_no_request_whatever_it_was_doing(tmp_path: Path, number: signal.Signals) -> None:
    with under_load(tmp_path) as (nexus, load):
        for moment in ("push", "restart"):
            lost = titled(nexus, "zygote")
            assert lost is not None
            os.kill(lost, number)
            if moment == "push":  # the trial worker is forked from it
                assert push(nexus, 2) == 0
            ended = nexus.restart()
            assert ended.exit_code == 0, ended
            await_workers(nexus)
            assert titled(nexus, "zygote") not in (None, lost)
        assert failures(load) == 0


@BOTH
def test_a_zygote_lost_while_it_imports_new_code_costs_no_request(tmp_path: Path, number: signal.Signals) -> None:
    with under_load(tmp_path) as (nexus, load), RawClient(nexus.directory) as client:
        gate = nexus.directory / "gate"
        with (nexus.directory / "stall.py").open("a") as code:
            code.write(GATE)
        os.mkfifo(gate)
        client.say(RestartRequest(reason="", now=False))
        with gate.open("w"):  # it imports, and waits here
            gate.unlink()
            lost = titled(nexus, "zygote asgi [generation 2]")
            assert lost is not None
            os.kill(lost, number)
            ended = client.hear_one()
        assert isinstance(ended, Ended)
        assert ended.exit_code == 0, ended
        assert await_exit([psutil.Process(lost)] if psutil.pid_exists(lost) else [], PATIENCE_SECONDS) == []
        assert nexus.restart().exit_code == 0
        await_workers(nexus)
        assert failures(load) == 0


def test_a_zygote_killed_while_it_imports_for_the_first_time_is_made_up_for(tmp_path: Path) -> None:
    directory = make_web(tmp_path, GATE)
    gate = directory / "gate"
    os.mkfifo(gate)
    line = [sys.executable, "-m", "nexus_supervisor", "run", str(directory), "-b", "127.0.0.1:0"]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        with gate.open("w"):
            gate.unlink()
            started = psutil.Process(process.pid).children()
            next(one for one in started if "nexus: zygote" in " ".join(one.cmdline())).kill()
        await_ready(process, client := ControlClient(directory))
        assert {one["state"] for one in client.status()["workers"]} == {"ready"}
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0


@BOTH
def test_a_compiler_that_is_lost_costs_no_request_and_no_version(tmp_path: Path, number: signal.Signals) -> None:
    with under_load(tmp_path) as (nexus, load):
        for count in range(ROUNDS):
            lost = compiler(nexus)
            add_item(nexus.directory, "nut", count + 2)
            if count % 2:  # idle, or with a look in its hands
                nexus.signal(signal.SIGHUP)
            lost.send_signal(number)
            while (ended := nexus.push()).exit_code != 0:
                assert ended.exit_code == 5, ended  # nobody could say what is in the directory
            assert await_exit([lost], PATIENCE_SECONDS) == []
            assert compiler(nexus).pid != lost.pid
        assert nexus.version == 1 + ROUNDS
        assert failures(load) == 0


@BOTH
def test_a_trial_worker_that_is_lost_costs_no_request_and_no_version(tmp_path: Path, number: signal.Signals) -> None:
    with under_load(tmp_path) as (nexus, load):
        assert push(nexus, 2) == 0
        for count in range(ROUNDS):
            while (lost := titled(nexus, "trial")) is None:
                nexus.until("trial_worker")
            os.kill(lost, number)
            assert push(nexus, count + 3) == 0
            assert await_exit([psutil.Process(lost)] if psutil.pid_exists(lost) else [], PATIENCE_SECONDS) == []
        assert nexus.version == 2 + ROUNDS
        assert failures(load) == 0
