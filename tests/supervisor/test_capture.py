"""What real processes write to their pipes: read whatever it is, and never in their way."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.control import FollowOutput, OutputLine
from nexus_supervisor.core.handover import HandedOutput, HandedStream
from nexus_supervisor.core.options import OutputSettings
from nexus_supervisor.errors import UsageError
from nexus_supervisor.supervisor import output_reader
from nexus_supervisor.supervisor.capture import Capture
from nexus_supervisor.supervisor.kept_lines import KeptLines
from nexus_supervisor.supervisor.line_stream import LineStream
from nexus_supervisor.supervisor.output import NoticeLog
from nexus_supervisor.supervisor.worker_lines import json_form, text_form

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

HANG_SECONDS = 60.0
AT = 1_795_503_600.125


class Reading:
    """A capture, its log, and the lines that it has delivered."""

    def __init__(self, settings: OutputSettings, log: Path) -> None:
        self._file, descriptor = log, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._descriptor: int | None = descriptor
        self.log = NoticeLog("info", "text", descriptor=descriptor)
        self.capture = Capture(asyncio.get_running_loop(), self.log, settings)
        self.lines: list[OutputLine] = []
        self._came = asyncio.Event()
        self.capture.kept.follow("", 0, self._take)

    def _take(self, line: OutputLine) -> None:
        self.lines.append(line)
        self._came.set()

    def start(self, code: str, incarnation: int = 1, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """Start Python code as the process of a slot."""
        ends = self.capture.open("shop-0", incarnation)
        assert ends is not None
        process = subprocess.Popen([sys.executable, "-c", code], stdout=ends[0], stderr=ends[1], pass_fds=pass_fds)
        for end in ends:
            os.close(end)
        self.capture.started("shop-0", incarnation, process.pid)
        return process

    async def run(self, code: str, incarnation: int = 1) -> subprocess.Popen[bytes]:
        """Start Python code, and return when it has ended."""
        process = self.start(code, incarnation)
        await self.exit_of(process, incarnation)
        return process

    async def exit_of(self, process: subprocess.Popen[bytes], incarnation: int = 1) -> None:
        await asyncio.to_thread(process.wait)
        self.capture.ended("shop-0", incarnation)

    async def until(self, condition: Callable[[list[OutputLine]], bool]) -> list[OutputLine]:
        async with asyncio.timeout(HANG_SECONDS):
            while not condition(self.lines):
                self._came.clear()
                await self._came.wait()
        return self.lines

    async def texts(self, last: str) -> list[str]:
        """The lines until one with this text."""
        return [line.text for line in await self.until(lambda lines: any(line.text == last for line in lines))]

    def close(self) -> str:
        """End it, and return the log."""
        if self._descriptor is not None:
            self.capture.close()
            self.log.close()
            os.close(self._descriptor)
            self._descriptor = None
        return self._file.read_text()


@asynccontextmanager
async def reading(folder: Path, **settings: int) -> AsyncIterator[Reading]:
    made = Reading(OutputSettings(**settings), folder / "log")
    try:
        yield made
    finally:
        made.close()


def pipes() -> int:
    """How many pipes this process holds."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            found += str(link.readlink()).startswith("pipe:")
        except FileNotFoundError:
            continue
    return found


def until_pipes(count: int) -> None:
    """Wait until this process holds no more pipes than that."""
    while pipes() > count:
        os.sched_yield()


# --- lines ---


