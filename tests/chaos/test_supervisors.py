"""Supervisors that are killed at any moment of a push, and several that want one directory."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self

import pytest

from nexus_supervisor.client import ControlClient
from nexus_supervisor.core.control import PushRequest
from nexus_supervisor.core.trust import Trust
from nexus_supervisor.errors import NexusError, NotRunningError
from nexus_supervisor.supervisor import keys
from nexus_supervisor.supervisor.store import Store
from tests.support import leaks
from tests.support.chaos import add_item, as_root, make_stall, strace, with_strace
from tests.support.http import PATIENCE_SECONDS
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20_261_124
ROUNDS = 5
RACERS = 20
HELD = re.compile(r"a supervisor( \(pid \d+\))? already runs on")

MOMENTS = [("fdatasync", 1), ("fdatasync", 2), ("fsync", 1), ("rename", 1), ("symlinkat", 1), ("rename", 2)]
"""System calls of a push that its supervisor does not survive, and which one of them it is."""

SYSTEM_CALLS = {"rename": "rename,renameat,renameat2", "symlinkat": "symlink,symlinkat"}


class Pusher:
    """Change an item and push, over and over, and note what was acknowledged, until the supervisor is gone."""

    def __init__(self, directory: Path, first: int) -> None:
        self.attempted, self.acknowledged = first - 1, 0
        self._directory = directory
        self._client = ControlClient(directory)
        self._thread = threading.Thread(target=self._run, args=(first,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _run(self, first: int) -> None:
        try:
            for self.attempted in itertools.count(first):
                add_item(self._directory, "nut", self.attempted)
                ended = self._client.ask(PushRequest(reason="", expect=None, wait="active"), PATIENCE_SECONDS)
                if ended.exit_code == 0:
                    self.acknowledged = self.attempted
        except NexusError:
            return


def recovered(directory: Path) -> tuple[int, int]:
    """Return version and price of what a start would begin with, and see that all that is stored verifies."""
    trust = Trust("nexus", keys.load(directory, "keys/signing.key").public_key)
    store = Store.open(directory, trust, kept_versions=20, journal_limit_bytes=1 << 20)
    store.close()
    committed = store.recovered.committed
    assert committed is not None
    assert [alarm for alarm in store.recovered.alarms if alarm.kind == "config_signature_invalid"] == []
    verified = command("verify", directory)
    assert verified.returncode == 0, verified.stdout
    price = committed.content.sections["items"].entries["nut"].body
    return committed.version, int(price.partition(b'"price":')[2].partition(b"}")[0])


def test_a_supervisor_killed_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    directory = make_stall(tmp_path)
    moments = random.Random(SEED)
    version, price = 0, 1
    for _ in range(ROUNDS):
        with Nexus(directory) as nexus:
            started_with = nexus.version
            assert started_with >= version
            with Pusher(directory, price + 1) as pusher:
                for _ in range(moments.randrange(1, 5)):
                    nexus.until("committed")
                for _ in range(moments.randrange(40_000)):  # a part of a push goes by
                    continue
                nexus.kill()
        version, price = recovered(directory)
        assert max(pusher.acknowledged, 1) <= price <= pusher.attempted
        assert version > started_with


@pytest.mark.parametrize("notice", ["version_holds", "rollout_started", "version_staged", "committed", "archived"])
def test_a_supervisor_killed_at_a_step_of_a_push_loses_nothing_that_was_acknowledged(
    tmp_path: Path, notice: str
) -> None:
    directory = make_stall(tmp_path)
    version, price = 0, 1
    for count in range(2):
        with Nexus(directory) as nexus:
            assert nexus.version >= version
            with Pusher(directory, price + 1) as pusher:
                for _ in range(3 + count):
                    nexus.until("committed")
                nexus.until(notice)
                nexus.kill()
        version, price = recovered(directory)
        assert max(pusher.acknowledged, 1) <= price <= pusher.attempted


@as_root
@with_strace
def test_a_supervisor_killed_in_any_system_call_of_a_push_leaves_the_old_or_the_new_version(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, workers=1)
    version, price = 0, 1
    for call, number in MOMENTS:
        with Nexus(directory) as nexus:
            assert nexus.version >= version
            deadly = strace(nexus.process.pid, SYSTEM_CALLS.get(call, call), f"signal=SIGKILL:when={number}")
            with deadly, Pusher(directory, price + 1) as pusher:
                assert nexus.exit_code() == -signal.SIGKILL
            nexus.kill()
        version, price = recovered(directory)
        assert max(pusher.acknowledged, 1) <= price <= pusher.attempted


def test_a_supervisor_beside_a_running_one_is_refused_however_many_try(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, workers=1)) as nexus:
        others = [subprocess.Popen(run(nexus.directory), stderr=subprocess.PIPE, text=True) for _ in range(6)]
        said = [other.communicate(timeout=PATIENCE_SECONDS)[1] for other in others]
        assert [other.returncode for other in others] == [6] * len(others)
        assert all(f"(pid {nexus.process.pid})" in text for text in said)
        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0


def test_of_20_supervisors_that_race_for_a_directory_one_runs_whatever_a_dead_one_left(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, workers=1)
    (directory / "state").mkdir(mode=0o700)
    (directory / "state" / "supervisor.pid").write_text("1\n")
    (directory / "state" / ".supervisor.pid.new").write_text("1\n")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(directory / "state" / "control.sock"))
    with contextlib.ExitStack() as files:
        said = [files.enter_context((tmp_path / f"{number}.log").open("w+")) for number in range(RACERS)]
        racing = [subprocess.Popen(run(directory), stderr=file) for file in said]
        while len(left := [one for one in racing if one.poll() is None]) > 1:
            os.sched_yield()
        (winner,) = left
        assert sorted(one.returncode for one in racing if one is not winner) == [6] * (RACERS - 1)
        assert (directory / "state" / "supervisor.pid").read_text() == f"{winner.pid}\n"
        for one, file in zip(racing, said, strict=True):
            file.seek(0)
            assert one is winner or HELD.search(file.read()), one
        await_answer(directory)
        winner.terminate()
        assert winner.wait(PATIENCE_SECONDS) == 0
    assert leaks.files(directory) == []


def test_a_supervisor_told_to_end_while_it_starts_ends_with_0_and_leaves_nothing(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, "\nfrom pathlib import Path\nPath(__file__).with_name('gate').read_text()\n")
    os.mkfifo(directory / "gate")  # the compiler imports the model, and waits here
    starting = subprocess.Popen(run(directory), stderr=subprocess.DEVNULL)
    with (directory / "gate").open("w"):
        starting.terminate()
        assert starting.wait(PATIENCE_SECONDS) == 0
    (directory / "gate").unlink()
    assert leaks.files(directory) == []


def await_answer(directory: Path) -> None:
    while True:
        with contextlib.suppress(NotRunningError):
            ControlClient(directory).status()
            return
        os.sched_yield()


def run(directory: Path) -> list[str]:
    return [sys.executable, "-m", "nexus_supervisor", "run", str(directory), "-b", "127.0.0.1:0"]
