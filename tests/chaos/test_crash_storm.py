"""Workers that die all at once, and again and again: they come back a few at a time, ever slower, and never all go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from tests.support.chaos import add_item, make_stall, zombies
from tests.support.nexus import Nexus
from tests.support.under_load import await_workers

if TYPE_CHECKING:
    from pathlib import Path

MANY = 64
STORM = '''
import os
from pathlib import Path

def serve(agent):
    """End a moment after the start while there is a storm, as code does that fails whatever the content."""
    agent.ready()
    if Path(__file__).with_name("storm").exists():
        os._exit(9)
    agent.drain.wait()
'''
SETTINGS = """\
rollout.max_parallel = 2
restart.max_restarts = 3
restart.backoff_seconds = 0.05
"""


def starting_at_once(nexus: Nexus) -> int:
    """Return how many workers were starting at the same time at most, of those that had died before."""
    starting, most = set[tuple[str, int]](), 0
    for told in nexus.history("slot_started", "slot_ready", "worker_exited"):
        which = told["slot"], told["incarnation"]
        if "pid" in told and "version" in told and which not in starting and told["version"] is None:
            starting.add(which)
        else:
            starting.discard(which)
        most = max(most, len([one for one in starting if one[1] > 1]))
    return most


def test_when_64_workers_die_at_once_every_death_is_noticed_and_few_start_at_a_time(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, workers=MANY, settings="rollout.max_parallel = 4\n")) as nexus:
        await_workers(nexus)
        for worker in nexus.workers().values():
            psutil.Process(worker["pid"]).kill()
        await_workers(nexus, after=dict.fromkeys(nexus.workers(), 1))
        assert len(nexus.history("worker_exited")) == MANY
        assert starting_at_once(nexus) <= 4
        assert zombies(nexus) == []
        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0


def test_a_storm_of_crashes_fails_all_slots_but_one_which_goes_on_trying(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, STORM, workers=6, settings=SETTINGS)) as nexus:
        await_workers(nexus)
        storm = nexus.directory / "storm"
        storm.touch()
        for worker in nexus.workers().values():
            psutil.Process(worker["pid"]).kill()
        for _ in range(5):
            nexus.until("slot_failed")
        last = next(slot for slot, one in nexus.workers().items() if one["state"] != "failed")
        while nexus.workers()[last]["state"] != "backoff":
            nexus.until("slot_backoff", slot=last)
        assert nexus.status()["state"] == "failed"
        assert starting_at_once(nexus) <= 2
        failed = {told["slot"]: told for told in nexus.history("slot_failed")}
        deaths = nexus.history("worker_exited")
        assert all(sum(told["slot"] == slot for told in deaths) == 4 for slot in failed)

        storm.unlink()
        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0
        await_workers(nexus)
        assert nexus.status()["state"] == "ok"
        assert zombies(nexus) == []
