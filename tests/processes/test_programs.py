"""Several programs in one daemon, and the lives of their workers, with real processes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.chaos import add_item, make_stall
from tests.support.nexus import Nexus, command
from tests.support.programs import make_programs

if TYPE_CHECKING:
    from pathlib import Path

TWO = """
[[supervisor.program]]
name = "web"
program = "stall:serve"
workers = 2
[[supervisor.program]]
name = "jobs"
program = "stall:{jobs}"
workers = {workers}
{more}
"""
QUICK = "restart.backoff_seconds = 0.01\n"


def two(parent: Path, jobs: str = "work", workers: int = 2, more: str = "", settings: str = QUICK) -> Path:
    return make_programs(parent, TWO.format(jobs=jobs, workers=workers, more=more), settings=settings)


def incarnations(nexus: Nexus) -> dict[str, int]:
    return {slot: worker["incarnation"] for slot, worker in nexus.workers().items()}


def until_all_are_ready(nexus: Nexus) -> None:
    while any(worker["state"] != "ready" for worker in nexus.workers().values()):
        nexus.until("slot_ready")


def test_two_programs_have_one_version_and_a_restart_replaces_the_workers_of_both(tmp_path: Path) -> None:
    with Nexus(two(tmp_path)) as nexus:
        until_all_are_ready(nexus)
        add_item(nexus.directory, "bolt")
        pushed = nexus.push()
        restarted = nexus.restart()

        assert (pushed.exit_code, restarted.exit_code) == (0, 0)
        assert incarnations(nexus) == {"web-0": 2, "web-1": 2, "jobs-0": 2, "jobs-1": 2}
        assert {worker["version"] for worker in nexus.workers().values()} == {nexus.version}


def test_a_slot_that_dies_too_often_is_given_up_and_tried_again_after_a_commit(tmp_path: Path) -> None:
    with Nexus(two(tmp_path)) as nexus:
        until_all_are_ready(nexus)
        (nexus.directory / "broken").touch()
        psutil.Process(nexus.workers()["jobs-1"]["pid"]).kill()
        told = nexus.until("slot_failed", slot="jobs-1")

        assert told["start_failed"] is True
        assert nexus.status()["state"] == "degraded"
        assert nexus.workers()["jobs-1"]["state"] == "failed"
        assert nexus.workers()["jobs-0"]["state"] == "ready"

        (nexus.directory / "broken").unlink()
        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0
        until_all_are_ready(nexus)
        assert nexus.status()["state"] == "ok"


@pytest.mark.parametrize("how", ["transient", "temporary"])
def test_a_worker_that_has_done_its_work_is_not_started_again(tmp_path: Path, how: str) -> None:
    with Nexus(two(tmp_path, jobs="once", workers=1, more=f'restart = "{how}"')) as nexus:
        until_all_are_ready(nexus)
        (nexus.directory / "done").touch()
        nexus.until("slot_stopped", slot="jobs-0")

        assert nexus.workers()["jobs-0"]["state"] == "stopped"
        assert nexus.status()["state"] == "ok"
        assert not nexus.history("slot_backoff")


def test_a_worker_is_replaced_with_all_of_its_program_where_that_says_so(tmp_path: Path) -> None:
    with Nexus(two(tmp_path, more='strategy = "one_for_all"')) as nexus:
        until_all_are_ready(nexus)
        psutil.Process(nexus.workers()["jobs-1"]["pid"]).kill()
        nexus.until("slot_leaves", slot="jobs-0")
        nexus.until("worker_exited", slot="jobs-0", incarnation=1)
        until_all_are_ready(nexus)

        assert incarnations(nexus) == {"web-0": 1, "web-1": 1, "jobs-0": 2, "jobs-1": 2}


def test_workers_that_are_killed_all_at_once_come_back_a_few_at_a_time(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, workers=8)) as nexus:
        until_all_are_ready(nexus)
        for worker in nexus.workers().values():
            psutil.Process(worker["pid"]).send_signal(signal.SIGKILL)
        nexus.until("worker_exited", incarnation=1)
        while nexus.status()["state"] != "ok":
            nexus.until("slot_ready")

        assert set(incarnations(nexus).values()) == {2}
        assert len(nexus.history("worker_exited")) == 8


BROKEN = "\nraise ImportError('the stall is closed')\n"


def test_a_first_start_that_can_not_import_its_program_ends_with_the_reason(tmp_path: Path) -> None:
    directory = make_stall(tmp_path)
    (directory / "daemon.toml").write_text('[supervisor]\nprogram = "closed:serve"\nworkers = 2\nsection = []\n')
    (directory / "closed.py").write_text(BROKEN)

    ended = command("run", directory, "-b", "127.0.0.1:0")

    assert ended.returncode == 1
    assert "no worker could be started" in ended.stderr
    assert "the stall is closed" in ended.stderr


def test_a_start_on_what_is_committed_ends_with_the_reason_where_no_worker_comes_up(tmp_path: Path) -> None:
    directory = two(tmp_path, jobs="work", workers=1)
    text = (directory / "daemon.toml").read_text().replace("stall:serve", "stall:work")
    (directory / "daemon.toml").write_text(text)
    with Nexus(directory) as nexus:
        until_all_are_ready(nexus)
    (directory / "broken").touch()

    ended = command("run", directory, "-b", "127.0.0.1:0")

    assert ended.returncode == 1
    assert "no worker could be started" in ended.stderr
    assert "exit code 3" in ended.stderr


def test_a_second_program_that_can_not_start_leaves_the_first_one_serving(tmp_path: Path) -> None:
    directory = two(tmp_path)
    (directory / "broken").touch()
    with Nexus(directory) as nexus:
        assert nexus.history("slot_failed")
        status = nexus.status()

        assert status["state"] == "degraded"
        assert {nexus.workers()[slot]["state"] for slot in ("web-0", "web-1")} == {"ready"}


def test_options_that_speak_of_one_program_are_refused_where_there_are_several(tmp_path: Path) -> None:
    ended = command("run", two(tmp_path), "-w", "3")

    assert ended.returncode == 2
    assert "--workers speaks of one program, and daemon.toml declares web, jobs" in ended.stderr
    assert "nexus-supervisor scale" in ended.stderr


def test_a_check_takes_several_programs_and_names_a_mistake_in_one(tmp_path: Path) -> None:
    good = two(tmp_path)
    assert command("check", good).returncode == 0

    (good / "daemon.toml").write_text((good / "daemon.toml").read_text().replace('name = "jobs"', 'name = "web"'))
    ended = command("check", good)

    assert ended.returncode == 3
    assert 'a program "web" is already declared' in ended.stdout + ended.stderr
