from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from nexus_workers.gateway import sqlite_statements
from nexus_workers.gateway.sqlite_file import SqliteFile
from nexus_workers.gateway.sqlite_writer import SqliteWriter
from nexus_workers.gateway.storage import ReusedKeyError, StorageLimits, UnavailableError

from tests.support.gateway import QUICK, a_once, a_record, rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def with_writer(path: str, use: Callable[[SqliteWriter], Awaitable[Any]], limits: StorageLimits = QUICK) -> Any:
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


def reason_of(path: str, limits: StorageLimits = QUICK) -> Any:
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
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


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

    with_writer(path, use, StorageLimits(busy_timeout_seconds=30))
    assert len(rows(path)) == 99


def test_more_than_may_wait_is_refused_at_once(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        writes = [asyncio.create_task(writer.write(a_record(number))) for number in range(5)]
        ends = await asyncio.gather(*writes, return_exceptions=True)
        return [str(end) for end in ends if isinstance(end, UnavailableError)]

    path = tmp_path / "main.db"
    reasons = with_writer(path, use, StorageLimits(waiting_records=3))
    assert reasons == ["too many writes wait for it"] * 2
    assert len(rows(path)) == 3


def test_more_bytes_than_may_wait_are_refused_but_never_a_single_record(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        writes = [asyncio.create_task(writer.write(a_record(number))) for number in range(3)]
        ends = await asyncio.gather(*writes, return_exceptions=True)
        return [str(end) for end in ends if isinstance(end, UnavailableError)]

    assert with_writer(tmp_path / "main.db", use, StorageLimits(waiting_bytes=1)) == ["too many writes wait for it"] * 2


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
    assert reason_of(path) == "its file has schema version 7, and this program knows 2"


def test_a_locked_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "main.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        assert reason_of(path) == "it is locked by somebody else"


def test_a_write_that_is_not_confirmed_in_time_is_not_claimed(tmp_path: Path) -> None:
    assert "did not confirm" in reason_of(tmp_path / "main.db", StorageLimits(answer_timeout_seconds=0))


def test_a_deleted_file_is_noticed_and_made_again(tmp_path: Path) -> None:
    path = tmp_path / "main.db"

    async def use(writer: SqliteWriter) -> Any:
        await writer.write(a_record(1))
        empty(tmp_path)
        await writer.write(a_record(2))
        return rows(path)

    assert [row["body"] for row in with_writer(path, use)] == ['{"n": 2}']


def test_a_file_that_is_replaced_while_it_is_opened_is_noticed_by_the_next_use(tmp_path: Path) -> None:
    class Unlucky(SqliteFile):
        def _connect_patiently(self) -> sqlite3.Connection:
            connection = super()._connect_patiently()
            if not seen:
                empty(tmp_path)
                (tmp_path / "main.db").touch()
            return connection

    seen: list[int] = []
    file = Unlucky(tmp_path / "main.db", 1.0)
    for number in (1, 2):
        with file.connected() as connection:
            sqlite_statements.store(connection, [(a_record(number), None)], 1)
        seen.append(number)
    file.close()
    assert [row["body"] for row in rows(tmp_path / "main.db")] == ['{"n": 2}']


def test_the_log_tells_once_that_writes_fail_and_once_that_they_succeed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "main.db"

    async def use(writer: SqliteWriter) -> None:
        await writer.write(a_record(1))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in (2, 3):
                with pytest.raises(UnavailableError):
                    await writer.write(a_record(number))
                await writer.probe()  # the file can be opened, which says nothing about writes
        await writer.write(a_record(4))

    with_writer(path, use)
    assert caplog.messages == [
        "destination main takes no writes: it is locked by somebody else",
        "destination main takes writes again",
    ]


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


def remembered(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT source, key FROM idempotency ORDER BY source, key").fetchall()


def test_a_repeated_key_gives_the_first_id_and_writes_nothing(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        return [await writer.write(a_record(number), a_once(now_ms=number)) for number in (1, 2)]

    path = tmp_path / "main.db"
    first, second = with_writer(path, use)
    assert first == second == a_record(1).id
    assert [row["id"] for row in rows(path)] == [first]


def test_a_key_that_comes_twice_in_one_transaction_is_one_record(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        return await asyncio.gather(*(writer.write(a_record(number), a_once()) for number in range(20)))

    path = tmp_path / "main.db"
    assert len({*with_writer(path, use)}) == 1
    assert len(rows(path)) == 1


def test_a_key_is_known_after_the_writer_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "main.db"

    def write(number: int) -> Any:
        return with_writer(path, lambda writer: writer.write(a_record(number), a_once(now_ms=number)))

    assert write(1) == write(2) == a_record(1).id


def test_the_same_key_of_another_source_is_another_record(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        return {await writer.write(a_record(n), a_once(source=name)) for n, name in enumerate("ab")}

    assert len(with_writer(tmp_path / "main.db", use)) == 2


def test_a_key_with_another_body_is_refused_and_the_others_of_its_transaction_are_written(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        await writer.write(a_record(0), a_once())
        writes = [
            writer.write(a_record(1), a_once(body=b'{"other":1}')),
            writer.write(a_record(2), a_once("other")),
            writer.write(a_record(3), None),
        ]
        return await asyncio.gather(*writes, return_exceptions=True)

    path = tmp_path / "main.db"
    refused, *written = with_writer(path, use)
    assert isinstance(refused, ReusedKeyError)
    assert written == [a_record(2).id, a_record(3).id]
    assert [row["id"] for row in rows(path)] == [a_record(number).id for number in (0, 2, 3)]


def test_a_key_may_be_used_anew_when_its_window_is_over(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        moments = {1: 0, 2: 9_999, 3: 10_000}
        return [await writer.write(a_record(n), a_once(now_ms=at, window=10)) for n, at in moments.items()]

    first, within, after = with_writer(tmp_path / "main.db", use)
    assert first == within == a_record(1).id
    assert after == a_record(3).id


def test_expired_keys_are_removed_in_steps(tmp_path: Path) -> None:
    path = tmp_path / "main.db"

    async def use(writer: SqliteWriter) -> Any:
        for number in range(10):
            await writer.write(a_record(number), a_once(f"old-{number}", now_ms=number, window=1))
        left = []
        for number in range(10, 13):
            await writer.write(a_record(number), a_once(f"new-{number}", now_ms=60_000))
            left.append([key for _, key in remembered(path) if key.startswith("old")])
        return left

    first, second, third = with_writer(path, use, StorageLimits(forgotten_keys=4))
    assert first == [f"old-{number}" for number in range(4, 10)]
    assert (second, third) == (["old-8", "old-9"], [])


def test_a_key_is_not_remembered_where_its_record_could_not_be_stored(tmp_path: Path) -> None:
    async def use(writer: SqliteWriter) -> Any:
        await writer.write(a_record(1), None)
        with pytest.raises(UnavailableError):
            await writer.write(a_record(1), a_once())
        return await writer.write(a_record(2), a_once())

    path = tmp_path / "main.db"
    assert with_writer(path, use) == a_record(2).id
    assert remembered(path) == [("a", "k")]
