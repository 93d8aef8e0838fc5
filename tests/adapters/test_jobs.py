"""A function called again and again in a real worker process: pace, snapshots, exceptions, and the end."""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.agent.drain import OVERDUE_STATUS
from nexus_supervisor.core.messages import Booted, Erred, Retired
from tests.support.serving import ONE, TWO, a_server, reading, retired, totals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.workers import Site, Worker

TASKS = '''
import asyncio, json

from nexus_supervisor import current, refresh

calls = 0


def tell(*what):
    with open("told", "a") as told:
        print(json.dumps(what), file=told)


def wait():
    """Wait until the test writes a word, and return it."""
    tell("began", current().version)
    with open("fifo") as fifo:
        return fifo.read()


def stepwise():
    """Do what the test says, call by call."""
    match wait().split():
        case ["job"]:
            tell("ended", current().version)
            return True
        case ["none"]:
            return None
        case ["after", seconds]:
            return float(seconds)
        case ["raise"]:
            raise ValueError("broken")
        case ["refresh"]:
            tell("refreshed", refresh().version)
            return True
        case ["odd"]:
            return "a secret"
        case ["cancelled"]:
            raise asyncio.CancelledError
        case ["huge"]:
            return 10**400


async def stepwise_async():
    return await asyncio.to_thread(stepwise)


class Callable:
    async def __call__(self):
        return await stepwise_async()


callable_object = Callable()


def idle():
    """Look for a job in vain; look again only when something is new."""
    tell("looked", current().version)
    return 3600


async def idle_async():
    return idle()


def failing():
    global calls
    calls += 1
    if calls < 4:
        raise ValueError("broken")
    tell("fine", calls)
    return 3600


async def beating():
    """Start a task that goes on between the calls."""
    global calls
    calls += 1
    if calls == 1:
        asyncio.get_running_loop().create_task(beat())
    return 3600


async def beat():
    while True:
        tell("beat")
        await asyncio.sleep(0.01)


async def forever():
    tell("began")
    try:
        await asyncio.Event().wait()
    finally:
        tell("tidied up")

'''


class Tasks:
    """What the function of a worker tells, and what it is told: both through pipes."""

    def __init__(self, directory: Path) -> None:
        self._word = directory / "fifo"
        for path in (directory / "told", self._word):
            os.mkfifo(path)
        self._telling = os.fdopen(os.open(directory / "told", os.O_RDWR), "rb", buffering=0)

    def heard(self) -> Any:
        """Wait for the next thing that it tells."""
        return json.loads(self._telling.readline())

    def say(self, word: str) -> None:
        self._word.write_text(word)

    def close(self) -> None:
        self._telling.close()


@pytest.fixture
def tasks(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tasks]:
    (site.directory / "tasks.py").write_text(TASKS)
    monkeypatch.chdir(site.directory)
    with closing(Tasks(site.directory)) as made:
        yield made


def a_job_worker(site: Site, handle: str, **fields: Any) -> Worker:
    return a_server(site, program="jobs", app=f"tasks:{handle}", listeners=(), **fields).serve(ONE)


def finish(worker: Worker, **options: float) -> int:
    worker.drain(**options)
    return worker.ended()


def begin_to_drain(worker: Worker) -> None:
    """Return when the worker knows: what is asked after the order is answered after it."""
    worker.drain()
    worker.stage(ONE, 99)


STEPWISE = pytest.mark.parametrize("handle", ["stepwise", "stepwise_async", "callable_object"])


@STEPWISE
def test_a_job_keeps_its_version_and_the_next_one_takes_the_newest(site: Site, tasks: Tasks, handle: str) -> None:
    with a_job_worker(site, handle) as worker:
        began = tasks.heard()
        worker.go(TWO, 2, ONE)
        held = [one.oldest for one in worker.messages if isinstance(one, Retired)]
        tasks.say("job")
        ended, next_one = tasks.heard(), tasks.heard()
        retired(worker, 2)
        begin_to_drain(worker)
        tasks.say("none")

        assert (began, ended, next_one, set(held)) == (["began", 1], ["ended", 1], ["began", 2], {1})
        assert worker.ended() == 0


@STEPWISE
def test_the_first_exception_on_a_version_is_told_without_its_text(site: Site, tasks: Tasks, handle: str) -> None:
    with a_job_worker(site, handle) as worker:
        for word in ("raise", "odd"):
            assert tasks.heard() == ["began", 1]
            tasks.say(word)
        assert tasks.heard() == ["began", 1]
        begin_to_drain(worker)
        tasks.say("none")

        told = [message for message in worker.rest() if isinstance(message, Erred)]
        assert [(one.version, one.what.partition(" at ")[0]) for one in told] == [(1, "ValueError")]
        assert "broken" not in told[0].what


