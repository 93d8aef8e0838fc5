"""What workers write, from their print to the log, to `logs` and to a file that is rotated."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.errors import UsageError
from tests.support.chaos import add_item, descriptors, make_stall
from tests.support.http import PATIENCE_SECONDS
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexus_supervisor.core.control import OutputLine

TALKING = """
import logging, os

def say(kind, number):
    if kind == "print":
        print(f"line {number}", flush=True)
    elif kind == "log":
        logging.getLogger("stall").warning("record %d", number)
    elif kind == "bytes":
        os.write(2, b"\\xff\\x1b[31m hidden\\n2026-11-24T07:00:00.000Z INFO    committed a lie\\n")
    elif kind == "flood":
        os.write(1, b"spam\\n" * number)
    elif kind == "long":
        os.write(1, b"x" * number + b"\\n")

def serve(agent):
    agent.on_activated(lambda snapshot: act(snapshot))
    agent.ready()
    agent.drain.wait()
    print("goodbye", flush=True)

def act(snapshot):
    for name, item in snapshot.items.items():
        kind, _, _ = name.partition("-")
        say(kind, item.price)
"""


def lines_until(nexus: Nexus, wanted: Callable[[OutputLine], bool], slot: str = "") -> list[OutputLine]:
    """Return the lines that are kept and those that come, until one is wanted."""
    got: list[OutputLine] = []
    for line in nexus.client.output(slot, 100_000, follow=True, patience=PATIENCE_SECONDS):
        got.append(line)
        if wanted(line):
            return got
    pytest.fail(f"the line did not come: {got}")


def talking(tmp_path: Path, settings: str = "", workers: int = 1) -> Path:
    return make_stall(tmp_path, TALKING, workers=workers, settings=settings)


def say(nexus: Nexus, kind: str, number: int = 1) -> None:
    """Have every worker say something."""
    for old in (nexus.directory / "items").glob("*-*.toml"):
        old.unlink()
    add_item(nexus.directory, f"{kind}-now", number)
    assert nexus.push(allow=("emptied", "shrink"), reason="the test").exit_code == 0


def test_what_workers_print_is_logged_with_slot_and_pid(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path)) as nexus:
        pid = nexus.workers()["serve-0"]["pid"]
        say(nexus, "print", 7)
        line = lines_until(nexus, lambda line: line.text == "line 7")[-1]
        assert (line.slot, line.incarnation, line.pid, line.stream) == ("serve-0", 1, pid, "stdout")
        nexus.stop()
        assert f" OUTPUT  serve-0[{pid}] stdout | line 7\n" in nexus.output
        assert f" OUTPUT  serve-0[{pid}] stdout | goodbye\n" in nexus.output


def test_a_record_of_a_workers_log_is_not_wrapped_twice(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path)) as nexus:
        say(nexus, "log", 3)
        lines_until(nexus, lambda line: "record 3" in line.text)
        nexus.stop()
        (line,) = (line for line in nexus.output.splitlines() if "record 3" in line)
        assert line.endswith("Z warning serve-0 stall record 3")


def test_no_worker_can_write_a_notice_or_steer_a_terminal(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path)) as nexus:
        say(nexus, "bytes")
        lines_until(nexus, lambda line: "a lie" in line.text)
        nexus.stop()
        lie, hidden = (next(line for line in nexus.output.splitlines() if text in line) for text in ("a lie", "hidden"))
        assert " OUTPUT  serve-0[" in lie
        assert hidden.endswith(r" stderr | \xff\x1b[31m hidden")


def test_in_a_json_log_every_line_is_an_object(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path), env={"NEXUS_DAEMON__LOG_FORMAT": "json"}) as nexus:
        for kind in ("print", "log", "bytes"):
            say(nexus, kind)
        lines_until(nexus, lambda line: "a lie" in line.text)
        nexus.stop()
        told = [json.loads(line) for line in nexus.output.splitlines()]
        assert {"output", "committed"} <= {one.get("kind") for one in told}
        assert [one["slot"] for one in told if one.get("text") == "record 1"] == ["serve-0"]


def test_a_flood_of_one_worker_is_counted_and_the_daemon_goes_on(tmp_path: Path) -> None:
    flood = 2_000_000
    with Nexus(talking(tmp_path, "output.max_lines_per_second = 50\n")) as nexus:
        say(nexus, "flood", flood)
        say(nexus, "print", 2)
        seen = 0
        for line in nexus.client.output("serve-0", 100_000, follow=True, patience=PATIENCE_SECONDS):
            seen += line.text == "spam"
            if line.stream == "missing":
                seen += int(line.text.split()[0])
            if seen >= flood:
                break
        assert nexus.history("slot_fenced", "worker_exited") == []


def test_a_long_line_is_cut(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path, "output.max_line_bytes = 100\n")) as nexus:
        say(nexus, "long", 1_000_000)
        line = lines_until(nexus, lambda line: line.text.startswith("xxx"))[-1]
        assert line.text == "x" * 100 + " [cut: the line has 1000000 bytes]"


def test_logs_shows_the_newest_lines_of_a_slot_or_of_all(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path, workers=2)) as nexus:
        say(nexus, "print", 5)
        for slot in ("serve-0", "serve-1"):
            lines_until(nexus, lambda line: line.text == "line 5", slot)
        every, one, none = (
            command("logs", *arguments, "-d", nexus.directory)
            for arguments in ([], ["serve-1", "-n", "1", "--json"], ["serve-9"])
        )
        shown = [line.split(" ", 1)[1] for line in every.stdout.splitlines() if line.endswith("| line 5")]
        pids = {slot: worker["pid"] for slot, worker in nexus.workers().items()}
        assert sorted(shown) == [f"{slot}[{pid}] stdout | line 5" for slot, pid in sorted(pids.items())]
        told = json.loads(one.stdout)
        assert (told["slot"], told["pid"], told["text"]) == ("serve-1", pids["serve-1"], "line 5")
        assert none.returncode == 2
        assert "there is no slot 'serve-9'" in none.stderr


def test_logs_follows_until_the_supervisor_ends(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path)) as nexus:
        line = [sys.executable, "-m", "nexus_supervisor", "logs", "-f", "serve-0", "-d", str(nexus.directory)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            say(nexus, "print", 8)
            while not following.stdout.readline().endswith("| line 8\n"):
                continue
            nexus.stop()
            assert following.stdout.read().endswith("| goodbye\n")
            assert following.wait(PATIENCE_SECONDS) == 0


def test_without_capture_workers_write_where_the_daemon_does(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path, "output.capture = false\n")) as nexus:
        say(nexus, "print", 4)
        with pytest.raises(UsageError, match="capture is false"):
            list(nexus.client.output())
        nexus.stop()
        assert "\nline 4\n" in nexus.output


# --- the file ---


def in_file(tmp_path: Path, name: str = "daemon.log") -> Path:
    directory = talking(tmp_path)
    settings = directory / "daemon.toml"
    settings.write_text(f'[daemon]\nlog_file = "{name}"\n\n' + settings.read_text())
    return directory


def test_a_log_file_is_appended_to_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    directory = in_file(tmp_path)
    file = directory / "daemon.log"
    file.write_text("before\n")
    file.unlink()
    with Nexus(directory) as nexus:
        say(nexus, "print", 6)
        lines_until(nexus, lambda line: line.text == "line 6")
        nexus.stop()
        assert nexus.output == ""
    with Nexus(directory):
        pass
    text = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) & 0o137 == 0
    assert "stdout | line 6\n" in text
    assert text.count(" daemon_ready ") == 2


def test_rotating_the_log_loses_no_line(tmp_path: Path) -> None:
    directory = in_file(tmp_path)
    with Nexus(directory) as nexus:
        for number in range(5):
            say(nexus, "print", 100 + number)
            (directory / "daemon.log").rename(directory / f"old-{number}.log")
            nexus.signal(signal.SIGUSR1)
            nexus.until("log_reopened")
        assert len([what for what in descriptors(nexus.process.pid).values() if what.endswith(".log")]) == 1
    files = [*(directory / f"old-{number}.log" for number in range(5)), directory / "daemon.log"]
    texts = [file.read_text() for file in files]
    for number in range(5):
        assert sum(text.count(f"stdout | line {100 + number}\n") for text in texts) == 1
        assert "log_reopened" in texts[number + 1].splitlines()[0] or "line" in texts[number + 1]
    assert sum(text.count(" committed ") for text in texts) == 6


@pytest.mark.parametrize("kind", ["missing folder", "link", "pipe"])
def test_a_log_file_that_cannot_be_opened_is_told_and_stderr_does_instead(tmp_path: Path, kind: str) -> None:
    directory = in_file(tmp_path, "gone/daemon.log" if kind == "missing folder" else "daemon.log")
    if kind == "link":
        (directory / "daemon.log").symlink_to(tmp_path / "elsewhere")
    if kind == "pipe":
        os.mkfifo(directory / "daemon.log")
    with Nexus(directory) as nexus:
        (told,) = nexus.history("log_file_failed")
        assert told["file"].endswith("daemon.log")
        nexus.stop()
        assert " daemon_stopped " in nexus.output
        (directory / "daemon.log").unlink(missing_ok=True)
    assert not (tmp_path / "elsewhere").exists()


def test_the_log_file_is_changed_while_the_daemon_serves(tmp_path: Path) -> None:
    with Nexus(in_file(tmp_path)) as nexus:
        settings = nexus.directory / "daemon.toml"
        settings.write_text(settings.read_text().replace("daemon.log", "other.log"))
        assert nexus.push().exit_code == 0
        say(nexus, "print", 9)
        lines_until(nexus, lambda line: line.text == "line 9")
    assert "| line 9\n" in (nexus.directory / "other.log").read_text()
    assert "| line 9\n" not in (nexus.directory / "daemon.log").read_text()


# --- ends ---


def test_how_a_worker_ended_is_told_in_words(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path, "restart.backoff_seconds = 0\n")) as nexus:
        for number, words in (
            (signal.SIGSEGV, "killed by SIGSEGV (segmentation fault)"),
            (signal.SIGKILL, "killed by SIGKILL, which the supervisor did not send: maybe out of memory"),
        ):
            os.kill(nexus.workers()["serve-0"]["pid"], number)
            assert nexus.until("worker_exited")["status"] == words
            nexus.until("slot_ready")


def test_restarts_leave_no_descriptor(tmp_path: Path) -> None:
    with Nexus(talking(tmp_path, "restart = {backoff_seconds = 0, max_restarts = 1000}\n")) as nexus:
        for ended in range(20):
            if ended == 2:
                before = pipes(nexus)
            os.kill(nexus.workers()["serve-0"]["pid"], signal.SIGKILL)
            nexus.until("worker_exited")
            nexus.until("slot_ready")
        assert pipes(nexus) == before


def pipes(nexus: Nexus) -> int:
    return sum(what.startswith("pipe:") for what in descriptors(nexus.process.pid).values())
