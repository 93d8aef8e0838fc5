"""Workers from zygotes: which code they run, what becomes of a lost zygote, and when a worker is exec'd instead."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psutil

from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.effects import Spawn
from nexus_supervisor.core.events import Spawned, SpawnFailed, WorkerExited
from nexus_supervisor.core.settings import parse
from nexus_supervisor.supervisor.contents import Contents
from nexus_supervisor.supervisor.reaper import Reaper
from nexus_supervisor.supervisor.rows import Rows
from nexus_supervisor.supervisor.workers import Identity, Workers
from nexus_supervisor.supervisor.zygotes import MAX_LOSSES, Zygotes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import pytest

    from nexus_supervisor.core.events import Event
    from nexus_supervisor.core.notices import Notice
    from nexus_supervisor.core.settings import Settings

PROGRAM = """
import os
from pathlib import Path

def run(agent): ...
"""
TELLS = (
    PROGRAM
    + """
Path(__file__).with_name("told").write_text(os.environ.get("SHOP_KEY", "none"))
"""
)
SAYS = """
import os
from pathlib import Path

CODE = "{code}"


def tell():
    mine = Path(__file__).with_name(f"forked-{{os.getpid()}}")
    mine.write_text(CODE)
    mine.replace(mine.with_name("forked"))


os.register_at_fork(after_in_child=tell)

