from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from nexus_workers.gateway.records import record
from nexus_workers.gateway.sqlite_file import UnavailableError
from nexus_workers.gateway.sqlite_writer import SqliteWriter, WriterLimits

from tests.support.gateway import QUICK, a_source, rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def a_record(number: int = 0) -> Any:
    return record(a_source("a"), {"n": number}, now_ms=number, random=number.to_bytes(10, "big"))


def with_writer(path: str, use: Callable[[SqliteWriter], Awaitable[Any]], limits: WriterLimits = QUICK) -> Any:
    async def serve() -> Any:
        writer = SqliteWriter("main", path, limits)
        writer.start()
        try:
            return await use(writer)
        finally:
            await writer.close()

    return asyncio.run(serve())


def empty(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


def reason_of(path: str, limits: WriterLimits = QUICK) -> Any:
    async def use(writer: SqliteWriter) -> Any:
        with pytest.raises(UnavailableError) as caught:
            await writer.write(a_record())
        return str(caught.value)

    return with_writer(path, use, limits)


def test_the_file_is_made_in_wal_mode_with_full_synchronization(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        await writer.probe()
        return writer._file._connection

    path = tmp_path / "main.db"
    with_writer(path, use)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_what_waits_together_is_committed_together(tmp_path: Path) -> None:
    path = tmp_path / "main.db"

    async def use(writer: SqliteWriter) -> None:
        await writer.probe()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            first = asyncio.create_task(writer.write(a_record(1)))
            others = [asyncio.create_task(writer.write(a_record(number))) for number in range(2, 100)]
            await asyncio.sleep(0)
            other.execute("ROLLBACK")
        await asyncio.gather(first, *others)

    with_writer(path, use, WriterLimits(busy_timeout_seconds=30))
    assert len(rows(path)) == 99


def test_more_than_may_wait_is_refused_at_once(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        writes = [asyncio.create_task(writer.write(a_record(number))) for number in range(5)]
        ends = await asyncio.gather(*writes, return_exceptions=True)
        return [str(end) for end in ends if isinstance(end, UnavailableError)]

    path = tmp_path / "main.db"
    reasons = with_writer(path, use, WriterLimits(waiting_records=3))
    assert reasons == ["too many writes wait for it"] * 2
    assert len(rows(path)) == 3


def test_more_bytes_than_may_wait_are_refused_but_never_a_single_record(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        writes = [asyncio.create_task(writer.write(a_record(number))) for number in range(3)]
        return [str(end) for end in await asyncio.gather(*writes, return_exceptions=True) if end is not None]

    assert with_writer(tmp_path / "main.db", use, WriterLimits(waiting_bytes=1)) == ["too many writes wait for it"] * 2


def test_what_waits_at_the_end_is_written(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        writes = [asyncio.create_task(writer.write(a_record(number))) for number in range(600)]
        await asyncio.sleep(0)
        return writes

    path = tmp_path / "main.db"
    with_writer(path, use)
    assert len(rows(path)) == 600


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "absent" / "main.db") == "the directory of its db_path does not exist: make it"


def test_a_directory_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "main.db").mkdir()
    assert reason_of(tmp_path / "main.db") == "it can't be opened"


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "main.db"
    path.write_bytes(b"not a database at all" * 100)
    assert reason_of(path) == "it is not a SQLite database"
    assert path.read_bytes() == b"not a database at all" * 100


def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "main.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    assert reason_of(path) == "its file has schema version 7, and this program knows 1"


def test_a_locked_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "main.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        assert reason_of(path) == "it is locked by somebody else"


def test_a_write_that_is_not_confirmed_in_time_is_not_claimed(tmp_path: Path) -> None:
    assert "did not confirm" in reason_of(tmp_path / "main.db", WriterLimits(answer_timeout_seconds=0))


def test_a_deleted_file_is_noticed_and_made_again(tmp_path: Path) -> None:
    path = tmp_path / "main.db"

    async def use(writer: SqliteWriter) -> Any:
        await writer.write(a_record(1))
        empty(tmp_path)
        await writer.write(a_record(2))
        return rows(path)

    assert [row["body"] for row in with_writer(path, use)] == ['{"n":2}']


def test_after_trouble_the_next_write_is_a_fresh_try(tmp_path: Path) -> None:
    directory = tmp_path / "late"

    async def use(writer: SqliteWriter) -> None:
        with pytest.raises(UnavailableError):
            await writer.write(a_record(1))
        directory.mkdir()
        await writer.write(a_record(2))

    with_writer(directory / "main.db", use)
    assert len(rows(directory / "main.db")) == 1


def test_a_request_that_is_cancelled_takes_its_place_in_the_queue_with_it(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        task = asyncio.create_task(writer.write(a_record(1)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await writer.probe()
        return writer._waiting_records, writer._waiting_bytes

    assert with_writer(tmp_path / "main.db", use) == (0, 0)
