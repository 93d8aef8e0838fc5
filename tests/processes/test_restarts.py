"""Restarts and stops of real daemons under load: no request is lost, and bad code goes no further than one worker."""

from __future__ import annotations

import http.client
import signal
import socket
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.supervisor import keys
from tests.support.gateway_directory import make_directory as make_gateway
from tests.support.gateway_directory import write_atomically
from tests.support.http import PATIENCE_SECONDS
from tests.support.nexus import Nexus
from tests.support.steady_load import Load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.steady_load import Asked

BAKES = """
[supervisor.rollout]
bake_seconds = 0.5
quiet_bake_seconds = 0.5
gates.min_requests = 20
trial.enabled = false
"""

DAEMON = """
[supervisor]
program = "{program}"
app = "{app}"
workers = 2
{rollout}
[[supervisor.section]]
name = "items"
files = "items/*.toml"
table = "item"
model = "models:Item"
apply = "live"
"""

MODELS = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Item:
    price: int
"""

ASGI = """
from nexus_supervisor import current

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    STATUS = 200
    await send({"type": "http.response.start", "status": STATUS, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def make(directory: Path, program: str = "asgi", app: str = "web:app", rollout: str = BAKES) -> Path:
    """Make a directory whose workers serve ``ok`` on every path."""
    directory.mkdir(exist_ok=True)
    (directory / "items").mkdir()
    (directory / "items" / "nut.toml").write_text("[item]\nprice = 1\n")
    (directory / "models.py").write_text(MODELS)
    (directory / "web.py").write_text(ASGI)
    (directory / "daemon.toml").write_text(DAEMON.format(program=program, app=app, rollout=rollout))
    keys.generate(directory)
    return directory


def a_directory(kind: str, tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """Return a directory of one kind, and the paths that are asked for."""
    if kind == "gateway":
        directory = make_gateway(tmp_path)
        daemon = directory / "daemon.toml"
        write_atomically(daemon, daemon.read_text().replace("rollout.bake_seconds = 0\n", "") + BAKES)
        return directory, ("/health",)
    directory = make(tmp_path / "site", *{"fastapi": ("asgi", "main:app"), "wsgi": ("wsgi", "main:app")}[kind])
    text = FASTAPI if kind == "fastapi" else WSGI
    (directory / "main.py").write_text(text)
    return directory, ("/",)


FASTAPI = """
from fastapi import FastAPI

app = FastAPI()

@app.get("/")
async def read() -> str:
    return "ok"
"""

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


FAILS_TO_START = """
async def begin(scope, send):
    if scope["type"] == "lifespan":
        await send({"type": "lifespan.startup.failed", "message": "it is not there"})
        raise LookupError
"""


def lost(asked: list[Asked]) -> list[Asked]:
    return [one for one in asked if one.failed]


@pytest.mark.parametrize("kind", ["fastapi", "wsgi", "gateway"])
def test_a_rolling_restart_under_load_loses_no_request_and_replaces_every_worker(tmp_path: Path, kind: str) -> None:
    directory, paths = a_directory(kind, tmp_path)
    with Nexus(directory, "-w", "2") as nexus:
        slots = set(nexus.workers())
        with Load(nexus.address, clients=6, paths=paths) as load:
            load.until_answered_by(slots, 1)
            ended = [nexus.restart(), nexus.restart(now=False, reason="once more")]
            load.until_answered_by(slots, 1)

        assert [one.exit_code for one in ended] == [0, 0]
        assert lost(load.asked) == []
        assert {worker["incarnation"] for worker in nexus.workers().values()} == {3}


class Leaving:
    """Clients that ask on connections which they keep, until they are told that nobody listens any more."""

    def __init__(self, address: str, clients: int) -> None:
        self.answered, self.lost = 0, list[str]()
        self._address, self._asked = address, Event()
        self._threads = [Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()
        assert self._asked.wait(PATIENCE_SECONDS)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        host, _, port = self._address.rpartition(":")
        while True:
            connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_SECONDS)
            try:
                connection.connect()
            except OSError:
                return  # refused: nobody listens
            try:
                self._ask(connection)
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
            finally:
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        """Ask until the server says that it closes the connection."""
        while True:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            self.answered += 1
            self._asked.set()
            if answer.getheader("Connection") == "close":
                return


def test_a_stop_under_load_loses_no_request_and_leaves_nothing(tmp_path: Path) -> None:
    with Nexus(make(tmp_path / "site"), "-w", "2") as nexus:
        clients = Leaving(nexus.address, 8)

        code = nexus.stop()
        clients.join()

        assert code == 0
        assert clients.lost == []
        assert clients.answered
        assert nexus.processes() == []


def test_a_second_term_while_a_request_hangs_ends_it_now(tmp_path: Path) -> None:
    directory = make(tmp_path / "site")
    (directory / "web.py").write_text("import asyncio\n" + ASGI.replace("STATUS = 200", "await asyncio.Event().wait()"))
    with Nexus(directory, "-w", "1") as nexus:
        host, _, port = nexus.address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while not next(iter(nexus.workers().values()))["requests"]:
                assert nexus.process.poll() is None
            nexus.signal(signal.SIGTERM)
            nexus.until("daemon_stopping")
            nexus.signal(signal.SIGTERM)

            assert nexus.exit_code() == 0


def test_what_is_cut_off_at_the_deadline_is_told(tmp_path: Path) -> None:
    directory = make(tmp_path / "site", rollout="[daemon.shutdown]\ndrain_timeout_seconds = 1\n" + BAKES)
    (directory / "web.py").write_text("import asyncio\n" + ASGI.replace("STATUS = 200", "await asyncio.Event().wait()"))
    with Nexus(directory, "-w", "1") as nexus:
        host, _, port = nexus.address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while not next(iter(nexus.workers().values()))["requests"]:
                assert nexus.process.poll() is None

            restarted = nexus.restart(now=True)

        assert restarted.exit_code == 0
        assert [one["cut"] for one in nexus.history("slot_drained")] == [1]


def test_new_code_that_answers_errors_is_gone_back_from_and_the_answer_says_so(tmp_path: Path) -> None:
    directory = make(tmp_path / "site")
    with Nexus(directory, "-w", "3") as nexus:
        slots = set(nexus.workers())
        with Load(nexus.address, clients=6, paths=("/",)) as load:
            load.until_answered_by(slots, 1)
            write_atomically(directory / "web.py", ASGI.replace("STATUS = 200", "raise ValueError"))
            ended = nexus.restart()
            load.until_answered_by(slots, 1)
            tail = len(load.asked)
            load.until_answered_by(slots, 1)

        assert ended.exit_code == 4
        assert "errors" in ended.text
        assert "the first exception was ValueError" in ended.text
        assert {one.slot for one in lost(load.asked)} <= {min(slots)}
        assert lost(load.asked[tail:]) == []


def test_new_code_that_can_not_be_imported_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    directory = make(tmp_path / "site")
    with Nexus(directory, "-w", "2") as nexus:
        before = {slot: worker["pid"] for slot, worker in nexus.workers().items()}
        write_atomically(directory / "web.py", "import a_module_that_is_not_there\n")

        ended = nexus.restart()

        assert ended.exit_code == 3
        assert "a_module_that_is_not_there" in ended.text
        assert {slot: worker["pid"] for slot, worker in nexus.workers().items()} == before


def test_new_code_whose_start_fails_is_gone_back_from_and_the_answer_names_the_exception(tmp_path: Path) -> None:
    directory = make(tmp_path / "site")
    with Nexus(directory, "-w", "2") as nexus:
        write_atomically(
            directory / "web.py", FAILS_TO_START + ASGI.replace("if scope", "await begin(scope, send)\n    if scope")
        )

        ended = nexus.restart()

        assert ended.exit_code == 4
        assert "LookupError" in ended.text


def test_a_restart_can_be_paused_and_aborted_and_the_code_from_before_runs_on(tmp_path: Path) -> None:
    directory = make(tmp_path / "site", rollout=BAKES.replace("0.5", "3600"))
    with Nexus(directory, "-w", "2") as nexus:
        asking = Thread(target=nexus.restart)
        asking.start()
        nexus.until("rollout_phase", phase="bake")
        paused, aborted = nexus.steer("pause"), nexus.steer("abort")
        asking.join()

        assert (paused.exit_code, aborted.exit_code) == (0, 0)
        assert nexus.status()["state"] == "ok"
        assert nexus.request("GET", "/").status == 200
