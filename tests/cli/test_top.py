"""``top``: what it shows, where it draws again and again, and how it ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexus_supervisor.cli.page import plain
from nexus_supervisor.cli.render import top_page, workers_page
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import StatusReport, StatusRequest
from tests.support.control import PATIENCE, STATUS, ScriptedSupervisor

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_795_500_090.0
BUSY: dict[str, Any] = {
    "program": "gateway",
    "age_seconds": 3725.0,
    "requests_per_second": 812.25,
    "errors_per_second": 0.5,
    "p99_ms": 4.0625,
    "cpu_percent": 37.5,
    "pss_bytes": 8 << 20,
    "restarts": 2,
    "last_exit": "",
}
PROGRAM = {
    "name": "gateway",
    "program": "gateway",
    "app": "",
    "workers": 2,
    "ready": 2,
    "addresses": ["127.0.0.1:8080"],
    "preload": True,
}


def busy(**changes: Any) -> dict[str, Any]:
    first, second = ({**worker, **BUSY} for worker in STATUS["workers"])
    return {**STATUS, "programs": [PROGRAM], "workers": [first, {**second, **changes}]}


def top(**changes: Any) -> list[str]:
    return plain(top_page(busy(**changes), NOW)).splitlines()


def test_top_shows_what_each_worker_does_and_costs_just_now() -> None:
    lines = top()

    assert lines[:3] == [
        "nexus    version 12, up 1 h 2 min, isolation same-uid",
        "state    ok",
        "gateway  2 of 2 workers ready, 1624.5 requests/s, CPU 75.0%, memory 16.0 MiB, 127.0.0.1:8080",
    ]
    head = "SLOT PID INC STATE VERSION UP REQ/S ERR/S P99 CPU RSS PSS RESTARTS ERRORS"
    assert " ".join(lines[4].split()) == head
    assert " ".join(lines[5].split()) == ("gateway-0 4000 1 ready 12 1h 812.2 0.5 4.1 ms 37.5% 40.0 MiB 8.0 MiB 2 0")


def test_what_is_not_measured_yet_is_a_dash() -> None:
    unknown = dict.fromkeys(("requests_per_second", "errors_per_second", "p99_ms", "cpu_percent", "pss_bytes"))

    assert " ".join(top(**unknown)[6].split()) == "gateway-1 4001 1 ready 12 1h - - - - 40.0 MiB - 2 1"


def test_the_last_exit_is_a_column_where_any_process_took_the_place_of_another() -> None:
    lines = top(last_exit="killed by SIGKILL")

    assert lines[4].endswith("LAST EXIT")
    assert lines[5].endswith("  -")
    assert lines[6].endswith("  killed by SIGKILL")
    assert plain(workers_page(busy(last_exit="exit code 3"), NOW)).splitlines()[2].endswith("  exit code 3")


def test_a_slot_that_was_given_up_or_has_ended_says_why_below_the_table() -> None:
    gone = {"pid": None, "last_exit": "exit code 3"}

    given_up = top(**gone, state="failed", given_up="it died 6 times within 10 s")[-1]
    stopped = top(**gone, state="stopped")[-1]

    assert given_up == (
        "gateway-1 was given up, for it died 6 times within 10 s; how the last process ended: exit code 3"
    )
    assert stopped == "gateway-1 has ended, and its program is not started again; how it ended: exit code 3"


def answered(request: object, _: object, reply: Any) -> None:
    if isinstance(request, StatusRequest):
        reply(StatusReport(canonical.encode(busy())))


def test_in_a_terminal_it_looks_again_and_again_until_it_is_interrupted(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "nexus_supervisor", "top", str(tmp_path)]
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200", "LINES": "40"}
    with (
        ScriptedSupervisor(tmp_path, answered) as supervisor,
        subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process,
        ThreadPoolExecutor(1) as reader,
    ):
        os.close(theirs)
        shown = reader.submit(drained, ours)
        assert [supervisor.next_request()[0] for _ in range(3)] == [StatusRequest(sizes=True)] * 3
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert b"gateway-1" in shown.result()
        assert b"\x1b[?1049h" in shown.result()  # a screen of its own
    os.close(ours)


def drained(terminal: int) -> bytes:
    """Return what is written to a terminal until nobody has it open any more (which Linux tells by EIO)."""
    shown = b""
    with suppress(OSError):
        while piece := os.read(terminal, 65_536):
            shown += piece
    return shown
