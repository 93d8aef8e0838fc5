"""Vitals: what the system says about a process."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

from nexus_supervisor.supervisor.vitals import Vitals, vitals
from tests.support.chaos import stopped


def test_a_process_that_runs_has_memory_and_is_not_stopped() -> None:
    found = vitals(os.getpid())

    assert not found.stopped
    assert 0.5 < found.rss_bytes / psutil.Process().memory_info().rss < 2


def test_a_stopped_process_is_seen_whatever_its_name() -> None:
    line = [sys.executable, "-c", "import setproctitle as s; s.setproctitle('a) T ('); print(flush=True); input()"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with stopped(process.pid):
            assert vitals(process.pid).stopped
        process.communicate(b"\n")


def test_nothing_is_known_of_a_process_that_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert vitals(process.pid) == Vitals(0, False)
