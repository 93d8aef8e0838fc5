"""What a rollout must not bring: older content by command, revocations, what failed before, what looks accidental."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.chaos import add_item, kinds, remove_item
from tests.support.nexus import Nexus
from tests.support.poison import Kind, make_ward_directory
from tests.support.rolling import AT_ONCE, a_bake, make, versions

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

# --- rollback --------------------------------------------------------------------------------------------------------


def committed(nexus: Nexus, price: int) -> str:
    """Commit a change of one item, and return the digest that it led to."""
    add_item(nexus.directory, "nut", price)
    ended = nexus.push("a test wants it", now=True)
    assert ended.exit_code == 0, ended
    return str(nexus.status()["digest"])


def test_a_rollback_brings_older_content_as_a_new_version_and_pins_the_directory(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, AT_ONCE)) as nexus:
        first, two, three = nexus.version, committed(nexus, 2), committed(nexus, 3)

        ended = nexus.rollback(reason="the third is wrong")

        status = nexus.status()
        assert (ended.exit_code, ended.outcome) == (0, "APPLIED")
        assert (status["version"], status["digest"]) == (first + 3, two)
        assert status["drift"]["reason"] == "pinned"
        assert versions(nexus) == [first + 3] * 3

        assert nexus.push("I do want the third").exit_code == 0
        assert nexus.status()["digest"] == three


def test_a_rollback_may_name_a_version_and_another_edit_ends_the_pin(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, AT_ONCE)) as nexus:
        first, one = nexus.version, nexus.status()["digest"]
        committed(nexus, 2)
        committed(nexus, 3)
        assert nexus.rollback(first).exit_code == 0
        assert nexus.status()["digest"] == one
        committed(nexus, 4)
        assert nexus.status()["drift"] is None


def test_a_rollback_to_what_is_not_kept_is_refused(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, AT_ONCE, workers=1)) as nexus:
        version = nexus.version
        ended = nexus.rollback(version + 1_000)
        assert (ended.exit_code, ended.outcome, nexus.version) == (3, "REJECTED", version)


def test_a_rollback_does_not_bring_back_what_was_revoked(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, AT_ONCE, code=SHOWS), "-w", "1") as nexus:
        committed(nexus, 2)
        remove_item(nexus.directory, "item-0")
        assert nexus.push().exit_code == 0
        committed(nexus, 3)
        first = min(told["version"] for told in nexus.history("committed"))

        assert nexus.rollback(first).exit_code == 0

        shown = (tmp_path / "shown").read_text().splitlines()[-1]
        assert ("item-0" in shown, "item-1" in shown) == (False, True)


SHOWS = """
def serve(agent):
    def show(snapshot):
        with open(agent.directory.parent / "shown", "a") as file:
            file.write(f"{sorted(snapshot.items)}\\n")
    agent.on_activated(show)
    agent.ready()
    agent.drain.wait()
"""


# --- revocation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [False, True], ids=["bakes", "is paused"])
def test_a_revocation_goes_first_whatever(tmp_path: Path, background: ThreadPoolExecutor, paused: bool) -> None:
    with Nexus(make(tmp_path)) as nexus:
        before = nexus.version
        pushed = a_bake(nexus, background)
        if paused:
            nexus.steer("pause")
            nexus.until("rollout_paused")

        remove_item(nexus.directory, "item-0")

        revoked = nexus.until("revoked")
        assert revoked["version"] > before + 1
        assert set(versions(nexus)) == {revoked["version"]}
        told = kinds(nexus, "rollout_superseded", "revoked")
        assert told == ["rollout_superseded", "revoked"]
        # what was superseded starts again on top of it, and is still what was pushed
        nexus.until("rollout_phase", phase="bake")
        assert nexus.status()["rollout"]["version"] > revoked["version"]
        nexus.steer("promote")
        assert pushed.result().exit_code == 0


def test_a_revocation_goes_where_the_directory_is_pinned(tmp_path: Path, background: ThreadPoolExecutor) -> None:
    with Nexus(make(tmp_path)) as nexus:
        pushed = a_bake(nexus, background)
        nexus.steer("abort")
        assert pushed.result().exit_code == 4
        remove_item(nexus.directory, "item-0")
        assert nexus.until("revoked")["version"] == nexus.version


# --- quarantine and guards -------------------------------------------------------------------------------------------

NEEDS = Kind("needs what is not there", {"poison": "needs", "at": "prepare"}, "trial", "REJECTED")


def test_what_failed_is_refused_on_sight_until_somebody_forces_it(tmp_path: Path) -> None:
    directory = make_ward_directory(tmp_path, "bake_seconds = 0", workers=1)
    (directory / "alive").unlink()
    with Nexus(directory) as nexus:
        before = nexus.version
        (directory / "rules" / "main.toml").write_text(NEEDS.text)
        assert nexus.push().outcome == "REJECTED"
        [quarantined] = nexus.status()["quarantined"]
        trials = len(nexus.history("trial_ended"))

        (directory / "alive").touch()
        again = nexus.push()

        assert (again.outcome, again.exit_code) == ("REJECTED", 3)
        assert "failed before" in again.text
        assert len(nexus.history("trial_ended")) == trials
        assert nexus.status()["drift"]["reason"] == "quarantined"

        forced = nexus.push("it is there now", force=True)

        assert (forced.outcome, forced.exit_code) == ("APPLIED", 0)
        status = nexus.status()
        assert (status["digest"], status["quarantined"]) == (quarantined["digest"], [])
        assert status["version"] > before


def test_a_directory_that_shrinks_to_less_than_half_is_refused_until_that_is_allowed(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, AT_ONCE, workers=1, code=SHOWS)) as nexus:
        version = nexus.version
        for number in range(4):
            remove_item(nexus.directory, f"item-{number}")
        refused = nexus.push()
        assert (refused.outcome, refused.exit_code, nexus.version) == ("REJECTED", 3, version)
        assert "shrink" in " ".join(refused.problems)
        assert nexus.status()["drift"]["reason"] == "rejected"

        allowed = nexus.push("they are really gone", allow=("shrink",))

        assert (allowed.outcome, allowed.exit_code) == ("APPLIED", 0)
        assert (tmp_path / "shown").read_text().splitlines()[-1] == "['nut']"