def test_lines_are_told_with_slot_incarnation_pid_and_stream(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with reading(tmp_path) as made:
            process = await made.run("import sys; print('out'); print('err', file=sys.stderr); print('end')", 7)
            await made.texts("end")
            found = {(line.slot, line.incarnation, line.pid, line.stream, line.text) for line in made.lines}
            assert found == {
                ("shop-0", 7, process.pid, "stdout", "out"),
                ("shop-0", 7, process.pid, "stderr", "err"),
                ("shop-0", 7, process.pid, "stdout", "end"),
            }
            log = made.close()
            assert f" OUTPUT  shop-0[{process.pid}] stderr | err\n" in log

    asyncio.run(scenario())


def test_a_line_may_come_in_pieces_and_the_last_one_may_have_no_end() -> None:
    stream = LineStream()
    assert stream.feed(b"one\ntw", 80, 10) == (["one"], 0)
    assert stream.feed(b"o\r\nthr", 80, 10) == (["two"], 0)
    assert stream.feed(b"ee", 80, 10) == ([], 0)
    assert stream.end(80) == ["three"]
    assert stream.end(80) == []


def test_a_long_line_is_cut_and_tells_its_length() -> None:
    stream = LineStream()
    assert stream.feed(b"x" * 50, 80, 10) == ([], 0)
    assert stream.feed(b"x" * 50 + b"\nnext\n", 80, 10) == (["x" * 80 + " [cut: the line has 100 bytes]", "next"], 0)


def test_lines_over_the_allowed_number_are_counted_and_what_follows_them_is_whole() -> None:
    stream = LineStream()
    assert stream.feed(b"a\nb\nc\nd\nrest", 80, 2) == (["a", "b"], 2)
    assert stream.feed(b" of it\n", 80, 2) == (["rest of it"], 0)
    assert stream.feed(b"begun", 80, 0) == ([], 0)
    assert stream.feed(b" and dropped\nlast", 80, 0) == ([], 1)
    assert stream.end(80) == ["last"]


def test_whatever_bytes_come_no_line_can_end_another_or_steer_a_terminal() -> None:
    hostile = b"\xff\xfe \x1b[2J\x00 \r \xe2\x80\xae \xc2\x85 ok\n"
    (line,), _ = LineStream().feed(hostile, 80, 10)
    assert line == r"\xff\xfe \x1b[2J\x00 \r \u202e \x85 ok"


# --- forms ---


def a_line(text: str, *, stream: str = "stderr", slot: str = "shop-0") -> OutputLine:
    return OutputLine(slot, 1, 1234, stream, AT, text)


def test_a_line_of_the_agents_log_passes_as_it_is_and_only_under_its_own_name() -> None:
    own = "2026-11-24T07:00:00.125Z info shop-0 shop sold a nut"
    assert text_form(a_line(own)) == own + "\n"
    for other in (a_line(own, slot="shop-1"), a_line(own, stream="stdout")):
        assert text_form(other) == f"2026-11-24T07:00:00.125Z OUTPUT  {other.slot}[1234] {other.stream} | {own}\n"


def test_an_object_of_the_agents_log_passes_and_anything_else_becomes_one() -> None:
    own = json.dumps({"time": "t", "level": "info", "slot": "shop-0", "logger": "shop", "text": "sold"})
    assert json_form(a_line(own)) == own + "\n"
    foreign = (a_line(own, slot="shop-1"), a_line("plain"), a_line('{"time": 1'), a_line('{"time"' + "[" * 100_000))
    for other in foreign:
        told = json.loads(json_form(other))
        assert (told["kind"], told["slot"], told["pid"], told["text"]) == ("output", other.slot, 1234, other.text)


def test_what_is_missing_is_told_in_words_that_no_worker_can_write() -> None:
    missing = text_form(a_line("7 lines are missing here", stream="missing"))
    assert missing == "2026-11-24T07:00:00.125Z WARNING output shop-0[1234]: 7 lines are missing here\n"
    assert text_form(a_line(missing.strip())).startswith("2026-11-24T07:00:00.125Z OUTPUT  shop-0[1234] stderr | ")


# --- processes ---


def test_a_flood_is_read_to_its_end_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with reading(tmp_path, max_lines_per_second=100) as made:
            await made.run("import os\nfor _ in range(50):\n    os.write(1, b'spam\\n' * 10_000)")
            lines = await made.until(
                lambda lines: sum(one.stream == "stdout" for one in lines) + count_missing(lines) == 500_000
            )
            assert sum(one.stream == "stdout" for one in lines) < 500_000

    asyncio.run(scenario())


def count_missing(lines: list[OutputLine]) -> int:
    return sum(int(line.text.split()[0]) for line in lines if line.stream == "missing")


def test_a_pipe_that_outlives_its_process_is_closed_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_reader, "LINGER_SECONDS", 0.0)

    async def scenario() -> None:
        async with reading(tmp_path) as made:
            before = pipes()
            gate, open_gate = os.pipe()
            code = f"import os; print('left', flush=True); os.fork() or os.read({gate}, 1)"
            await made.exit_of(made.start(code, pass_fds=[gate]))
            await made.texts("left")
            await asyncio.to_thread(until_pipes, before + 2)
            os.close(open_gate)
            os.close(gate)

    asyncio.run(scenario())


