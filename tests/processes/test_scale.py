"""``scale`` with real processes: more and fewer workers of a program, while it serves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.chaos import make_stall
from tests.support.gateway_directory import key_of, make_directory
from tests.support.nexus import Nexus, command
from tests.support.programs import make_programs

if TYPE_CHECKING:
    from pathlib import Path

TWO = """
[[supervisor.program]]
name = "web"
program = "stall:serve"
workers = 1
[[supervisor.program]]
name = "jobs"
program = "stall:work"
workers = 1
"""


def ready(nexus: Nexus) -> set[str]:
    return {slot for slot, worker in nexus.workers().items() if worker["state"] == "ready"}


def until_ready(nexus: Nexus, *slots: str) -> None:
    while ready(nexus) != set(slots):
        nexus.until("slot_ready", "worker_exited")


def test_a_program_is_scaled_up_and_down_by_the_command(tmp_path: Path) -> None:
    with Nexus(make_programs(tmp_path, TWO)) as nexus:
        until_ready(nexus, "web-0", "jobs-0")
        more = command("scale", "3", "--program", "jobs", "-d", nexus.directory)
        until_ready(nexus, "web-0", "jobs-0", "jobs-1", "jobs-2")
        fewer = command("scale", "-1", "--program", "jobs", "-d", nexus.directory, "--json")
        until_ready(nexus, "web-0", "jobs-0", "jobs-1")

        assert (more.returncode, fewer.returncode) == (0, 0)
        assert "Program jobs goes from 1 to 3 workers" in more.stdout
        assert json.loads(fewer.stdout)["outcome"] == "ACCEPTED"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("0",), 3, "at least 1"),
        (("17",), 3, "started with room for 16"),
        (("2", "--program", "other"), 3, "the programs are serve"),
        (("many",), 2, "expected a number of workers such as 4, +1 or -1"),
        (("4096",), 2, "up to 512"),
    ],
)
def test_a_number_that_can_not_be_is_refused(
    shared_stall: Nexus, arguments: tuple[str, ...], code: int, says: str
) -> None:
    ended = command("scale", *arguments, "-d", shared_stall.directory)

    assert ended.returncode == code
    assert says in ended.stderr
    assert len(shared_stall.workers()) == 2


@pytest.fixture(scope="module")
def shared_stall(tmp_path_factory: pytest.TempPathFactory) -> object:
    with Nexus(make_stall(tmp_path_factory.mktemp("stall"))) as nexus:
        yield nexus


def test_as_many_workers_as_there_is_room_for_can_be_restarted(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, workers=1)) as nexus:
        assert command("scale", "16", "-d", nexus.directory).returncode == 0
        until_ready(nexus, *(f"serve-{number}" for number in range(16)))

        assert nexus.restart().exit_code == 0

        assert len(ready(nexus)) == 16


def test_who_has_a_connection_to_a_worker_that_is_too_many_loses_no_request(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        connection = nexus.connection("gateway-1")
        assert command("scale", "1", "-d", nexus.directory).returncode == 0
        nexus.until("worker_exited", slot="gateway-1")

        answer = nexus.request("GET", "/whoami", key_of("alpha"))
        connection.__exit__(None, None, None)

        assert answer.status == 200
        assert set(nexus.workers()) == {"gateway-0"}
