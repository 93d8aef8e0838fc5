"""Strangers' zombies are reaped; statuses that somebody waits for are not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from nexus_supervisor.supervisor.child import Child
from nexus_supervisor.supervisor.reaper import Reaper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


def run(check: Callable[[Reaper], Awaitable[None]]) -> None:
    async def within() -> None:
        reaper = Reaper(asyncio.get_running_loop())
        try:
            await check(reaper)
        finally:
            reaper.close()

    asyncio.run(within())


def fork_twice(status: int) -> int:
    """Return the pid of an orphan, our child by adoption, that exits with a status when the pipe is closed."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            os._exit(status)
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.waitpid(between, 0)
    pid = int(os.read(reading, 20))
    os.close(reading)
    os.close(writing)
    return pid


def start(*line: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(line)


async def until_gone(pid: int) -> None:
    while psutil.pid_exists(pid):  # noqa: ASYNC110 - the kernel has no event for a pid that is reaped
        await asyncio.sleep(0.01)


def test_an_orphan_that_nobody_knows_is_reaped_without_being_asked_for() -> None:
    async def check(reaper: Reaper) -> None:
        assert reaper.adopts
        orphans = [fork_twice(3) for _ in range(8)]
        for orphan in orphans:
            await until_gone(orphan)

    run(check)


def test_a_status_that_a_thread_of_ours_waits_for_is_left_to_it() -> None:
    async def check(reaper: Reaper) -> None:
        processes = [start(sys.executable, "-c", "raise SystemExit(7)") for _ in range(4)]
        codes = [asyncio.to_thread(process.wait) for process in processes]
        looking = asyncio.create_task(keep_looking(reaper))

        assert await asyncio.gather(*codes) == [7, 7, 7, 7]
        looking.cancel()

    run(check)


async def keep_looking(reaper: Reaper) -> None:
    while True:
        reaper.look()
        await asyncio.sleep(0)


def test_the_status_of_a_worker_whose_number_is_not_known_yet_is_kept_for_whoever_learns_it() -> None:
    async def check(reaper: Reaper) -> None:
        reaper.expect()
        pid = fork_twice(5)
        await until_gone(pid)
        process = reaper.adopt(pid)
        assert process is not None
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        Child(asyncio.get_running_loop(), process, lambda status, _: ended.set_result(status))

        assert await ended == "exit code 5"
        reaper.expect_no_more()

    run(check)


def test_a_process_that_is_no_child_of_ours_or_is_known_is_not_adopted() -> None:
    async def check(reaper: Reaper) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[str] = loop.create_future()
        child = Child(loop, start("sleep", "60"), lambda status, _: ended.set_result(status))

        assert reaper.adopt(child.pid) is None
        assert reaper.adopt(os.getppid()) is None
        assert reaper.adopt(1 << 40) is None

        child.signal(signal.SIGTERM)
        assert await ended == "killed by SIGTERM, which the supervisor sent"

    run(check)
