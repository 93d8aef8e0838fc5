"""The zygote killed and stopped, at any moment: replaced, no request lost, workers untouched."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil

from tests.support.chaos import zombies
from tests.support.gateway_directory import key_of, make_directory
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from pathlib import Path


def zygote(nexus: Nexus) -> int:
    """Return the pid of the zygote that runs."""
    children = psutil.Process(nexus.process.pid).children()
    return next(one.pid for one in children if " ".join(one.cmdline()).startswith("nexus: zygote"))


def strike(nexus: Nexus, number: signal.Signals) -> None:
    """Send a signal to the zygote, kill a worker, and wait until another serves in its slot."""
    before = nexus.workers()
    os.kill(zygote(nexus), number)
    with nexus.connection("gateway-1") as connection:
        os.kill(before["gateway-0"]["pid"], signal.SIGKILL)
        nexus.until("slot_ready", slot="gateway-0", incarnation=before["gateway-0"]["incarnation"] + 1)
        assert connection.request("GET", "/whoami", key_of("alpha")).status == 200
    assert nexus.workers()["gateway-1"]["pid"] == before["gateway-1"]["pid"]


def test_a_zygote_that_is_killed_or_stopped_is_replaced_when_a_worker_is_wanted(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        for number in (signal.SIGKILL, signal.SIGSTOP):
            lost = zygote(nexus)
            strike(nexus, number)
            assert zygote(nexus) != lost
        assert len(nexus.history("zygote_lost")) == 2
        assert zombies(nexus) == []


def test_workers_go_on_when_their_zygote_is_killed(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = {slot: one["pid"] for slot, one in nexus.workers().items()}
        os.kill(zygote(nexus), signal.SIGKILL)
        nexus.until("zygote_lost")

        answers = nexus.everywhere("GET", "/whoami", key_of("alpha"))
        assert {answer.status for answer in answers.values()} == {200}
        assert {slot: one["pid"] for slot, one in nexus.workers().items()} == before
