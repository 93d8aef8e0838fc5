"""A compiler that is killed or stopped while it looks: who waits is told, and the next look answers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil

from nexus_supervisor.core.control import Ended, PushRequest, StatusReport, StatusRequest
from tests.support.chaos import add_item, compiler, make_stall, stopped, zombies
from tests.support.control import RawClient
from tests.support.http import PATIENCE_SECONDS
from tests.support.leaks import await_exit
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from pathlib import Path

IMPATIENT = "limits.compile_timeout_seconds = 5\nwatch.reconcile_seconds = 3600\n"


def push_in_flight(client: RawClient) -> None:
    """Ask for a push, and return when the look that it needs is under way."""
    client.say(PushRequest(reason="", expect=None, wait="active"), StatusRequest())
    assert isinstance(client.hear_one(), StatusReport)


def verdict(client: RawClient) -> Ended:
    ended = client.hear_one()
    assert isinstance(ended, Ended)
    return ended


def test_a_compiler_killed_while_it_looks_is_replaced_and_the_next_look_answers(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, settings="watch.reconcile_seconds = 3600\n")) as nexus:
        before = nexus.version
        looking = compiler(nexus)
        with RawClient(nexus.directory) as client, stopped(looking.pid):
            add_item(nexus.directory, "bolt")
            push_in_flight(client)
            os.kill(looking.pid, signal.SIGKILL)
            ended = verdict(client)
            assert ended.exit_code not in (0, 8)
            assert "SIGKILL" in str((ended.text, ended.problems))
        assert nexus.push().exit_code == 0
        assert nexus.version == before + 1
        assert compiler(nexus).pid != looking.pid
        assert zombies(nexus) == []


def test_a_compiler_that_does_not_answer_in_time_is_ended_and_the_next_look_answers(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, settings=IMPATIENT)) as nexus:
        before = nexus.version
        looking = compiler(nexus)
        with RawClient(nexus.directory) as client, stopped(looking.pid):
            add_item(nexus.directory, "bolt")
            push_in_flight(client)
            assert verdict(client).exit_code not in (0, 8)
            assert nexus.status()["workers"][0]["state"] == "ready"
            assert await_exit([looking], PATIENCE_SECONDS) == []
        assert nexus.push().exit_code == 0
        assert nexus.version == before + 1
        assert zombies(nexus) == []


def test_a_compiler_killed_between_looks_is_not_missed(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path)) as nexus:
        for number in range(3):
            idle = compiler(nexus)
            idle.kill()
            assert await_exit([idle], PATIENCE_SECONDS) == []
            add_item(nexus.directory, "bolt", number)
            assert nexus.push().exit_code == 0
        assert nexus.version == 4
        assert psutil.pid_exists(compiler(nexus).pid)
