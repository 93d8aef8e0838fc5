"""Poison that shows late or not alone: after the commit, on the way back, and while a worker is killed besides."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.support.poison import EXPLODES, HARMLESS, WORKERS, Kind, a_ward

if TYPE_CHECKING:
    from pathlib import Path

ERRS = Kind("fails one request in five", {"poison": "errs"}, "nobody", "APPLIED")
NEEDS = Kind("needs what is there", {"poison": "needs", "at": "handler"}, "nobody", "APPLIED")
EXITS = Kind("exits in a handler", {"poison": "exits", "at": "handler"}, "bake")


def test_what_kills_a_worker_after_the_commit_is_taken_back_before_it_kills_a_second_one(tmp_path: Path) -> None:
    with a_ward(tmp_path) as ward:
        digest = ward.nexus.status()["digest"]
        mark = ward.mark()
        ward.write(EXPLODES.text)
        ended = ward.nexus.push()
        assert (ended.outcome, ended.exit_code) == ("APPLIED", 0)
        condemned = ward.nexus.status()["digest"]

        back = ward.nexus.until("rollout_started", kind="return")["version"]
        ward.nexus.until("rolled_back", "committed", version=back)

        ward.until_well()
        case = ward.since(mark, ended)
        assert len(case.lost) == 1, case
        assert case.least_ready == WORKERS - 1, case
        assert (case.status["version"], case.status["digest"]) == (back, digest)
        assert condemned in [one["digest"] for one in case.status["quarantined"]]
        assert case.status["last_rejection"]["reason"] == "rolled_back"
        assert case.first("version_condemned") is not None, case
        assert case.status["drift"] is not None


def test_a_way_back_that_leads_to_poison_ends_at_one_worker(tmp_path: Path) -> None:
    with a_ward(tmp_path) as ward:
        # given two bad versions, the older of which was fine as long as something was there
        assert ward.meet(NEEDS).ended.outcome == "APPLIED"
        ward.write(ERRS.text)
        assert ward.nexus.push("by hand", now=True).outcome == "APPLIED"
        digest = ward.nexus.status()["digest"]
        ward.until_well()
        (ward.nexus.directory / "alive").unlink()
        mark = ward.mark()

        ended = ward.nexus.rollback(reason="one in five fails")

        assert (ended.outcome, ended.exit_code) == ("ROLLED_BACK", 4)
        ward.until_well()
        case = ward.since(mark, ended)
        assert len(case.affected) == 1, case
        assert case.least_ready == WORKERS - 1, case
        assert case.status["digest"] == digest, case


def test_poison_and_a_worker_that_is_killed_meanwhile_leave_the_third_untouched(tmp_path: Path) -> None:
    with a_ward(tmp_path) as ward, ThreadPoolExecutor(1) as pool:
        digest = ward.nexus.status()["digest"]
        mark = ward.mark()
        ward.write(EXITS.text)
        pushed = pool.submit(ward.nexus.push)
        canary = ward.nexus.until("version_active", version=mark.version + 1)["slot"]
        killed = next(slot for slot in sorted(ward.slots) if slot != canary)
        os.kill(ward.nexus.workers()[killed]["pid"], signal.SIGKILL)

        ended = pushed.result()

        assert (ended.outcome, ended.exit_code) == ("ROLLED_BACK", 4)
        ward.until_well()
        case = ward.since(mark, ended)
        assert case.activated_by == {canary}, case
        assert case.lost <= {canary, killed}, case
        assert case.least_ready >= WORKERS - 2, case
        assert case.status["digest"] == digest, case


def test_a_hook_that_raises_after_the_fact_changes_nothing_but_the_log(tmp_path: Path) -> None:
    with a_ward(tmp_path) as ward:
        case = ward.meet(HARMLESS)
        assert (case.ended.outcome, case.ended.exit_code) == ("APPLIED", 0), case
        assert (case.lost, case.failures, case.least_ready) == (set(), [], WORKERS), case
        assert "the hook activated raised RuntimeError" in ward.nexus.output