@STEPWISE
def test_calls_are_counted_unless_there_was_nothing_to_do(site: Site, tasks: Tasks, handle: str) -> None:
    with a_job_worker(site, handle) as worker:
        for word in ("job", "none", "raise", "after 0", "odd", "after 0", "cancelled", "after 0.01", "huge"):
            assert tasks.heard() == ["began", 1]
            tasks.say(word)
            if word == "job":
                assert tasks.heard() == ["ended", 1]
        assert tasks.heard() == ["began", 1]
        begin_to_drain(worker)
        tasks.say("none")
        worker.ended()

        assert (totals(site).requests, totals(site).errors) == (8, 4)
        assert (reading(site).version, reading(site).requests, reading(site).errors) == (1, 8, 4)
        assert sum(reading(site).latencies) == 8
        assert reading(site).beat is None
        assert "ValueError: broken" in worker.log()
        assert "a job answers True, False, None or a number of seconds from 0; found str" in worker.log()
        assert "a secret" not in worker.log()


@pytest.mark.parametrize("handle", ["idle", "idle_async"])
def test_a_new_version_ends_a_wait_and_so_does_the_drain(site: Site, tasks: Tasks, handle: str) -> None:
    with a_job_worker(site, handle) as worker:
        first = tasks.heard()
        worker.go(TWO, 2, ONE)
        second = tasks.heard()

        assert (first, second) == (["looked", 1], ["looked", 2])
        assert finish(worker) == 0
        assert totals(site).requests == 2


def test_the_silence_of_a_job_in_hand_means_nothing_and_since_when_it_is_so_is_told(site: Site, tasks: Tasks) -> None:
    with a_job_worker(site, "stepwise") as worker:
        tasks.heard()
        in_hand = reading(site)
        begin_to_drain(worker)
        tasks.say("none")
        worker.ended()

        assert in_hand.alive is None
        assert in_hand.waiting_since is not None
        assert reading(site).alive is not None
        assert reading(site).waiting_since is None


def test_the_loop_of_an_async_job_says_that_it_is_alive_while_the_job_is_in_hand(site: Site, tasks: Tasks) -> None:
    with a_job_worker(site, "forever") as worker:
        tasks.heard()
        while reading(site).alive is None:
            assert worker.process.poll() is None

        assert reading(site).waiting_since is not None
        assert finish(worker, timeout_seconds=0.1) == OVERDUE_STATUS


@pytest.mark.parametrize("handle", ["idle", "idle_async"])
def test_a_worker_that_waits_says_that_it_is_alive(site: Site, tasks: Tasks, handle: str) -> None:
    with a_job_worker(site, handle) as worker:
        while totals(site).ticks < 4:
            assert worker.process.poll() is None

        assert finish(worker) == 0


def test_pauses_double_while_a_job_fails(site: Site, tasks: Tasks) -> None:
    with a_job_worker(site, "failing") as worker:
        assert tasks.heard() == ["fine", 4]
        finish(worker)

        pauses = [line.split()[-2] for line in worker.log().splitlines() if "the job raised an exception" in line]
        assert pauses == ["0.1", "0.2", "0.4"]
        assert (totals(site).requests, totals(site).errors) == (4, 3)


def test_a_job_may_go_on_with_the_newest_version(site: Site, tasks: Tasks) -> None:
    with a_job_worker(site, "stepwise") as worker:
        began = tasks.heard()
        worker.go(TWO, 2, ONE)
        tasks.say("refresh")
        refreshed = tasks.heard()
        tasks.heard()
        begin_to_drain(worker)
        tasks.say("none")

        assert (began, refreshed) == (["began", 1], ["refreshed", 2])
        assert worker.ended() == 0


def test_a_job_that_held_its_version_for_too_long_is_told(site: Site, tasks: Tasks) -> None:
    with a_job_worker(site, "stepwise", max_snapshot_seconds=0.001) as worker:
        tasks.heard()
        worker.go(TWO, 2, ONE)
        worker.stage(ONE, 3, TWO)
        tasks.say("job")
        for _ in range(2):
            tasks.heard()
        begin_to_drain(worker)
        tasks.say("none")
        worker.ended()

        assert worker.log().count("a job has used version 1 until now") == 1


def test_tasks_of_an_async_job_go_on_between_the_calls(site: Site, tasks: Tasks) -> None:
    with a_job_worker(site, "beating") as worker:
        for _ in range(3):
            assert tasks.heard() == ["beat"]

        assert finish(worker) == 0


def test_an_async_job_is_cut_off_at_the_deadline_and_may_tidy_up(site: Site, tasks: Tasks) -> None:
    with a_job_worker(site, "forever") as worker:
        tasks.heard()

        assert finish(worker, timeout_seconds=0.1) == OVERDUE_STATUS
        assert tasks.heard() == ["tidied up"]
        assert "the job in hand is cut off" in worker.log()
        assert "Traceback" not in worker.log()


def test_a_plain_job_that_goes_on_after_the_deadline_ends_with_the_process(site: Site, tasks: Tasks) -> None:
    with a_job_worker(site, "stepwise") as worker:
        tasks.heard()

        assert finish(worker, timeout_seconds=0.1) == OVERDUE_STATUS


def test_a_worker_that_is_told_to_end_before_its_first_job_ends(site: Site, tasks: Tasks) -> None:
    with a_server(site, program="jobs", app="tasks:idle") as worker:
        worker.receive(Booted)
        worker.go(ONE, 1)

        assert finish(worker) == 0
