from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server
from typing import TYPE_CHECKING

import psutil
import pytest

from nexus_supervisor.core.content import Version
from nexus_supervisor.core.effects import RunGate
from nexus_supervisor.core.events import Event, GateEnded
from nexus_supervisor.core.settings import ExternalGateSettings
from nexus_supervisor.supervisor.gates import Gates
from nexus_supervisor.supervisor.questions import CommandQuestion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

PATIENCE = 30.0  # seconds; reached only where a test fails
COMMAND = "the command of supervisor.external_gate"
URL = "the url of supervisor.external_gate"


class Asked:
    """Hold gates in a running loop and what they posted."""

    def __init__(self, directory: Path) -> None:
        self.posted: asyncio.Queue[Event] = asyncio.Queue()
        self.gates = Gates(asyncio.get_running_loop(), directory, self.posted.put_nowait)

    def run(self, version: int = 7, *, secret: tuple[str, ...] = (), timeout: float = PATIENCE, **gate: str) -> None:
        settings = ExternalGateSettings(timeout_seconds=timeout, **gate)
        self.gates.run(RunGate(Version(version), Version(6), "push"), settings, secret)

    async def answer(self) -> GateEnded:
        event = await asyncio.wait_for(self.posted.get(), PATIENCE)
        assert isinstance(event, GateEnded)
        return event


def asking(directory: Path, test: Callable[[Asked], Awaitable[None]]) -> None:
    """Run a test in a loop; whatever it asked is ended, and exactly what it awaited was posted."""

    async def run() -> None:
        asked = Asked(directory)
        try:
            await test(asked)
        finally:
            asked.gates.close()
        assert asked.posted.empty()

    asyncio.run(run())


def verdict(directory: Path, **gate: str) -> GateEnded:
    """Return what one question led to."""
    found: list[GateEnded] = []

    async def test(asked: Asked) -> None:
        asked.run(**gate)
        found.append(await asked.answer())

    asking(directory, test)
    return found[0]


def program(directory: Path, text: str) -> str:
    """Return a command that runs a Python program."""
    path = directory / "gate program.py"
    path.write_text(text)
    return f"{sys.executable} '{path}'"


def left_over(word: str) -> list[str]:
    """Return every process that has the word in its command line."""
    return [one.info["cmdline"] for one in psutil.process_iter(["cmdline"]) if word in (one.info["cmdline"] or ())]


