"""Both queues of the examples: real workers on a real database, killed, drained and pushed to."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.examples import EXAMPLES, copied, edit, running
from tests.support.http import PATIENCE_SECONDS
from tests.support.nexus import Nexus
from tests.support.postgres import fresh_database
from tests.support.walkthrough import walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexus_supervisor.core.control import Ended
    from tests.support.postgres import Database

QUEUES = ("queue_sqlite", "queue_postgres")
_POLL_SECONDS = 0.02


class Desk:
    """One example's copy, and what is in its queue."""

    def __init__(self, directory: Path, database: Database | None) -> None:
        self.directory = directory
        self._database = database

    @property
    def knobs(self) -> Path:
        return self.directory / "knobs" / "mail.toml"

    def enqueue(self, *addresses: str) -> None:
        line = [sys.executable, "enqueue.py", *addresses]
        added = subprocess.run(line, cwd=self.directory, check=True, capture_output=True, text=True)
        assert added.stdout == f"queued {len(addresses)} jobs\n"

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on its database, by a connection of our own."""
        if self._database is not None:
            return self._database.execute(statement)
        with closing(sqlite3.connect(self.directory / "data" / "queue.db", isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    def until(self, nexus: Nexus, condition: str) -> None:
        """Wait until a condition is true of the queue; the end of the supervisor ends the wait."""
        for _ in range(round(PATIENCE_SECONDS / _POLL_SECONDS)):
            if self.rows(f"SELECT 1 WHERE {condition}"):
                return
            with pytest.raises(subprocess.TimeoutExpired):
                nexus.process.wait(_POLL_SECONDS)
        pytest.fail(f"never: {condition}; jobs: {self.rows('SELECT * FROM jobs')}\n{nexus.output}")

    def until_finished(self, nexus: Nexus) -> None:
        self.until(nexus, "NOT EXISTS (SELECT 1 FROM jobs WHERE state IN ('waiting', 'claimed'))")


@pytest.fixture(params=QUEUES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    directory = copied(request.param, tmp_path)
    if request.param == "queue_sqlite":
        return Desk(directory, None)
    return in_postgres(request.getfixturevalue("postgres"), directory)


@pytest.fixture(scope="module", params=QUEUES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Nexus]]:
    """A supervisor that runs for several tests; each of them finds its queue finished and leaves it so."""
    directory = copied(request.param, tmp_path_factory.mktemp("shared"))
    with ExitStack() as ending:
        desk = Desk(directory, None)
        if request.param == "queue_postgres":
            database = ending.enter_context(fresh_database(request.getfixturevalue("postgres_server")))
            desk = in_postgres(database, directory)
        edit(desk.knobs, "retry_seconds = 10.0", "retry_seconds = 0.0")
        yield desk, ending.enter_context(running(directory))


@pytest.fixture
def served(shared: tuple[Desk, Nexus]) -> tuple[Desk, Nexus]:
    """The running example with an empty queue."""
    desk, _ = shared
    for table in ("letters", "jobs"):
        desk.rows(f"DELETE FROM {table}")
    return shared


def in_postgres(database: Database, directory: Path) -> Desk:
    """Point a copy of the example to a database that waits for the disk, as one does by default."""
    database.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = on")
    (directory / "dsn").write_text(database.dsn)
    return Desk(directory, database)


def addresses(count: int, start: int = 0) -> list[str]:
    return [f"n{number}@example.com" for number in range(start, start + count)]


def turn(desk: Desk, before: str, after: str, nexus: Nexus) -> Ended:
    """Change a knob and push."""
    edit(desk.knobs, before, after)
    return nexus.push()


# --- one supervisor, several tests -----------------------------------------------------------------------------------


def test_all_jobs_are_done_exactly_once_by_several_workers(served: tuple[Desk, Nexus]) -> None:
    desk, nexus = served
    count = 0
    while len(desk.rows("SELECT DISTINCT worker FROM letters")) < 2:
        desk.enqueue(*addresses(50, count))
        count += 50
        desk.until_finished(nexus)
    assert desk.rows("SELECT state, attempts, count(*) FROM jobs GROUP BY state, attempts") == [("done", 1, count)]
    texts = [text for (text,) in desk.rows("SELECT text FROM letters")]
    assert sorted(texts) == sorted(f"Dear n{number}, thank you. Yours, the shop" for number in range(count))


def test_a_job_that_fails_again_and_again_is_dead_with_its_error(served: tuple[Desk, Nexus]) -> None:
    desk, nexus = served
    desk.enqueue("nobody", "ann@example.com")
    desk.until_finished(nexus)
    assert desk.rows("SELECT state, attempts, error FROM jobs ORDER BY id") == [
        ("dead", 3, "nobody is no address"),
        ("done", 1, None),
    ]


def test_a_push_is_in_force_for_the_next_job(served: tuple[Desk, Nexus]) -> None:
    desk, nexus = served
    version = nexus.version
    desk.enqueue("ann@example.com")
    desk.until_finished(nexus)
    assert turn(desk, "Dear", "Hello", nexus).exit_code == 0
    desk.enqueue("bob@example.com")
    desk.until_finished(nexus)
    assert turn(desk, "Hello", "Dear", nexus).exit_code == 0
    assert desk.rows("SELECT text, version FROM letters ORDER BY job") == [
        ("Dear ann, thank you. Yours, the shop", version),
        ("Hello bob, thank you. Yours, the shop", version + 1),
    ]


def test_every_letter_is_written_with_one_version_whatever_is_pushed_meanwhile(served: tuple[Desk, Nexus]) -> None:
    desk, nexus = served
    edit(desk.knobs, "Dear", "G1")
    assert turn(desk, "Yours, the shop", "C1", nexus).exit_code == 0
    for number in range(1, 5):
        desk.enqueue(*addresses(60))  # what the workers are at while it is pushed
        edit(desk.knobs, f"G{number}", f"G{number + 1}")  # seen or not: what is pushed below has both
        assert turn(desk, f"C{number}", f"C{number + 1}", nexus).exit_code == 0
        desk.enqueue("ann@example.com")
        desk.until(nexus, f"EXISTS (SELECT 1 FROM letters WHERE version = {nexus.version})")
    desk.until_finished(nexus)
    edit(desk.knobs, "G5", "Dear")
    assert turn(desk, "C5", "Yours, the shop", nexus).exit_code == 0
    used = desk.rows("SELECT text, version FROM letters")
    by_version: dict[int, set[tuple[str, str]]] = {}
    for text, version in used:
        by_version.setdefault(version, set()).add((text.split()[0], text.split()[-1]))
    assert len(used) == 244
    assert len(by_version) >= 4
    assert all(len(pairs) == 1 for pairs in by_version.values())


# --- what starts, stops and kills ------------------------------------------------------------------------------------


def test_what_its_readme_shows_is_what_happens(desk: Desk) -> None:
    walk(EXAMPLES / desk.directory.name / "README.md", desk.directory)


def test_the_job_of_a_killed_worker_is_done_by_another_one(desk: Desk) -> None:
    edit(desk.knobs, "seconds_per_mail = 0.0", "seconds_per_mail = 50.0")
    edit(desk.knobs, "batch = 5", "batch = 1")
    desk.enqueue("ann@example.com")
    with running(desk.directory) as nexus:
        desk.until(nexus, "EXISTS (SELECT 1 FROM jobs WHERE state = 'claimed')")
        [(killed,)] = desk.rows("SELECT worker FROM jobs")
        os.kill(killed, signal.SIGKILL)
        nexus.until("worker_exited", pid=killed)
        assert turn(desk, "seconds_per_mail = 50.0", "seconds_per_mail = 0.0", nexus).exit_code == 0
        assert desk.rows("SELECT state, attempts FROM jobs") == [("claimed", 1)]
        past = "0" if desk.directory.name == "queue_sqlite" else "'epoch'"
        desk.rows(f"UPDATE jobs SET due = {past}")  # the lease ends
        desk.until_finished(nexus)
    [(state, attempts, by)] = desk.rows("SELECT state, attempts, letters.worker FROM jobs JOIN letters ON job = id")
    assert (state, attempts) == ("done", 2)
    assert by != killed


def test_an_end_in_the_middle_loses_nothing_and_leaves_nothing_claimed(desk: Desk) -> None:
    edit(desk.knobs, "seconds_per_mail = 0.0", "seconds_per_mail = 0.05")
    desk.enqueue(*addresses(60))
    with running(desk.directory) as nexus:
        desk.until(nexus, "EXISTS (SELECT 1 FROM letters)")
        assert nexus.stop() == 0
    states = dict(desk.rows("SELECT state, count(*) FROM jobs GROUP BY state"))
    assert states.keys() == {"waiting", "done"}
    edit(desk.knobs, "seconds_per_mail = 0.05", "seconds_per_mail = 0.0")
    with Nexus(desk.directory) as nexus:
        desk.until_finished(nexus)
    assert desk.rows("SELECT count(*), max(attempts) FROM jobs WHERE state = 'done'") == [(60, 1)]
    assert desk.rows("SELECT count(*) FROM letters") == [(60,)]


# --- PostgreSQL only -------------------------------------------------------------------------------------------------


def test_a_database_that_goes_and_comes_holds_jobs_up_and_loses_none(postgres: Database, tmp_path: Path) -> None:
    desk = in_postgres(postgres, copied("queue_postgres", tmp_path))
    with running(desk.directory) as nexus:
        desk.enqueue("ann@example.com")
        desk.until_finished(nexus)
        pids = {worker["pid"] for worker in nexus.workers().values()}
        postgres.server.stop()
        postgres.server.start()
        desk.enqueue("bob@example.com")
        desk.until_finished(nexus)
        assert {worker["pid"] for worker in nexus.workers().values()} == pids
        output = nexus.output
    assert desk.rows("SELECT count(*) FROM letters") == [(2,)]
    assert postgres.server.password not in output


def test_a_database_that_can_t_be_reached_is_refused_without_its_password(postgres: Database, tmp_path: Path) -> None:
    desk = in_postgres(postgres, copied("queue_postgres", tmp_path))
    with running(desk.directory) as nexus:
        (desk.directory / "dsn").write_text(postgres.server.dsn(postgres.name, "wrong-horse"))
        ended = nexus.push()
        assert (ended.exit_code, nexus.version) == (3, 1)
        (desk.directory / "dsn").write_text(postgres.dsn)
        desk.enqueue("ann@example.com")
        desk.until_finished(nexus)
        output = nexus.output
    assert "wrong-horse" not in output
    assert postgres.server.password not in output
