from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from nexus_supervisor.core.cells import Layout
from tests.support.gateway import rows
from tests.support.gateway_process import LIMIT, ROWS, SLOTS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    with ExitStack() as stack:

        def begin(*arguments: Any, descriptors: Any = ()) -> Any:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.gateway_process", str(tmp_path), *map(str, arguments)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=descriptors,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


def go(processes: Any) -> None:
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


def test_processes_that_write_at_once_lose_nothing(start: Any, tmp_path: Path) -> None:
    processes = [start(50) for _ in range(3)]
    go(processes)
    answers = [line.split() for process in processes for line in process.communicate()[0].splitlines()]
    assert [status for status, *_ in answers] == ["201"] * 150
    assert {row["id"] for row in rows(tmp_path / "main.db")} == {stored for _, stored in answers}


def test_what_was_answered_with_201_survives_the_death_of_its_process(start: Any, tmp_path: Path) -> None:
    process = start(0)
    go([process])
    answers = [process.stdout.readline().split() for _ in range(20)]
    process.kill()
    answers += [line.split() for line in process.stdout.read().splitlines()]
    stored = {row["id"] for row in rows(tmp_path / "main.db")}
    assert {answer[1] for answer in answers if len(answer) == 2 and len(answer[1]) == 36} <= stored
    with closing(sqlite3.connect(tmp_path / "main.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_rate_limit_holds_for_all_processes_together(start: Any) -> None:
    descriptor = os.memfd_create("counters", os.MFD_CLOEXEC)
    try:
        os.truncate(descriptor, Layout(ROWS, SLOTS).size_bytes)
        processes = [start(LIMIT, descriptor, slot, descriptors=(descriptor,)) for slot in range(3)]
    finally:
        os.close(descriptor)
    go(processes)
    statuses = [line.split()[0] for process in processes for line in process.communicate()[0].splitlines()]
    assert len(statuses) == 3 * LIMIT
    assert set(statuses) == {"201", "429"}
    assert LIMIT - 2 <= statuses.count("201") <= LIMIT + 2
