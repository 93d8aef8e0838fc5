from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING, Any

import pytest
from nexus_workers.gateway.retrieval import Search
from nexus_workers.gateway.storage import StorageLimits, UnavailableError

from tests.support.gateway import a_once, a_record
from tests.support.postgres import ROLE, a_storage, with_storage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from nexus_workers.gateway.postgres import PostgresStorage

    from tests.support.postgres import Database

UNREACHABLE = "it can't be reached"
READ_ONLY = "it takes no writes: it is a standby, or set to read only"
NO_RIGHTS = "the role of its dsn may not use or make its tables: grant the rights"
UNCONFIRMED = "it did not confirm the write in time, which may have been made or not"
LOST = "the connection to it was lost during the write, which may have been made or not"
NOT_OURS = "it has tables of the same names that are not ours: give it a database or schema of its own"
SHORT = StorageLimits(answer_timeout_seconds=0.3)


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever goes wrong: no word of psycopg, which names hosts and roles, is in the log."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert {record.name for record in caplog.records} <= {"nexus_workers.gateway.postgres", "asyncio"}
    assert ROLE not in caplog.text
    assert "host" not in caplog.text


async def told(asked: Awaitable[Any]) -> str:
    """What is said where something can't be done."""
    with pytest.raises(UnavailableError) as caught:
        await asked
    return str(caught.value)


async def everything(storage: PostgresStorage) -> set[str]:
    """What is said to a write, a query and a probe."""
    asked = storage.write(a_record(1), None), storage.search(Search(limit=1, max_bytes=1_000)), storage.probe()
    return {await told(one) for one in asked}


def reasons(database: Database, limits: StorageLimits | None = None, **options: Any) -> set[str]:
    return with_storage(database, everything, limits, **options)


def bodies(database: Database) -> list[tuple[str]]:
    return database.execute("SELECT body FROM memories ORDER BY id")


# --- the server goes and comes ---------------------------------------------------------------------------------------


def test_an_outage_is_told_at_once_and_ends_with_it(postgres: Database, caplog: pytest.LogCaptureFixture) -> None:
    async def use(storage: PostgresStorage) -> None:
        await storage.write(a_record(1), None)
        postgres.server.stop()
        assert await everything(storage) == await everything(storage) == {UNREACHABLE}
        postgres.server.start()
        await storage.probe()
        await storage.write(a_record(2), None)

    with_storage(postgres, use)
    assert len(bodies(postgres)) == 2
    assert [record.getMessage() for record in caplog.records if record.name.startswith("nexus_workers")] == [
        f"destination main takes no writes: {UNREACHABLE}",
        "destination main takes writes again",
    ]