@contextmanager
def served(status: int, body: str = "", location: str = "") -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve one answer to every request; give the address and the headers of the requests so far."""
    seen: list[dict[str, str]] = []

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({**{name.lower(): value for name, value in self.headers.items()}, "path": self.path})
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/gate?for=nexus", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_command_that_ends_with_0_is_a_yes(tmp_path: Path) -> None:
    assert verdict(tmp_path, command="true") == GateEnded(Version(7), passed=True, reason="")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("print('checked'); print('errors: 7'); raise SystemExit(3)", "ended with exit code 3: errors: 7"),
        ("import sys; print('no', file=sys.stderr); raise SystemExit(1)", "ended with exit code 1: no"),
        ("raise SystemExit(9)", "ended with exit code 9"),
        ("import os; os.kill(os.getpid(), 15)", "was killed by SIGTERM"),
        (
            r"print('\x1b[2J\u202e!', flush=True); raise SystemExit(2)",
            r"ended with exit code 2: \x1b[2J\u202e!",
        ),
        ("import os; os.write(1, b'\\xff\\n\\n  \\n'); os._exit(2)", "ended with exit code 2: �"),
    ],
)
def test_a_command_that_ends_otherwise_is_a_no_with_its_last_line(tmp_path: Path, text: str, reason: str) -> None:
    found = verdict(tmp_path, command=program(tmp_path, text))
    assert found == GateEnded(Version(7), passed=False, reason=f"{COMMAND} {reason}")


@pytest.mark.parametrize("command", ["no-such-program-anywhere", "'unfinished", "/"])
def test_a_command_that_cannot_be_run_is_a_no_that_says_why(tmp_path: Path, command: str) -> None:
    found = verdict(tmp_path, command=command)
    assert not found.passed
    assert found.reason.startswith(f"{COMMAND} can't be run: ")


def test_no_shell_reads_a_command(tmp_path: Path) -> None:
    found = verdict(tmp_path, command=f"{sys.executable} -c 'raise SystemExit(\"a\")' ; touch {tmp_path}/made")
    assert not found.passed
    assert not (tmp_path / "made").exists()


def test_a_command_knows_the_version_and_nothing_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_HOME", "/somewhere")
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("PLAIN", "kept")
    text = (
        "import os, sys\n"
        "names = 'NEXUS_VERSION NEXUS_PREVIOUS_VERSION NEXUS_KIND NEXUS_HOME DATABASE_PASSWORD PLAIN'.split()\n"
        "alone = sys.stdin.read() == '' and os.getsid(0) == os.getpid()\n"
        "print([os.environ.get(name) for name in names], os.getcwd(), alone)\n"
        "sys.exit(1)\n"
    )

    here = tmp_path.resolve()

    async def test(asked: Asked) -> None:
        asked.run(command=program(tmp_path, text), secret=("DATABASE_PASSWORD",))
        said = (await asked.answer()).reason.partition(": ")[2]
        assert said == f"['7', '6', 'push', None, None, 'kept'] {here} True"

    asking(tmp_path, test)


def test_a_flood_of_output_is_read_and_only_its_end_is_kept(tmp_path: Path) -> None:
    text = "import sys\nsys.stdout.write('x' * (64 << 20))\nprint('\\nthe end', 'y' * 5000)\nsys.exit(1)"
    found = verdict(tmp_path, command=program(tmp_path, text))
    assert found.reason.startswith(f"{COMMAND} ended with exit code 1: yyyy")
    assert len(found.reason) < 400


def test_a_command_that_hangs_is_killed_with_its_children_at_the_deadline(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', 'left-of-the-gate-1'])\n"
        "child.wait()\n"
    )

    async def test(asked: Asked) -> None:
        asked.run(command=program(tmp_path, text), timeout=1.0)
        assert await asked.answer() == GateEnded(
            Version(7), passed=False, reason=f"{COMMAND} did not answer within 1 s"
        )

    asking(tmp_path, test)
    gone = [one for one in psutil.process_iter(["cmdline"]) if "left-of-the-gate-1" in (one.info["cmdline"] or ())]
    psutil.wait_procs(gone, timeout=PATIENCE)
    assert not left_over("left-of-the-gate-1")


def test_what_a_command_leaves_behind_is_ended_and_does_not_hold_its_answer(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', 'left-of-the-gate-2'])\n"
        "print('done')\n"
    )
    assert verdict(tmp_path, command=program(tmp_path, text)).passed
    gone = [one for one in psutil.process_iter(["cmdline"]) if "left-of-the-gate-2" in (one.info["cmdline"] or ())]
    psutil.wait_procs(gone, timeout=PATIENCE)
    assert not left_over("left-of-the-gate-2")


def test_a_process_that_left_the_session_and_writes_for_ever_does_not_hold_the_answer(tmp_path: Path) -> None:
    text = (
        "import os, subprocess, sys\n"
        "run = \"import sys\\ntry:\\n  while True: print('more', flush=True)\\nexcept OSError: sys.stdout = None\"\n"
        "child = subprocess.Popen([sys.executable, '-c', run], start_new_session=True, stderr=subprocess.DEVNULL)\n"
    )
    # it ends by itself once nobody reads any more
    assert verdict(tmp_path, command=program(tmp_path, text)).passed


def test_a_new_question_ends_the_one_before(tmp_path: Path) -> None:
    async def test(asked: Asked) -> None:
        asked.run(7, command="sleep 600")
        asked.run(8, command="true")
        first = await asked.answer()
        assert (first.version, first.passed) == (7, False)
        assert first.reason.endswith("was asked about version 8 instead")
        assert await asked.answer() == GateEnded(Version(8), passed=True, reason="")

    asking(tmp_path, test)


def test_what_is_asked_ends_with_the_service_and_says_nothing_more(tmp_path: Path) -> None:
    text = "import pathlib, time\npathlib.Path('running').touch()\ntime.sleep(600)\n"

    async def test(asked: Asked) -> None:
        asked.run(command=program(tmp_path, text))
        thread = asked.gates._asking.thread  # type: ignore[union-attr]
        asked.gates.close()
        thread.join(PATIENCE)
        assert not thread.is_alive()

    asking(tmp_path, test)
    assert not left_over(str(tmp_path / "gate program.py"))


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_an_address_that_answers_well_is_a_yes_and_is_told_the_version(tmp_path: Path, status: int) -> None:
    with served(status) as (url, seen):
        assert verdict(tmp_path, url=url) == GateEnded(Version(7), passed=True, reason="")
    assert seen[0]["path"] == "/gate?for=nexus"
    assert (seen[0]["nexus-version"], seen[0]["nexus-previous-version"], seen[0]["nexus-kind"]) == ("7", "6", "push")


def test_an_address_that_answers_otherwise_is_a_no_with_its_last_line(tmp_path: Path) -> None:
    with served(503, "checked\nerrors: 7\n") as (url, _):
        found = verdict(tmp_path, url=url)
    assert found.reason == f"{URL} answered 503 Service Unavailable: errors: 7"


def test_an_address_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    with served(200) as (good, seen), served(302, location=good) as (url, _):
        found = verdict(tmp_path, url=url)
    assert (found.passed, found.reason, seen) == (False, f"{URL} answered 302 Found", [])


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1", b"nonsense\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n"])
def test_what_is_no_answer_is_a_no(tmp_path: Path, answer: bytes) -> None:
    with closing(create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        found = verdict(tmp_path, url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(PATIENCE)
    assert not found.passed
    assert found.reason.startswith(f"{URL} ")


def test_nobody_at_the_address_is_a_no(tmp_path: Path) -> None:
    with closing(create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    found = verdict(tmp_path, url=f"http://user:hunter2@127.0.0.1:{port}/")
    assert found.reason.startswith(f"{URL} can't be asked: ")
    assert "hunter2" not in found.reason


def test_an_address_that_never_answers_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    async def test(asked: Asked) -> None:
        with closing(create_server(("127.0.0.1", 0))) as listener:
            asked.run(url=f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=1.0)
            assert await asked.answer() == GateEnded(
                Version(7), passed=False, reason=f"{URL} did not answer within 1 s"
            )

    asking(tmp_path, test)


def test_both_must_say_yes(tmp_path: Path) -> None:
    with served(200) as (url, seen):
        assert verdict(tmp_path, command="true", url=url).passed
        assert verdict(tmp_path, command="false", url=url).reason == f"{COMMAND} ended with exit code 1"
        assert len(seen) == 1
    with served(500) as (url, _):
        assert verdict(tmp_path, command="true", url=url).reason == f"{URL} answered 500 Internal Server Error"


def test_where_nobody_is_named_the_answer_is_yes(tmp_path: Path) -> None:
    assert verdict(tmp_path).passed


def test_a_command_that_is_given_up_before_its_turn_is_not_run(tmp_path: Path) -> None:
    question = CommandQuestion(f"touch {tmp_path / 'ran'}", tmp_path, {})
    question.stop()
    assert question.refusal() == "was given up"
    assert not (tmp_path / "ran").exists()


def test_an_address_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    assert "can't be used" in verdict(tmp_path, url="http://[::1").reason
