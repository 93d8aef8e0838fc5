"""Notices on their way out, through real pipes: full, closed and slow ones too."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.notices import Notice
from nexus_supervisor.log_lines import printable
from nexus_supervisor.supervisor.output import NoticeLog, NoticeRing, document, json_line, text_line

if TYPE_CHECKING:
    from nexus_supervisor.core.control import Noticed

AT = 1_795_503_600.125
HOSTILE = "a\nb\r\x1b[31mred\x00\x7f\x85\u2028\u2029\u202e\u200b\ud800 ü"


def committed(version: int = 7, **fields: str | int | tuple[str, ...]) -> Notice:
    text = f"Version {version} is live in every worker."
    return Notice("committed", "info", text, {"version": version, **fields})


def test_a_text_line_holds_time_level_kind_sentence_and_facts() -> None:
    line = text_line(committed(slots=("gateway-0", "gateway-1"), reason="a push by root", digest=""), AT)
    assert line == (
        "2026-11-24T07:00:00.125Z INFO    committed Version 7 is live in every worker. version=7 "
        'slots=gateway-0,gateway-1 reason="a push by root" digest=""\n'
    )


def test_a_json_line_holds_the_same() -> None:
    assert json.loads(json_line(committed(slots=("a", "b")), AT)) == {
        "at": "2026-11-24T07:00:00.125Z",
        "level": "info",
        "kind": "committed",
        "text": "Version 7 is live in every worker.",
        "fields": {"version": 7, "slots": ["a", "b"]},
    }


def test_a_security_notice_is_flagged_in_every_form() -> None:
    notice = Notice("config_signature_invalid", "error", "It doesn't verify.", {"reason": "sig_file_missing"})
    assert text_line(notice, AT).endswith(" reason=sig_file_missing security=true\n")
    assert json.loads(json_line(notice, AT))["security"] is True
    assert json.loads(document(notice))["security"] is True
    assert "security" not in json.loads(document(committed()))


def test_hostile_strings_neither_end_the_line_nor_steer_the_terminal() -> None:
    notice = Notice("candidate_refused", "error", HOSTILE, {"problems": (HOSTILE, "plain"), HOSTILE: HOSTILE})
    for line in (text_line(notice, AT), json_line(notice, AT)):
        assert line.endswith("\n")
        assert line[:-1].isprintable()
    assert json.loads(json_line(notice, AT))["text"] == HOSTILE
    assert printable(HOSTILE).startswith(r"a\nb\r\x1b[31mred\x00\x7f\x85\u2028")


@given(st.text())
def test_whatever_a_notice_says_is_one_printable_line(text: str) -> None:
    notice = Notice("settings_warning", "warning", text, {"key": text})
    assert text_line(notice, AT)[:-1].isprintable()
    assert json_line(notice, AT)[:-1].isprintable()


def read_lines(descriptor: int) -> list[str]:
    with os.fdopen(descriptor, encoding="utf-8") as reader:
        return reader.read().splitlines()


def test_what_was_written_before_the_end_is_in_the_log() -> None:
    reader, writer = os.pipe()
    log = NoticeLog("info", "text", descriptor=writer)
    for version in range(100):
        log.write(committed(version))
    log.close()
    log.write(committed(100))
    os.close(writer)
    lines = read_lines(reader)
    assert [f"version={version}" in line for version, line in enumerate(lines)] == [True] * 100


def test_the_level_and_the_format_change_while_the_log_runs() -> None:
    reader, writer = os.pipe()
    log = NoticeLog("warning", "text", descriptor=writer)
    log.write(committed(1))
    log.show("info", "json")
    log.write(committed(2))
    log.show("error", "json")
    log.write(Notice("settings_warning", "warning", "It differs."))
    log.write(Notice("journal_failed", "error", "The disk is full."))
    log.close()
    os.close(writer)
    assert [json.loads(line)["kind"] for line in read_lines(reader)] == ["committed", "journal_failed"]


@pytest.mark.parametrize("shape", ["text", "json"])
def test_a_reader_that_is_stuck_costs_lines_and_stops_nobody(shape: str) -> None:
    reader, writer = os.pipe()
    log = NoticeLog("info", shape, descriptor=writer, capacity=10)
    written = 0
    while log.dropped < 5:
        log.write(committed(written, padding="x" * 10_000))
        written += 1
    seen: list[str] = []
    with os.fdopen(reader, encoding="utf-8") as stuck:
        while not (seen and "dropped here" in seen[-1]):
            seen.append(stuck.readline())
        missing = log.dropped
        log.close()
        os.close(writer)
        seen += stuck.read().splitlines()
    assert f"{missing} lines were dropped here" in "".join(seen)
    if shape == "json":
        assert {json.loads(line)["kind"] for line in seen} == {"committed", "log"}


def test_closing_does_not_wait_for_a_reader_that_is_stuck() -> None:
    reader, writer = os.pipe()
    log = NoticeLog("info", "text", descriptor=writer)
    log.write(committed(padding="x" * 1_000_000))
    assert select.select([reader], [], [], 30)[0]
    log.close()
    os.close(reader)
    os.close(writer)


def test_a_non_blocking_descriptor_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    log = NoticeLog("info", "text", descriptor=writer)
    log.write(committed(padding="x" * 1_000_000))
    log.write(committed(8))
    received = b""
    while b"version=8" not in received:
        received += os.read(reader, 1 << 20)
    log.close()
    os.close(writer)
    os.close(reader)
    assert received.count(b"\n") == 2


@pytest.mark.parametrize("ruin", ["os.close(2)", "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)", "break_pipe()"])
def test_a_log_that_nobody_can_read_ends_nothing(ruin: str) -> None:
    script = f"""
    import os
    from nexus_supervisor.core.notices import Notice
    from nexus_supervisor.supervisor.output import NoticeLog

    def break_pipe():
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(reader)

    {ruin}
    log = NoticeLog("info", "text")
    for _ in range(3):
        log.write(Notice("settings_warning", "warning", "It differs."))
    log.close()
    print("still here", log.dropped)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout == "still here 0\n"


def test_numbers_rise_by_one_and_the_oldest_notices_are_forgotten() -> None:
    ring = NoticeRing(3)
    for version in range(5):
        ring.add(committed(version))
    assert [noticed.number for noticed in ring.since(0)] == [3, 4, 5]
    assert [json.loads(noticed.document)["fields"] for noticed in ring.since(5)] == [{"version": 4}]


def test_a_follower_gets_what_is_kept_and_then_what_is_new() -> None:
    ring = NoticeRing(10)
    ring.add(committed(1))
    ring.add(committed(2))
    got: list[Noticed] = []
    stop = ring.follow(2, got.append)
    ring.add(committed(3))
    stop()
    stop()
    ring.add(committed(4))
    assert [noticed.number for noticed in got] == [2, 3]
    assert json.loads(got[1].document)["fields"] == {"version": 3}


@pytest.mark.parametrize("kept", [0, 3])
def test_a_follower_that_has_left_is_forgotten_and_the_others_are_not(kept: int) -> None:
    ring = NoticeRing(10)
    for version in range(kept):
        ring.add(committed(version))
    calls = []

    def gone(noticed: Noticed) -> None:
        calls.append(noticed)
        raise BrokenPipeError

    stop = ring.follow(0, gone)
    got: list[Noticed] = []
    ring.follow(kept + 1, got.append)
    ring.add(committed(8))
    ring.add(committed(9))
    stop()
    assert len(calls) == 1
    assert len(got) == 2
