"""How a push rolls through real processes: canary, bake, waves, what steers them, and what each answer says.

The worker program serves nothing, so a bake lasts until somebody promotes it, unless the settings say otherwise.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.control import REQUESTS, PushRequest
from nexus_supervisor.core.framing import frame
from nexus_supervisor.errors import UsageError
from nexus_supervisor.unix_path import CONTROL_SOCKET, socket_address
from tests.support.chaos import add_item
from tests.support.nexus import Nexus
from tests.support.poison import HEALTHY, Kind, Ward, make_ward_directory
from tests.support.rolling import AT_ONCE, LONG, a_bake, make, versions
from tests.support.steady_load import Load

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

# --- canary, bake, waves ---------------------------------------------------------------------------------------------


def test_one_worker_goes_first_and_the_others_follow_when_it_is_promoted(
    tmp_path: Path, background: ThreadPoolExecutor
) -> None:
    with Nexus(make(tmp_path)) as nexus:
        before = nexus.version
        pushed = a_bake(nexus, background)
        status = nexus.status()

        assert versions(nexus) == [before, before, before + 1]
        assert (status["version"], status["state"]) == (before, "rolling")
        assert (status["rollout"]["phase"], status["rollout"]["version"]) == ("bake", before + 1)
        moved = [worker["slot"] for worker in status["workers"] if worker["version"] == before + 1]
        assert status["rollout"]["canary"] == moved

        assert nexus.steer("promote", "it looks good").outcome == "ACCEPTED"

        ended = pushed.result()
        assert (ended.exit_code, ended.outcome) == (0, "APPLIED")
        assert versions(nexus) == [before + 1] * 3
        phases = [told["phase"] for told in nexus.history("rollout_phase", version=before + 1)]
        assert sorted(set(phases), key=phases.index) == ["trial", "staging", "canary", "bake", "wave"]


def test_the_others_follow_in_groups(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, LONG + "rollout.max_parallel = 1\n")) as nexus:
        before = nexus.version
        add_item(nexus.directory, "nut", 2)
        assert nexus.push(strategy="rolling").exit_code == 0
        moved = [told["moved"] for told in nexus.history("rollout_phase", version=before + 1, phase="wave")]
        assert {1, 2} <= set(moved)


def test_what_is_asked_to_go_now_does_not_bake(tmp_path: Path) -> None:
    with Nexus(make(tmp_path)) as nexus:
        before = nexus.version
        add_item(nexus.directory, "nut", 2)
        ended = nexus.push("there is a fire", now=True)
        assert (ended.exit_code, versions(nexus)) == (0, [before + 1] * 3)
        assert not nexus.history("rollout_phase", version=before + 1, phase="bake")
        assert len(nexus.history("rollout_phase", version=before + 1, phase="canary")) >= 1


@pytest.mark.parametrize("strategy", ["rolling", "all_at_once"])
def test_a_push_may_bring_a_strategy_of_its_own(tmp_path: Path, strategy: str) -> None:
    with Nexus(make(tmp_path)) as nexus:
        before = nexus.version
        add_item(nexus.directory, "nut", 2)
        ended = nexus.push(strategy=strategy)
        assert (ended.exit_code, versions(nexus)) == (0, [before + 1] * 3)
        assert not nexus.history("rollout_phase", version=before + 1, phase="bake")


def test_going_now_or_by_force_without_a_reason_is_wrong_usage(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, workers=1)) as nexus:
        for options in ({"now": True}, {"force": True}, {"allow": ("shrink",)}, {"strategy": "blue_green"}):
            with pytest.raises(UsageError):
                nexus.push(**options)


def test_a_single_worker_is_its_own_canary(tmp_path: Path, background: ThreadPoolExecutor) -> None:
    with Nexus(make(tmp_path, workers=1)) as nexus:
        before = nexus.version
        pushed = a_bake(nexus, background)
        assert versions(nexus) == [before + 1]
        nexus.steer("promote")
        assert (pushed.result().exit_code, nexus.version) == (0, before + 1)


# --- pause, abort ----------------------------------------------------------------------------------------------------


def test_a_paused_rollout_goes_on_when_it_is_resumed(tmp_path: Path, background: ThreadPoolExecutor) -> None:
    settings = "rollout.bake_seconds = 1\nrollout.quiet_bake_seconds = 1\n"
    with Nexus(make(tmp_path, settings)) as nexus:
        before = nexus.version
        pushed = a_bake(nexus, background)
        assert nexus.steer("pause", "let me look").outcome == "ACCEPTED"
        nexus.until("rollout_paused", version=before + 1)
        assert nexus.status()["rollout"]["phase"] == "paused"
        assert versions(nexus) == [before, before, before + 1]

        assert nexus.steer("resume").outcome == "ACCEPTED"

        nexus.until("rollout_resumed", version=before + 1)
        assert pushed.result().exit_code == 0
        assert versions(nexus) == [before + 1] * 3


def test_a_rollout_that_is_paused_for_too_long_goes_back(tmp_path: Path, background: ThreadPoolExecutor) -> None:
    with Nexus(make(tmp_path, LONG + "rollout.max_pause_seconds = 1\n")) as nexus:
        before = nexus.version
        pushed = a_bake(nexus, background)
        nexus.steer("pause")
        ended = pushed.result()
        assert (ended.exit_code, ended.outcome) == (4, "ROLLED_BACK")
        assert versions(nexus) == [before + 2] * 3


def test_nothing_can_be_steered_where_nothing_rolls(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, workers=1)) as nexus:
        for verb in ("promote", "pause", "resume", "abort"):
            ended = nexus.steer(verb)
            assert (ended.exit_code, ended.outcome) == (6, "CONFLICT")


def test_what_is_aborted_goes_back_and_stays_away_until_somebody_pushes(
    tmp_path: Path, background: ThreadPoolExecutor
) -> None:
    with Nexus(make(tmp_path)) as nexus:
        before, digest = nexus.version, nexus.status()["digest"]
        pushed = a_bake(nexus, background)

        assert nexus.steer("abort", "not on a Friday").outcome == "ACCEPTED"

        ended = pushed.result()
        assert (ended.exit_code, ended.outcome) == (4, "ROLLED_BACK")
        assert "not on a Friday" in ended.text
        status = nexus.status()
        assert (status["digest"], status["drift"]["reason"]) == (digest, "pinned")
        assert status["quarantined"] == []
        assert versions(nexus) == [before + 2] * 3

        nexus.signal(signal.SIGHUP)  # another look changes nothing
        nexus.until("candidate_pinned")
        assert nexus.version == before + 2

        ended = nexus.push("now it is Monday", now=True)
        assert (ended.exit_code, nexus.status()["drift"]) == (0, None)
        assert versions(nexus) == [before + 3] * 3


def test_a_pin_outlives_the_supervisor(tmp_path: Path, background: ThreadPoolExecutor) -> None:
    directory = make(tmp_path)
    with Nexus(directory) as nexus:
        digest = nexus.status()["digest"]
        pushed = a_bake(nexus, background)
        nexus.steer("abort")
        assert pushed.result().exit_code == 4
    with Nexus(directory) as nexus:
        status = nexus.status()
        assert (status["digest"], status["drift"]["reason"]) == (digest, "pinned")


# --- who waits -------------------------------------------------------------------------------------------------------

LASTS = """
def serve(agent):
    agent.ready()
    with agent.request():
        (agent.directory.parent / "end").read_text()
    agent.drain.wait()
