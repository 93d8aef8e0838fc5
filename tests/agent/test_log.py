"""What programs log: one record a line, whatever is in it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from nexus_supervisor.agent.log import LineFormatter

if TYPE_CHECKING:
    from pathlib import Path


def record(text: str, *arguments: object, failed: bool = False) -> logging.LogRecord:
    trace = None
    if failed:
        try:
            raise ValueError("first\nsecond")  # noqa: EM101, TRY003, TRY301 - the traceback is wanted
        except ValueError:
            trace = sys.exc_info()
    return logging.LogRecord("shop", logging.WARNING, __file__, 1, text, arguments, trace)


def test_a_text_line_names_time_level_slot_and_logger() -> None:
    line = LineFormatter("shop-0", as_json=False).format(record("sold %s", "nuts"))

    time, *rest = line.split(" ")
    assert time.endswith("Z")
    assert rest == ["warning", "shop-0", "shop", "sold", "nuts"]


def test_no_record_can_pretend_to_be_two() -> None:
    line = LineFormatter("shop-0", as_json=False).format(record("one\ntwo\x1b[31m\u2028three"))

    assert "\n" not in line
    assert line.endswith(r"one\ntwo\x1b[31m\u2028three")


def test_the_lines_of_a_traceback_are_indented() -> None:
    first, *rest = LineFormatter("shop-0", as_json=False).format(record("broken", failed=True)).split("\n")

    assert first.endswith("broken")
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_a_json_line_is_one_object() -> None:
    line = LineFormatter("shop-0", as_json=True).format(record("one\ntwo", failed=True))

    assert "\n" not in line
    found = json.loads(line)
    assert found["text"] == "one\ntwo"
    assert found["level"] == "warning"
    assert "ValueError" in found["traceback"]


def test_without_a_thread_a_line_is_written_at_once_and_what_would_wait_is_dropped(tmp_path: Path) -> None:
    code = (
        "import logging, threading\nfrom nexus_supervisor.agent.log import configure_threadless\n"
        "configure_threadless('info', 'text', 'trial')\n"
        "for _ in range(3_000): logging.info('x' * 100)\n"
        "logging.warning('%d', 'no number')\nassert threading.active_count() == 1\n"
    )
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe:
        subprocess.run([sys.executable, "-c", code], stderr=write, check=True)
        os.close(write)
        lines = pipe.read().splitlines()
    with (tmp_path / "all").open("wb") as everything:
        subprocess.run([sys.executable, "-c", code], stderr=everything, check=True)

    assert 100 < len(lines) < 3_000
    assert (tmp_path / "all").read_text().count(" info trial root xxx") == 3_000
