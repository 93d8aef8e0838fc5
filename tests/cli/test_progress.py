"""Progress: the one line that says where a rollout is, from whatever is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_supervisor.cli.progress import Progress
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import StatusReport
from tests.support.control import STATUS, noticed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def status(**rollout: Any) -> StatusReport:
    return StatusReport(canonical.encode({**STATUS, "rollout": rollout or None}))


def test_until_a_rollout_runs_the_line_says_what_is_waited_for_and_how_long() -> None:
    clock = Clock()
    progress = Progress("waiting", clock)
    clock.now += 3.9

    assert progress.note(status()) is None
    assert progress.note(noticed(1, "slot_ready", "It is ready.", version=13)) is None
    assert progress.line == "waiting, 3.9 s"


def test_a_phase_is_told_once_and_stays_in_the_line() -> None:
    progress = Progress("waiting", Clock())
    phase = noticed(1, "rollout_phase", "Version 13 bakes.", version=13, phase="bake", moved=1, total=4)

    assert [progress.note(phase), progress.note(phase)] == ["Version 13 bakes.", None]
    assert progress.line == "version 13 bake 1/4, 0.0 s"


def test_the_status_gives_the_numbers_and_only_the_first_of_them_is_a_line() -> None:
    progress = Progress("waiting", Clock())

    first = progress.note(status(version=13, phase="bake", moved=0, total=4, reason="", numbers={}))
    second = progress.note(status(version=13, phase="bake", moved=1, total=4, numbers={"canary_p99_ms": 12.34567}))

    assert (first, second) == ("version 13 bake 0/4", None)
    assert progress.line == "version 13 bake 1/4, canary p99 12.3 ms, 0.0 s"


def measured(requests: int, errors: int, p99: float) -> dict[str, Any]:
    """Return what a gate measures of a canary, and of what it is compared with."""
    canary = {
        "requests": requests,
        "errors": errors,
        "p50_ms": 1.25,
        "p99_ms": p99,
        "rss_growth_mb": 0.5,
        "lag_ms": 0.1,
    }
    both = {f"{side}_{name}": figure for side in ("canary", "control") for name, figure in canary.items()}
    return {"bake_seconds": 1.1, **both}


@pytest.mark.parametrize(
    ("facts", "numbers", "seconds", "line"),
    [
        (
            {"version": 13, "phase": "bake", "moved": 1, "total": 4},
            measured(15, 0, 4.1),
            1.1,
            "version 13 bake 1/4, canary 15 req, 0 err, p99 4.1 ms, 1.1 s",
        ),
        (
            {"version": 1234, "phase": "rolling_back", "moved": 10, "total": 32},
            measured(54_321, 1234, 123.4567),
            62.5,
            "version 1234 rolling_back 10/32, canary 54321 req, 1234 err, p99 123 ms, 62 s",
        ),
    ],
)
def test_the_line_says_what_matters_first_and_fits_eighty_columns(
    facts: dict[str, Any], numbers: dict[str, Any], seconds: float, line: str
) -> None:
    clock = Clock()
    progress = Progress("waiting", clock)
    progress.note(status(**facts, numbers=numbers))
    clock.now += seconds

    assert progress.line == line
    assert len(f"- {line}") <= 80  # the terminal draws a sign of life before it


def test_a_bake_that_has_seen_nothing_yet_is_not_in_the_line() -> None:
    progress = Progress("waiting", Clock())
    nothing = {"bake_seconds": 0.0, "canary_requests": 0, "canary_errors": 0}
    progress.note(status(version=13, phase="wave", moved=1, total=4, numbers=nothing))

    assert progress.line == "version 13 wave 1/4, 0.0 s"


def test_what_is_told_late_of_an_older_version_is_passed_over() -> None:
    progress = Progress("waiting", Clock())
    progress.note(noticed(1, "rollout_phase", "Version 13 bakes.", version=13, phase="bake"))

    assert progress.note(noticed(2, "rollout_phase", "Version 12 is back.", version=12, phase="rolled_back")) is None
    assert progress.note(status(version=12, phase="bake")) is None
    assert progress.line == "version 13 bake, 0.0 s"


def test_a_newer_version_begins_anew() -> None:
    progress = Progress("waiting", Clock())
    progress.note(noticed(1, "rollout_phase", "It bakes.", version=13, phase="bake", moved=1, total=4, errors=7))
    progress.note(noticed(2, "rollout_phase", "It goes back.", version=14, phase="rolling_back"))

    assert progress.line == "version 14 rolling_back, 0.0 s"


def test_a_paused_rollout_says_so_and_that_it_goes_on() -> None:
    progress = Progress("waiting", Clock())

    assert progress.note(noticed(1, "rollout_paused", "Version 13 is paused.", version=13)) == "Version 13 is paused."
    assert progress.line == "version 13 paused, 0.0 s"
    progress.note(noticed(2, "rollout_resumed", "Version 13 goes on.", version=13))
    assert progress.line == "version 13 goes on, 0.0 s"
