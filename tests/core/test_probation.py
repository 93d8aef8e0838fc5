"""Which deaths condemn a committed version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexus_supervisor.core.content import Version
from nexus_supervisor.core.options import RolloutSettings
from nexus_supervisor.core.probation import Probation
from nexus_supervisor.core.roster import Process
from tests.support.simulated import content

SETTINGS = RolloutSettings()
TWO = Version(2)
MOVED = Process(
    "gateway-0", 0, 1, 0.0, told=TWO, active=TWO, digest=content("b"), previous=content("a"), active_since=100.0
)
BOOTED = replace(MOVED, previous=None)


def watching(since: float = 100.0) -> Probation:
    probation = Probation()
    probation.begin(TWO, since)
    return probation


def test_a_worker_that_dies_soon_after_it_moved_condemns_the_version() -> None:
    reason = watching().died(MOVED, "killed by SIGSEGV", 105.0, SETTINGS)
    assert reason == "gateway-0 was lost on it 5.0 s after it had moved: killed by SIGSEGV"


@pytest.mark.parametrize(
    ("process", "now", "settings"),
    [
        pytest.param(MOVED, 111.0, SETTINGS, id="later than blame_seconds"),
        pytest.param(BOOTED, 101.0, SETTINGS, id="one that began with it"),
        pytest.param(replace(MOVED, active=Version(1), told=Version(1)), 101.0, SETTINGS, id="on another version"),
        pytest.param(replace(MOVED, active=Version(1)), 101.0, SETTINGS, id="it was only staged there"),
        pytest.param(MOVED, 101.0, replace(SETTINGS, bake_seconds=0.0), id="without a bake"),
    ],
)
def test_one_other_death_may_be_anybodys(process: Process, now: float, settings: RolloutSettings) -> None:
    assert watching().died(process, "exit code 1", now, settings) == ""


def test_three_deaths_of_one_slot_within_a_minute_condemn_the_version() -> None:
    probation = watching()
    assert probation.died(BOOTED, "exit code 1", 110.0, SETTINGS) == ""
    assert probation.died(BOOTED, "exit code 1", 130.0, SETTINGS) == ""
    assert "3 times within 60 s" in probation.died(BOOTED, "exit code 1", 170.0, SETTINGS)


def test_deaths_that_are_far_apart_or_in_several_slots_condemn_nothing() -> None:
    probation = watching()
    other = replace(BOOTED, slot="gateway-1")
    told = [(BOOTED, 110.0), (other, 111.0), (BOOTED, 130.0), (other, 131.0), (BOOTED, 171.0)]
    assert [probation.died(process, "exit code 1", now, SETTINGS) for process, now in told] == [""] * 5


def test_after_its_probation_a_version_is_to_blame_for_nothing() -> None:
    probation = watching()
    deaths = [probation.died(BOOTED, "exit code 1", now, SETTINGS) for now in (701.0, 702.0, 703.0)]
    assert deaths == ["", "", ""]


def test_a_committed_version_goes_back_by_itself_once_in_an_interval() -> None:
    probation = watching()
    assert probation.may_return(110.0, SETTINGS)
    probation.returned(110.0)
    assert not probation.may_return(709.0, SETTINGS)
    assert probation.may_return(710.0, SETTINGS)
