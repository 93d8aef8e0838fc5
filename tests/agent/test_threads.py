"""Threads and jobs of a request see its snapshot, and nobody else's."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest

from nexus_supervisor.agent import threads
from nexus_supervisor.agent.context import PINNED, current, pinned, provide, serve_from
from nexus_supervisor.agent.holder import Cell, Holder
from nexus_supervisor.core.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def holder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Holder]:
    """What a worker has: version 1 is current, and threads belong to requests."""
    monkeypatch.setattr(Thread, "start", Thread.start)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)
    threads.carry()
    holder = Holder.of(Snapshot.of(1))
    before = serve_from(holder)
    yield holder
    serve_from(before)


def version() -> int:
    return current().version


def in_thread(make: Callable[[Callable[[], object]], Thread]) -> list[int]:
    """What a thread sees that is started here."""
    seen: list[int] = []
    thread = make(lambda: seen.append(version()))
    thread.start()
    thread.join()
    return seen


class Own(Thread):
    """Overrides ``run``, and attributes too."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.call = call

    def run(self) -> None:
        self.call()

    def __setattr__(self, name: str, value: object) -> None:
        assert name != "run"
        super().__setattr__(name, value)


def set_on_the_object(call: Callable[[], object]) -> Thread:
    thread = Thread()
    thread.run = call  # type: ignore[method-assign, assignment]
    return thread


KINDS: dict[str, Callable[[Callable[[], object]], Thread]] = {
    "a plain thread": lambda call: Thread(target=call),
    "a daemon": lambda call: Thread(target=call, daemon=True),
    "a timer": lambda call: Timer(0, call),
    "a class with its own run": Own,
    "an object with its own run": set_on_the_object,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_thread_sees_the_snapshot_of_the_request_that_starts_it(holder: Holder, kind: str) -> None:
    with pinned():
        holder.swap(Snapshot.of(2))
        assert in_thread(KINDS[kind]) == [1]
    assert in_thread(KINDS[kind]) == [2]


def test_a_thread_sees_the_newest_snapshot_once_its_request_has_ended(holder: Holder) -> None:
    looked, ended = Event(), Event()
    seen: list[int] = []

    def look() -> None:
        seen.append(version())
        looked.set()
        ended.wait()
        seen.append(version())

    with pinned():
        holder.swap(Snapshot.of(2))
        thread = Thread(target=look)
        thread.start()
        looked.wait()
    ended.set()
    thread.join()

    assert seen == [1, 2]
    assert [one.version for one in holder.forget()] == [1]


def test_a_thread_that_a_thread_starts_belongs_to_the_same_request(holder: Holder) -> None:
    with pinned():
        holder.swap(Snapshot.of(2))
        seen: list[list[int]] = []
        in_thread(lambda _: Thread(target=lambda: seen.append(in_thread(KINDS["a plain thread"]))))

    assert seen == [[1]]


def test_nothing_but_the_cell_is_carried_into_a_thread(holder: Holder) -> None:
    variable = contextvars.ContextVar("variable", default="nothing")
    seen: list[object] = []
    with pinned():
        variable.set("the request's own")
        thread = Thread(target=lambda: seen.extend([PINNED.get(), variable.get()]))
        thread.start()
        thread.join()

        inherits = getattr(sys.flags, "thread_inherit_context", False)  # a choice of Python 3.14
        assert seen == [PINNED.get(), "the request's own" if inherits else "nothing"]


def test_a_thread_that_starts_outside_a_request_carries_nothing(holder: Holder) -> None:
    seen: list[Cell | None] = []
    thread = Thread(target=lambda: seen.append(PINNED.get()))

    thread.start()
    thread.join()

    assert seen == [None]
    assert "run" not in vars(thread)


def test_a_thread_can_be_started_once_and_is_left_as_it_was(holder: Holder) -> None:
    with pinned():
        thread = Thread(target=lambda: None)
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="only be started once"):
            thread.start()

    assert "run" not in vars(thread)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_exception_of_a_thread_is_its_own_and_has_one_frame_more(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught: list[Any] = []
    monkeypatch.setattr("threading.excepthook", caught.append)

    def fail() -> None:
        raise ValueError

    with pinned():
        thread = Thread(target=fail)
        thread.start()
        thread.join()

    (found,) = caught
    assert found.exc_type is ValueError
    assert found.thread is thread
    files = [frame.name for frame in traceback.extract_tb(found.exc_traceback)]
    assert [name for name in files if name != "_bootstrap_inner"] == ["_run_carried", "run", "fail"]


def test_each_job_of_a_pool_belongs_to_the_request_that_submits_it_and_to_no_other(holder: Holder) -> None:
    with ThreadPoolExecutor(max_workers=1) as pool:
        with pinned():
            holder.swap(Snapshot.of(2))
            first = pool.submit(version).result()
            outside = contextvars.Context().run(pool.submit, version).result()
            left = contextvars.Context().run(pool.submit, PINNED.get).result()
            with provide(Snapshot.of(7)):
                inner = list(pool.map(lambda _: version(), range(2)))
        after = pool.submit(version).result()

    assert (first, outside, left, inner, after) == (1, 2, None, [7, 7], 2)


def test_a_job_that_waits_until_its_request_has_ended_sees_the_newest_snapshot(holder: Holder) -> None:
    go = Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(go.wait)
        with pinned():
            holder.swap(Snapshot.of(2))
            late = pool.submit(version)
        go.set()

        assert late.result() == 2


def test_a_job_takes_its_arguments_and_gives_its_own_result_or_exception(holder: Holder) -> None:
    def fail(self: int, *, fn: int) -> None:
        raise ValueError(self, fn)

    with ThreadPoolExecutor() as pool, pinned():
        assert pool.submit(lambda *args, **kwargs: (args, kwargs), 1, fn=2, cell=3).result() == (
            (1,),
            {"fn": 2, "cell": 3},
        )
        with pytest.raises(ValueError, match=r"\(1, 2\)"):
            pool.submit(fail, 1, fn=2).result()


def test_pools_of_event_loops_see_the_snapshot_of_the_task(holder: Holder) -> None:
    async def serve() -> list[int]:
        with pinned():
            holder.swap(Snapshot.of(2))
            loop = asyncio.get_running_loop()
            inside = [
                await loop.run_in_executor(None, version),
                await asyncio.to_thread(version),
                await anyio.to_thread.run_sync(version),
            ]
        return [*inside, await loop.run_in_executor(None, version), await asyncio.to_thread(version)]

    assert asyncio.run(serve()) == [1, 1, 1, 2, 2]


def test_a_job_with_a_context_of_its_own_is_handed_on_as_it_is(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(threads, "_submit", lambda _, fn, *__: given.append(fn))
    context = contextvars.copy_context()
    wrapped = functools.partial(context.run, version)

    with ThreadPoolExecutor() as pool, pinned():
        for job in (context.run, wrapped, version):
            pool.submit(job)

    assert given[:2] == [context.run, wrapped]
    assert given[2] is not version


def test_threads_of_other_processes_are_as_they_always_were() -> None:
    code = (
        "from threading import Thread; from concurrent.futures import ThreadPoolExecutor; "
        "before = Thread.start, ThreadPoolExecutor.submit; "
        "import nexus_supervisor.agent.boot, nexus_supervisor.testing; "
        "print(before == (Thread.start, ThreadPoolExecutor.submit))"
    )

    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert told.stdout == "True\n"