def test_five_hundred_processes_leave_no_descriptor(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with reading(tmp_path) as made:
            before = pipes()
            for incarnation in range(500):
                ends = made.capture.open("shop-0", incarnation)
                assert ends is not None
                os.write(ends[0], b"x\n")
                if incarnation % 2:
                    made.capture.started("shop-0", incarnation, 1)
                for end in ends:
                    os.close(end)
                made.capture.ended("shop-0", incarnation)
            await made.until(lambda lines: len(lines) == 250)
            await asyncio.to_thread(until_pipes, before)

    asyncio.run(scenario())


def test_a_pipe_that_can_not_be_read_is_told_and_all_others_are_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with reading(tmp_path) as made:
            nowhere = HandedStream("stdout", 1_000_000, b"", 0)

            made.capture.resume([HandedOutput("shop-9", 1, 1, 0.0, (nowhere,))])
            await made.run("print('hello')")

            await made.until(lambda lines: len(lines) == 2)
            assert [(line.slot, line.stream) for line in made.lines] == [("shop-9", "missing"), ("shop-0", "stdout")]
            assert made.lines[0].text == "it can't be read (Bad file descriptor): what it writes there is lost"

    asyncio.run(scenario())


def test_what_was_written_before_the_end_is_in_the_log(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with reading(tmp_path) as made:
            process = made.start("import os; os.write(2, b'last words'); os.abort()")
            await asyncio.to_thread(process.wait)
            assert "stderr | last words\n" in made.close()

    asyncio.run(scenario())


def test_without_capture_a_process_inherits_ours(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with reading(tmp_path, capture=False) as made:
            assert made.capture.open("shop-0", 1) is None
            made.capture.started("shop-0", 1, 1)
            made.capture.ended("shop-0", 1)
            with pytest.raises(UsageError, match="capture is false"):
                made.capture.serve(FollowOutput("", 10, follow=True), lambda _: None, ["shop-0"])  # type: ignore[arg-type]

    asyncio.run(scenario())


# --- kept lines ---


def numbered(count: int, slot: str = "shop-0") -> list[OutputLine]:
    return [a_line(str(number), slot=slot) for number in range(count)]


def test_the_newest_lines_of_a_slot_or_of_all_are_kept_in_order() -> None:
    async def scenario() -> None:
        kept = KeptLines(asyncio.get_running_loop(), 3)
        for line in [*numbered(5, "shop-0"), *numbered(2, "shop-1")]:
            kept.add([line])
        got: list[OutputLine] = []
        for slot, lines in (("shop-0", 10), ("shop-1", 1), ("", 4), ("shop-2", 10), ("", 0)):
            kept.follow(slot, lines, got.append)()
        assert [line.text for line in got] == ["2", "3", "4", "1", "3", "4", "0", "1"]
        kept.keep(0)
        assert kept.slots == frozenset()

    asyncio.run(scenario())


def test_a_follower_gets_each_line_once_whenever_it_begins(tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = KeptLines(asyncio.get_running_loop(), 100)
        first: list[str] = []
        second: list[str] = []
        kept.follow("shop-0", 0, lambda line: first.append(line.text))
        kept.add(numbered(3))
        stop = kept.follow("", 100, lambda line: second.append(line.text))
        kept.add([a_line("3"), a_line("other", slot="shop-1")])
        await asyncio.sleep(0)
        stop()
        kept.add([a_line("4")])
        await asyncio.sleep(0)
        assert first == ["0", "1", "2", "3", "4"]
        assert second == ["0", "1", "2", "3", "other"]

    asyncio.run(scenario())


def test_all_kept_lines_together_are_bounded_and_the_slot_with_most_loses_its_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nexus_supervisor.supervisor.kept_lines.MAX_KEPT_BYTES", 3_100)

    async def scenario() -> None:
        kept = KeptLines(asyncio.get_running_loop(), 1_000)
        kept.add(numbered(1, "quiet-0"))
        kept.add(numbered(50, "loud-0"))
        got: list[OutputLine] = []
        kept.follow("", 1_000, got.append)()
        assert [(line.slot, line.text) for line in got][:2] == [("quiet-0", "0"), ("loud-0", "41")]

    asyncio.run(scenario())


def test_lines_that_the_loop_is_too_slow_for_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_supervisor.supervisor.kept_lines.MAX_UNDELIVERED", 2)

    async def scenario() -> None:
        kept = KeptLines(asyncio.get_running_loop(), 10)
        got: list[OutputLine] = []
        kept.follow("", 0, got.append)
        kept.add(numbered(5))
        await asyncio.sleep(0)
        assert [line.text for line in got][:2] == ["0", "1"]
        assert got[2].stream == "missing"
        assert got[2].text.startswith("3 lines are missing")

    asyncio.run(scenario())
