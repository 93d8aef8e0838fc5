"""What a running daemon says of snapshots that are kept, by a request that lasts or by what forgot to let go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.chaos import make_stall
from tests.support.gateway_directory import write_atomically
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from pathlib import Path

LASTS = """
def serve(agent):
    agent.ready()
    with agent.request():
        (agent.directory.parent / "end").read_text()
    agent.drain.wait()
"""

KEEPS = """
def serve(agent):
    kept = [agent.current()]
    agent.on_activated(lambda snapshot: kept.clear() if snapshot.items["nut"].price == 3 else None)
    agent.ready()
    agent.drain.wait()
"""


def test_a_request_that_lasts_shows_the_age_of_its_version_until_it_ends(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, LASTS, workers=1)
    os.mkfifo(tmp_path / "end")
    with Nexus(directory) as nexus:
        write_atomically(directory / "items" / "nut.toml", "price = 2\n")
        assert nexus.push().exit_code == 0
        while not (worker := nexus.workers()["serve-0"])["oldest_snapshot_seconds"]:
            pass
        assert (worker["version"], worker["oldest_snapshot"]) == (2, 1)
        assert " 1 (" in command("workers", directory).stdout

        (tmp_path / "end").write_text("")
        nexus.until("retired", version=2)

        worker = nexus.workers()["serve-0"]
        assert (worker["oldest_snapshot"], worker["oldest_snapshot_seconds"]) == (2, 0.0)


def test_what_lingers_in_a_worker_is_told_shown_and_logged_until_it_is_gone(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, KEEPS, workers=1)
    with Nexus(directory) as nexus:
        write_atomically(directory / "items" / "nut.toml", "price = 2\n")
        assert nexus.push().exit_code == 0

        assert nexus.until("lingering")["snapshots"] == 1

        worker = nexus.workers()["serve-0"]
        assert (worker["lingering_snapshots"], worker["oldest_snapshot"]) == (1, 2)
        assert worker["lingering_seconds"] > 0
        assert "serve-0 still refers to 1 retired snapshot" in command("workers", directory).stdout
        assert "the snapshot of version 1 was retired" in nexus.output
        write_atomically(directory / "items" / "nut.toml", "price = 3\n")
        assert nexus.push().exit_code == 0
        assert nexus.until("lingering")["snapshots"] == 0
        assert nexus.workers()["serve-0"]["lingering_snapshots"] == 0


def test_a_limit_that_the_environment_gives_reaches_the_workers(tmp_path: Path) -> None:
    code = """
def serve(agent):
    (agent.directory.parent / "found").write_text(str(agent.max_snapshot_seconds))
    agent.ready()
    agent.drain.wait()
"""
    directory = make_stall(tmp_path, code, workers=1, settings="limits.max_snapshot_seconds = 5\n")
    with Nexus(directory, env={"NEXUS_SUPERVISOR__LIMITS__MAX_SNAPSHOT_SECONDS": "2.5"}):
        assert (tmp_path / "found").read_text() == "2.5"