"""


def test_a_push_that_waits_for_retirement_returns_when_no_request_uses_the_old_version(
    tmp_path: Path, background: ThreadPoolExecutor
) -> None:
    directory = make(tmp_path, AT_ONCE, workers=1, code=LASTS)
    os.mkfifo(tmp_path / "end")
    with Nexus(directory) as nexus:
        before = nexus.version
        add_item(directory, "nut", 2)
        pushed = background.submit(nexus.push, wait="retired")
        nexus.until("committed", version=before + 1)
        assert nexus.push().exit_code == 0  # a barrier: who waits for the workers only is answered
        assert not pushed.done()
        (tmp_path / "end").write_text("")
        assert pushed.result().exit_code == 0


def test_a_request_that_is_sent_twice_is_one_request(tmp_path: Path, background: ThreadPoolExecutor) -> None:
    directory, push_id = make(tmp_path), uuid.uuid4().hex
    with Nexus(directory) as nexus:
        before = nexus.version
        first = a_bake(nexus, background, push_id=push_id)
        second = background.submit(nexus.push, push_id=push_id)
        nexus.steer("promote")
        assert first.result() == second.result()
        assert first.result().exit_code == 0
        add_item(directory, "nut", 9)
        nexus.until("rollout_phase", phase="bake")
        assert nexus.push(push_id=push_id) == first.result()  # it has ended, and asks for nothing new
        nexus.steer("abort")
        nexus.until("rolled_back")
    with Nexus(directory) as nexus:
        again = nexus.push(push_id=push_id)
        assert (again.exit_code, again.outcome, again.text) == (0, first.result().outcome, first.result().text)
        assert nexus.version > before + 1


def test_a_client_that_leaves_changes_nothing(tmp_path: Path) -> None:
    directory, push_id = make(tmp_path), uuid.uuid4().hex
    with Nexus(directory) as nexus:
        before = nexus.version
        add_item(directory, "nut", 2)
        asked = PushRequest(reason="and off", expect=None, wait="active", push_id=push_id)
        with socket.socket(socket.AF_UNIX) as client, socket_address(directory / CONTROL_SOCKET) as address:
            client.connect(address)
            client.sendall(frame(REQUESTS.encode(asked)))
            nexus.until("rollout_phase", phase="bake")
        nexus.steer("promote")
        nexus.until("committed", version=before + 1)
        ended = nexus.push(push_id=push_id)
        assert (ended.exit_code, nexus.version) == (0, before + 1)
        shown = subprocess.run(
            [sys.executable, "-m", "nexus_supervisor", "history", str(directory), "--json"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "and off" in shown


# --- gates -----------------------------------------------------------------------------------------------------------

GATED = """\
rollout.bake_seconds = 0.1
rollout.quiet_bake_seconds = 0.1
external_gate.command = "sh gate.sh"
"""


def test_an_external_gate_is_asked_before_the_others_follow(tmp_path: Path) -> None:
    directory = make(tmp_path, GATED)
    gate = directory / "gate.sh"
    gate.write_text('echo "the dashboards are red"\nexit 1\n')
    with Nexus(directory) as nexus:
        before = nexus.version
        add_item(directory, "nut", 2)

        ended = nexus.push()

        assert (ended.exit_code, ended.outcome) == (4, "ROLLED_BACK")
        assert "the dashboards are red" in ended.text
        assert len({told["slot"] for told in nexus.history("version_active", version=before + 1)}) == 1

        gate.write_text(f'echo "$NEXUS_VERSION $NEXUS_PREVIOUS_VERSION $NEXUS_KIND" > {tmp_path}/asked\n')
        add_item(directory, "nut", 3)
        assert nexus.push().exit_code == 0
        assert (tmp_path / "asked").read_text().split() == [str(before + 3), str(before + 2), "push"]


def test_too_few_requests_lead_back_where_policy_says_so(tmp_path: Path) -> None:
    settings = "rollout.bake_seconds = 0.1\nrollout.quiet_bake_seconds = 0.1\nrollout.on_inconclusive = 'rollback'\n"
    with Nexus(make(tmp_path, settings)) as nexus:
        before = nexus.version
        add_item(nexus.directory, "nut", 2)
        ended = nexus.push()
        assert ended.exit_code == 4
        assert "inconclusive" in ended.text
        assert versions(nexus) == [before + 2] * 3


def test_too_few_requests_let_the_others_follow_one_at_a_time(tmp_path: Path) -> None:
    settings = "rollout.bake_seconds = 0.1\nrollout.quiet_bake_seconds = 0.2\nrollout.max_parallel = '100%'\n"
    with Nexus(make(tmp_path, settings)) as nexus:
        before = nexus.version
        add_item(nexus.directory, "nut", 2)
        assert nexus.push().exit_code == 0
        moved = {told["moved"] for told in nexus.history("rollout_phase", version=before + 1, phase="wave")}
        assert 2 in moved


def test_a_single_worker_is_compared_with_what_it_was(tmp_path: Path) -> None:
    rollout = "bake_seconds = 1\nquiet_bake_seconds = 20\ngates.min_requests = 50"
    with Nexus(make_ward_directory(tmp_path, rollout, workers=1)) as nexus, Load(nexus.address) as load:
        ward = Ward(nexus, load)
        ward.until_well()
        healthy = ward.meet(HEALTHY)
        assert healthy.ended.outcome == "APPLIED", healthy
        case = ward.meet(Kind("refuses", {"poison": "refuses"}, "bake"))
        assert case.ended.outcome == "ROLLED_BACK", case
        assert nexus.version > (case.target or 0) > healthy.status["version"]
