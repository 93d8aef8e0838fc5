"""The control socket under attack: nobody else gets in, nothing that is sent there stops a push or costs much."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nexus_supervisor.core.control import REQUESTS, FollowNotices, PushRequest, StatusRequest
from nexus_supervisor.core.framing import frame
from tests.support.chaos import add_item, as_root, make_stall, steady, stopped
from tests.support.control import RawClient
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65_534
SETTINGS = "limits.client_idle_seconds = 0.5\nlimits.max_clients = 8\n"
GARBAGE = {
    "random bytes": os.urandom(65_536),
    "a header of 1 GiB": struct.pack(">IB", 1 << 30, 0) + bytes(65_536),
    "a request with descriptors": frame(REQUESTS.encode(StatusRequest()), 3),
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "deep nesting": frame(b"\x91" * 60_000),
    "a thousand requests at once": frame(REQUESTS.encode(FollowNotices(1 << 60))) * 1_000,
    "half a request": frame(REQUESTS.encode(StatusRequest()))[:-1],
    "nothing": b"",
}


@contextmanager
def another_user() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@as_root
def test_another_user_is_turned_away_even_where_the_socket_lets_him(tmp_path: Path) -> None:
    del tmp_path  # is for its owner only
    with tempfile.TemporaryDirectory() as parent, Nexus(make_stall(Path(parent), workers=1)) as nexus:
        state = nexus.directory / "state"
        refused = socket.socket(socket.AF_UNIX)
        with another_user(), refused:
            assert refused.connect_ex(str(state / "control.sock")) != 0
        for path, mode in ((Path(parent), 0o755), (state, 0o711), (state / "control.sock", 0o666)):
            path.chmod(mode)
        with another_user():
            client = RawClient(nexus.directory)
        with client:
            with suppress(BrokenPipeError):  # turned away before a word was said
                client.say(StatusRequest())
            assert client.hear() == []
        assert nexus.until("client_refused")["uid"] == NOBODY
        assert nexus.push().exit_code == 0


def test_garbage_and_slow_clients_neither_stop_a_push_nor_stay(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, workers=1, settings=SETTINGS)) as nexus, ExitStack() as clients:
        held = steady(nexus)
        memory = psutil.Process(nexus.process.pid).memory_info().rss
        for number, raw in enumerate(GARBAGE.values()):
            client = clients.enter_context(RawClient(nexus.directory))
            client.connection.setblocking(False)
            try:
                client.connection.send(raw)
            except (BrokenPipeError, ConnectionResetError):
                continue
            add_item(nexus.directory, "nut", number + 2)
            assert nexus.push().exit_code == 0
        for _ in range(100):  # half open, all of them
            clients.enter_context(RawClient(nexus.directory))
        assert nexus.push().exit_code == 0
        clients.close()
        assert steady(nexus) == held
        assert psutil.Process(nexus.process.pid).memory_info().rss - memory < 32 << 20


def test_clients_that_read_nothing_are_dropped(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, workers=1, settings=SETTINGS)) as nexus, ExitStack() as clients:
        for _ in range(4):
            clients.enter_context(RawClient(nexus.directory)).say(FollowNotices(0))
        for number in range(30):
            add_item(nexus.directory, "nut", number + 2)
            assert nexus.push().exit_code == 0
        assert nexus.version == 31


def test_a_push_goes_on_when_its_client_is_killed(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path)) as nexus:
        before = nexus.version
        worker = nexus.workers()["serve-1"]["pid"]
        with stopped(worker):
            add_item(nexus.directory, "bolt")
            line = [sys.executable, "-m", "nexus_supervisor", "push", str(nexus.directory)]
            client = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            nexus.until("version_staged", slot="serve-0", version=before + 1)
            client.send_signal(signal.SIGKILL)
            client.wait()
            with RawClient(nexus.directory) as raw:
                raw.say(PushRequest(reason="", expect=None, wait="active"))
        nexus.until("committed", version=before + 1)
        assert nexus.push().exit_code == 0
        assert nexus.version == before + 1