def run(agent): ...
"""
COLUMNS = 80


def settings(**supervisor: Any) -> Settings:
    return parse({"supervisor": {"program": "shop:run", **supervisor}}, {}, cpu_count=1).settings


SETTINGS = settings()


class Staff:
    """Hold workers, their zygotes, and what the loop heard of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write(PROGRAM)
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.notices: list[Notice] = []
        loop = asyncio.get_running_loop()
        self.rows, self.reaper, self.secret = Rows(8, COLUMNS), Reaper(loop), frozenset[str]()
        self.zygotes = Zygotes(loop, str(directory), self.reaper, lambda: self.secret, self.notices.append)
        identity = Identity(str(directory), "nexus", None, bytes(32))
        self.workers = Workers(
            loop,
            identity,
            Contents({}),
            self.rows,
            self.events.put_nowait,
            self.notices.append,
            zygotes=self.zygotes,
        )

    def write(self, program: str) -> None:
        (self.directory / "shop.py").write_text(program)

    def spawn(self, slot: str = "run-0", *, fresh: bool = False, asked: Settings = SETTINGS) -> None:
        spawn = Spawn(slot, 1, Version(1), Digest("0" * 64), 0, fresh=fresh)
        self.workers.spawn(spawn, asked, (), self.secret)

    async def heard(self, *kinds: type[Event]) -> Any:
        while not isinstance(event := await self.events.get(), kinds):
            pass
        return event

    async def spawned(self, slot: str = "run-0", *, fresh: bool = False, asked: Settings = SETTINGS) -> psutil.Process:
        self.spawn(slot, fresh=fresh, asked=asked)
        event = await self.heard(Spawned, SpawnFailed)
        assert isinstance(event, Spawned), event
        return psutil.Process(event.pid)

    async def code(self, *, fresh: bool) -> str:
        """Return which code a worker has that is started and ended here."""
        await self.spawned("run-9", fresh=fresh)
        await self.killed("run-9")
        return (self.directory / "forked").read_text()

    async def killed(self, *slots: str) -> None:
        for slot in slots:
            self.workers.kill(slot, 1)
        for _ in slots:
            await self.heard(WorkerExited)

    async def prepared(self, asked: Settings = SETTINGS) -> str:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.zygotes.prepare(asked, done.set_result)
        return await done

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds."""
        while not holds():
            self.reaper.look()
            await asyncio.sleep(0.01)

    def zygote(self) -> psutil.Process:
        """Return the zygote that runs."""
        alive = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
        return next(one for one in alive if "zygote" in " ".join(one.cmdline()))

    def told(self) -> list[str]:
        return [notice.kind for notice in self.notices]


@asynccontextmanager
async def staff(directory: Path) -> AsyncIterator[Staff]:
    others = frozenset(psutil.Process().children())  # of other tests, such as a database
    made = Staff(directory)
    try:
        yield made
    finally:
        made.workers.close()
        made.zygotes.close()
        await gone(made, others)
        made.reaper.close()
        made.rows.close()


async def gone(made: Staff, others: frozenset[psutil.Process]) -> None:
    """Wait until every child but the others has ended and is reaped."""
    while set(psutil.Process().children()) - others:
        made.reaper.look()
        await asyncio.sleep(0.01)


def test_workers_come_from_one_zygote_and_are_children_of_the_supervisor(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            first, second = await made.spawned("run-0"), await made.spawned("run-1")

            assert first.ppid() == second.ppid() == made.zygote().ppid() == os.getpid()
            assert made.zygotes.preloads("run")
            await made.killed("run-0", "run-1")
            assert made.told() == []

    asyncio.run(check())


def test_sixty_four_workers_that_die_at_once_are_all_noticed(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            slots = [f"run-{number}" for number in range(64)]
            for slot in slots:
                made.spawn(slot)
            pids = [(await made.heard(Spawned)).pid for _ in slots]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            exits = [await made.heard(WorkerExited) for _ in slots]

            assert {one.slot for one in exits} == set(slots)
            assert all(one.status.startswith("killed by SIGKILL") for one in exits)

    asyncio.run(check())


def test_a_zygote_that_was_killed_or_stopped_is_replaced_and_its_workers_go_on(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            first = await made.spawned("run-0")
            before = made.zygote()
            before.kill()
            second = await made.spawned("run-1")
            after = made.zygote()
            after.suspend()
            third = await made.spawned("run-2")

            assert len({before.pid, after.pid, made.zygote().pid}) == 3
            assert made.told() == ["zygote_lost", "zygote_lost"]
            assert [one.is_running() for one in (first, second, third)] == [True] * 3
            await made.killed("run-0", "run-1", "run-2")

    asyncio.run(check())


def test_a_program_that_cannot_be_imported_starts_no_worker_and_the_next_one_tries_again(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            made.write("\n1 / 0")
            made.spawn()
            failed = await made.heard(SpawnFailed)
            assert failed.reason == f"program run can't be loaded: ZeroDivisionError at {tmp_path / 'shop.py'}:2"

            made.write(PROGRAM)
            await made.spawned()
            await made.killed("run-0")

    asyncio.run(check())


def test_what_a_restart_prepares_is_new_code_and_what_was_there_stays_until_it_is_settled(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            made.write(SAYS.format(code="old"))
            await made.spawned("run-0")
            before = made.zygote()
            made.write(SAYS.format(code="new"))
            assert await made.prepared() == ""

            assert before.is_running()
            assert await made.code(fresh=False) == "old"
            assert await made.code(fresh=True) == "new"

            made.zygotes.settle(adopted=True)
            assert await made.code(fresh=False) == "new"
            assert made.told() == []
            await made.killed("run-0")

    asyncio.run(check())


def test_code_that_was_prepared_and_is_not_adopted_is_let_go_of_and_workers_run_the_old(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            made.write(SAYS.format(code="old"))
            await made.spawned("run-0")
            made.write(SAYS.format(code="new"))
            assert await made.prepared() == ""
            assert await made.code(fresh=True) == "new"

            made.zygotes.settle(adopted=False)

            assert await made.code(fresh=True) == "old"
            assert made.told() == []
            await made.killed("run-0")

    asyncio.run(check())


def test_new_code_that_cannot_be_imported_changes_nothing(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            await made.spawned("run-0")
            made.write("\n1 / 0")

            assert "ZeroDivisionError" in await made.prepared()
            made.zygotes.settle(adopted=False)

            await made.spawned("run-1")
            await made.killed("run-0", "run-1")

    asyncio.run(check())


def test_code_whose_import_ends_the_process_is_given_up_after_some_attempts(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            made.write("import os; os._exit(9)")

            assert await made.prepared() == "the process that imports program run ended: exit code 9"
            assert made.told() == ["zygote_lost"] * MAX_LOSSES + ["preload_off"]

    asyncio.run(check())


def test_code_that_ends_the_zygote_at_every_fork_is_executed_in_each_worker_after_some_attempts(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with staff(tmp_path) as made:
            made.write(PROGRAM + "os.register_at_fork(before=lambda: os.kill(os.getpid(), 9))")

            worker = await made.spawned()

            assert "agent.boot" in " ".join(worker.cmdline())
            assert made.told() == ["zygote_lost"] * MAX_LOSSES + ["preload_off"]

    asyncio.run(scenario())


def test_a_zygote_that_ends_again_and_again_without_a_fork_is_started_when_a_worker_is_wanted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staff(tmp_path) as made:
            await made.spawned()
            for lost in range(1, MAX_LOSSES + 1):
                await made.until(lambda: bool(made.zygotes.handed()[1]))  # it has loaded, and nobody waits for it
                made.zygote().kill()
                await made.until(lambda lost=lost: made.told().count("zygote_lost") == lost)

            assert not made.zygotes.preloads("run")
            worker = await made.spawned("run-1")

            assert "agent.boot" not in " ".join(worker.cmdline())
            assert "preload_off" not in made.told()

    asyncio.run(scenario())


def test_a_program_that_starts_threads_is_executed_in_each_worker_and_that_is_told_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            made.write(
                "import threading\nthreading.Thread(target=threading.Event().wait, name='pump', daemon=True).start()"
                "\ndef run(agent): ..."
            )
            first, second = await made.spawned("run-0"), await made.spawned("run-1")

            assert first.ppid() == second.ppid() == os.getpid()
            assert made.told() == ["preload_off"]
            assert "the thread 'pump'" in made.notices[0].text
            assert not made.zygotes.preloads("run")
            await made.killed("run-0", "run-1")

    asyncio.run(check())


def test_without_preload_each_worker_is_executed(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            await made.spawned(asked=settings(preload=False))

            assert not made.zygotes.preloads("run")
            assert len(psutil.Process().children()) == 1
            await made.killed("run-0")

    asyncio.run(check())


def test_a_worker_that_is_given_up_while_its_program_is_imported_has_ended_at_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with staff(tmp_path) as made:
            os.mkfifo(tmp_path / "fifo")
            made.write("from pathlib import Path\nPath(__file__).with_name('fifo').read_bytes()\n" + PROGRAM)
            made.spawn()
            await made.killed("run-0")
            os.close(os.open(tmp_path / "fifo", os.O_RDWR))

    asyncio.run(check())


def test_a_variable_that_has_become_a_secret_is_not_in_the_next_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "hidden")

    async def check() -> None:
        async with staff(tmp_path) as made:
            made.write(TELLS)
            await made.spawned("run-0")
            assert (tmp_path / "told").read_text() == "hidden"

            made.secret = frozenset({"SHOP_KEY"})
            await made.spawned("run-1")

            assert (tmp_path / "told").read_text() == "none"
            assert made.told() == []
            await made.killed("run-0", "run-1")

    asyncio.run(check())