def test_a_server_that_is_away_at_the_start_is_used_when_it_comes(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> None:
        assert await everything(storage) == {UNREACHABLE}
        postgres.server.start()
        await storage.write(a_record(1), None)

    postgres.server.stop()
    with_storage(postgres, use)
    assert len(bodies(postgres)) == 1


def test_a_restart_between_two_writes_is_not_noticed(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> None:
        await asyncio.gather(*(storage.write(a_record(number), None) for number in range(20)))
        postgres.server.stop()
        postgres.server.start()
        await asyncio.gather(*(storage.write(a_record(number), None) for number in range(20, 40)))

    with_storage(postgres, use)
    assert len(bodies(postgres)) == 40


def test_many_writes_that_wait_through_an_outage_are_all_told(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        writes = (storage.write(a_record(number), None) for number in range(100))
        return await asyncio.gather(*writes, return_exceptions=True)

    postgres.server.stop()
    assert {str(end) for end in with_storage(postgres, use)} == {UNREACHABLE}


# --- a write that nobody knows the end of ----------------------------------------------------------------------------


@pytest.mark.parametrize("once", [None, a_once()])
def test_a_connection_that_is_lost_in_a_write_leads_to_one_record(postgres: Database, once: Any) -> None:
    async def use(storage: PostgresStorage) -> str:
        await storage.write(a_record(1), None)
        with postgres.locked():
            write = asyncio.create_task(storage.write(a_record(2), once))
            await asyncio.to_thread(postgres.until_waiting, 1)
            postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")
            await asyncio.to_thread(postgres.until_waiting, 1)
        return await write

    assert with_storage(postgres, use) == a_record(2).id
    assert len(bodies(postgres)) == 2


@pytest.mark.parametrize("once", [None, a_once()])
def test_a_record_that_was_stored_unheard_is_not_stored_again(postgres: Database, once: Any) -> None:
    async def use(storage: PostgresStorage) -> list[str]:
        return [await storage.write(a_record(1), once) for _ in range(2)]

    assert with_storage(postgres, use) == [a_record(1).id] * 2
    assert len(bodies(postgres)) == 1


def test_a_server_that_dies_in_a_write_leaves_it_open_whether_it_was_made(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> str:
        await storage.write(a_record(1), None)
        with postgres.locked():
            write = asyncio.create_task(told(storage.write(a_record(2), None)))
            await asyncio.to_thread(postgres.until_waiting, 1)
            postgres.server.kill()
            return await write

    assert with_storage(postgres, use) == LOST


def test_a_server_that_stands_still_is_not_waited_for_longer_than_the_limit(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> None:
        await storage.write(a_record(1), None)
        patient, storage._limits = storage._limits, SHORT
        postgres.server.suspend()
        try:
            assert await told(storage.write(a_record(2), None)) == UNCONFIRMED
        finally:
            postgres.server.resume()
        storage._limits = patient
        await storage.write(a_record(3), None)

    with_storage(postgres, use)


def test_a_server_that_stands_still_does_not_hold_up_the_end(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> None:
        await storage.write(a_record(1), None)
        storage._limits = SHORT
        postgres.server.suspend()
        task = asyncio.create_task(storage.probe())
        await asyncio.sleep(0)
        task.cancel()

    try:
        with_storage(postgres, use)
    finally:
        gc.collect()  # an attempt to connect that was given up
        postgres.server.resume()


def test_a_lock_is_waited_for_within_a_limit_and_nothing_is_written_then(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> None:
        await storage.probe()
        with postgres.locked():
            assert await told(storage.write(a_record(2), None)) == "it did not finish in time"

    with_storage(postgres, use, StorageLimits(busy_timeout_seconds=1.0))
    assert bodies(postgres) == []


def test_a_write_that_gets_no_connection_in_time_is_certainly_not_made(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> None:
        await storage.probe()
        with postgres.locked():
            first = asyncio.create_task(storage.write(a_record(1), None))
            await asyncio.to_thread(postgres.until_waiting, 1)
            second = await told(storage.write(a_record(2), None))
        assert second == "all its connections are in use"
        await first

    limits = StorageLimits(busy_timeout_seconds=20.0, answer_timeout_seconds=22.0)
    with_storage(postgres, use, limits, pool_size=1)
    assert len(bodies(postgres)) == 1


# --- what a server may refuse ----------------------------------------------------------------------------------------


def test_a_wrong_password_is_told_without_it(postgres: Database) -> None:
    dsn = postgres.server.dsn(postgres.name, "wrong-horse")
    assert reasons(postgres, dsn=dsn) == {"it refuses the role or the password of its dsn"}


def test_a_missing_database_is_told(postgres: Database) -> None:
    assert reasons(postgres, dsn=postgres.server.dsn("absent")) == {"it has no database of the name in its dsn"}


def test_a_role_without_rights_is_told(postgres: Database) -> None:
    postgres.execute("ALTER SCHEMA public OWNER TO owner")
    postgres.execute(f"ALTER DATABASE {postgres.name} OWNER TO owner")
    assert reasons(postgres) == {NO_RIGHTS}


def test_a_server_that_takes_no_writes_is_told_and_answers_queries(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        assert await told(storage.write(a_record(2), None)) == await told(storage.probe()) == READ_ONLY
        return await storage.search(Search(limit=1, max_bytes=1_000))

    with_storage(postgres, lambda storage: storage.write(a_record(1), None))
    postgres.execute(f"ALTER DATABASE {postgres.name} SET default_transaction_read_only = on")
    assert len(with_storage(postgres, use).items) == 1


def test_too_many_connections_are_told(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        await storage.probe()
        other = a_storage(postgres)
        other.start()
        try:
            return await everything(other)
        finally:
            await other.close()

    postgres.server.execute(f"ALTER DATABASE {postgres.name} CONNECTION LIMIT 1")
    assert with_storage(postgres, use) == {"it has too many connections"}


def test_a_pool_that_may_not_grow_does_its_work_with_what_it_has(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        return await asyncio.gather(*(storage.write(a_record(number), None) for number in range(100)))

    postgres.server.execute(f"ALTER DATABASE {postgres.name} CONNECTION LIMIT 1")
    assert len(with_storage(postgres, use)) == len(bodies(postgres)) == 100


def test_a_database_in_another_encoding_is_told(postgres: Database) -> None:
    name = f"{postgres.name}_ascii"
    postgres.execute(f"CREATE DATABASE {name} OWNER {ROLE} ENCODING 'SQL_ASCII' TEMPLATE template0")
    try:
        told_reasons = reasons(postgres, dsn=postgres.server.dsn(name))
    finally:
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert told_reasons == {"its database is not in UTF-8: make one with ENCODING 'UTF8'"}


# --- the schema ------------------------------------------------------------------------------------------------------


def test_many_workers_make_the_schema_at_once(postgres: Database) -> None:
    async def race() -> None:
        storages = [a_storage(postgres) for _ in range(8)]
        for storage in storages:
            storage.start()
        await asyncio.gather(*(storage.write(a_record(number), None) for number, storage in enumerate(storages)))
        for storage in storages:
            await storage.close()

    asyncio.run(race())
    assert len(bodies(postgres)) == 8
    assert postgres.execute("SELECT version FROM nexus_schema") == [(1,)]


def test_a_schema_of_a_newer_program_is_left_alone(postgres: Database) -> None:
    with_storage(postgres, lambda storage: storage.probe())
    postgres.execute("UPDATE nexus_schema SET version = 7")
    assert reasons(postgres) == {"its database has schema version 7, and this program knows 1"}


def test_tables_of_somebody_else_are_left_alone(postgres: Database) -> None:
    postgres.execute("CREATE TABLE memories (n integer)")
    assert reasons(postgres) == {NOT_OURS}
    assert postgres.execute("SELECT to_regclass('idempotency') IS NULL") == [(True,)]


def test_tables_that_went_away_are_told_and_made_again_by_the_next_write(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> None:
        await storage.write(a_record(1), None)
        postgres.execute("DROP TABLE memories, idempotency, nexus_schema")
        assert await told(storage.probe()) == "its tables are gone"
        await storage.write(a_record(2), None)
        await storage.probe()

    with_storage(postgres, use)
    assert len(bodies(postgres)) == 1


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told_reason"),
    [
        ("FATAL:  the database system is starting up", "it is starting or stopping"),
        ("FATAL:  the database system is in recovery mode", "it is starting or stopping"),
        ("FATAL:  sorry, too many clients already", "it has too many connections"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', "it refuses the role or the password of its dsn"),
        ('FATAL:  role "nexus" does not exist', "it refuses the role or the password of its dsn"),
        ('missing "=" after "wrong-horse" in connection info string', UNREACHABLE),
        ("connection timeout expired", UNREACHABLE),
    ],
)
def test_a_connection_that_was_refused_is_told_in_our_words(text: str, told_reason: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    from nexus_workers.gateway.postgres_errors import reason_of

    assert reason_of(psycopg.OperationalError(text)) == told_reason


def test_an_error_that_has_no_words_is_told_by_its_state() -> None:
    psycopg = pytest.importorskip("psycopg")
    from nexus_workers.gateway.postgres_errors import reason_of

    assert reason_of(psycopg.errors.lookup("22012")("secret")) == "it reports an error (SQLSTATE 22012)"
