"""The worker processes as the supervisor holds them: real processes, and the loop that hears them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psutil

from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.effects import Spawn
from nexus_supervisor.core.events import Spawned, WorkerExited, WorkerSaid
from nexus_supervisor.core.messages import Booted, Drain
from nexus_supervisor.core.settings import parse
from nexus_supervisor.supervisor.contents import Contents
from nexus_supervisor.supervisor.rows import Rows
from nexus_supervisor.supervisor.workers import Identity, Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from nexus_supervisor.core.events import Event

SETTINGS = parse({"supervisor": {"program": "hello", "hooks": "hooks"}}, {}, cpu_count=1).settings

HOOKS = """
import os
from pathlib import Path

told = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("NEXUS_")]
Path(__file__).with_name(str(os.getpid())).write_text("\\n".join(told))


def probe(snapshot):
    pass
"""


class Staff:
    """Hold worker processes and what the loop heard of them."""

    def __init__(self, directory: Path) -> None:
        (directory / "hooks.py").write_text(HOOKS)
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.rows = Rows(8, 2)
        identity = Identity(str(directory), "nexus", None, bytes(32))
        loop = asyncio.get_running_loop()
        self.workers = Workers(loop, identity, Contents({}), self.rows, self.events.put_nowait, lambda _: None)

    async def start(self, slot: str, *, trial: bool = False) -> int:
        """Start a process, wait until it has read its Start, and return its pid."""
        spawn = Spawn(slot, 1, Version(1), Digest("0" * 64), 0, trial=trial)
        self.workers.spawn(spawn, SETTINGS, (), ())
        spawned = await self.events.get()
        assert isinstance(spawned, Spawned)
        assert await self.events.get() == WorkerSaid(Booted(slot, 1))
        return spawned.pid

    async def end(self, slot: str) -> WorkerExited:
        """Order a process to end; return how it did."""
        self.workers.send(slot, 1, Drain(5.0))
        while not isinstance(event := await self.events.get(), WorkerExited):
            pass
        return event


@asynccontextmanager
async def staff(directory: Path) -> AsyncIterator[Staff]:
    made = Staff(directory)
    try:
        yield made
    finally:
        made.workers.close()
        made.rows.close()


def test_the_trial_worker_is_told_what_it_is_and_has_no_share_in_what_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_HOME", "elsewhere")

    async def check() -> None:
        async with staff(tmp_path) as made:
            trial, serving = await made.start("trial", trial=True), await made.start("hello-0")

            assert [(tmp_path / str(pid)).read_text() for pid in (trial, serving)] == ["NEXUS_TRIAL=1", ""]
            assert set(made.workers.readings()) == set(made.workers.figures()) == {("hello-0", 1)}
            assert not [one for one in psutil.Process(trial).memory_maps() if "nexus-counters" in one.path]
            assert await made.end("trial") == WorkerExited("trial", 1, "exit code 0", clean=True)
            assert await made.end("hello-0") == WorkerExited("hello-0", 1, "exit code 0", clean=True)
            assert made.workers.readings() == {}

    asyncio.run(check())


def test_what_a_process_has_in_memory_is_as_the_kernel_says(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            pid = await made.start("hello-0")

            reading, figures = made.workers.readings()["hello-0", 1], made.workers.figures()["hello-0", 1]

            assert abs(reading.rss_bytes - psutil.Process(pid).memory_info().rss) < 1 << 20
            assert abs(figures.rss_bytes - reading.rss_bytes) < 1 << 20
            assert (reading.version, reading.requests, figures.requests, figures.version_requests) == (0, 0, 0, 0)
            await made.end("hello-0")

    asyncio.run(check())
