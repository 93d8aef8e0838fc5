from __future__ import annotations

import asyncio
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import pytest
from nexus_workers.gateway.retrieval import Search
from nexus_workers.gateway.sqlite_storage import SqliteStorage
from nexus_workers.gateway.storage import ReusedKeyError, StorageLimits, UnavailableError

from tests.support.gateway import a_once, a_record
from tests.support.postgres import ROLE, a_storage, with_storage

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_workers.gateway.postgres import PostgresStorage
    from nexus_workers.gateway.storage import Storage

    from tests.support.postgres import Database

LARGE = "x" * 100_000
COLUMNS = ("id", "source", "namespace", "created_at", "tier", "profile", "actor_type", "actor_id")


def stored_bodies(database: Database) -> list[str]:
    return [body for (body,) in database.execute("SELECT body FROM memories ORDER BY id")]


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_record_is_stored_as_it_is(postgres: Database) -> None:
    record = a_record(7, namespace="n", actor_id="ann", body='{"price":1.10,"text":"\\u0000 Wörld %s"}')

    async def use(storage: PostgresStorage) -> str:
        return await storage.write(record, None)

    assert with_storage(postgres, use) == record.id
    assert postgres.execute("SELECT * FROM memories") == [astuple(record)]


def test_more_writes_at_once_than_connections_are_all_stored(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        await asyncio.gather(*(storage.write(a_record(number), None) for number in range(200)))
        return await asyncio.to_thread(postgres.connections)

    assert with_storage(postgres, use, pool_size=2) == 2
    assert postgres.execute("SELECT count(*) FROM memories") == [(200,)]


def test_more_writes_than_may_wait_are_refused_at_once(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        writes = (storage.write(a_record(number), None) for number in range(5))
        return [str(end) for end in await asyncio.gather(*writes, return_exceptions=True) if not isinstance(end, str)]

    assert with_storage(postgres, use, StorageLimits(waiting_records=3)) == ["too many writes wait for it"] * 2
    assert with_storage(postgres, use, StorageLimits(waiting_bytes=1)) == ["too many writes wait for it"] * 4


def test_a_request_that_is_cut_off_leaves_its_write_and_nothing_else(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        task = asyncio.create_task(storage.write(a_record(1), None))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    with_storage(postgres, use)
    assert stored_bodies(postgres) == ['{"n": 1}']


def test_what_waits_at_the_end_is_written(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        writes = [asyncio.create_task(storage.write(a_record(number), None)) for number in range(100)]
        await asyncio.sleep(0)
        return writes

    with_storage(postgres, use)
    assert len(stored_bodies(postgres)) == 100


def test_a_record_that_was_confirmed_survives_the_death_of_the_server(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> str:
        stored_id = await storage.write(a_record(1), None)
        postgres.server.kill()
        postgres.server.start()
        return stored_id

    stored_id = with_storage(postgres, use)
    assert postgres.execute("SELECT id FROM memories") == [(stored_id,)]


def test_a_session_waits_for_the_disk_whatever_the_server_does_by_default(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        async with storage._connections.connection() as connection:
            return await (await connection.execute("SHOW synchronous_commit")).fetchone()

    assert postgres.execute("SHOW synchronous_commit") == [("off",)]
    assert with_storage(postgres, use) == ("on",)
    postgres.execute(f"ALTER DATABASE {postgres.name} SET synchronous_commit = remote_apply")
    assert with_storage(postgres, use) == ("remote_apply",)


# --- idempotency -----------------------------------------------------------------------------------------------------


def test_a_repeated_key_gives_the_first_id_and_stores_nothing(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        first = await storage.write(a_record(1), a_once())
        again = await storage.write(a_record(2), a_once(now_ms=299_999))
        other_source = await storage.write(a_record(3), a_once(source="b"))
        with pytest.raises(ReusedKeyError):
            await storage.write(a_record(4), a_once(body=b"another"))
        return [first, again, other_source]

    ids = with_storage(postgres, use)
    assert ids == [a_record(1).id, a_record(1).id, a_record(3).id]
    assert stored_bodies(postgres) == ['{"n": 1}', '{"n": 3}']


def test_a_key_may_be_used_anew_after_its_window(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        await storage.write(a_record(1), a_once())
        return await storage.write(a_record(2), a_once(now_ms=300_000, body=b"another"))

    assert with_storage(postgres, use) == a_record(2).id
    assert stored_bodies(postgres) == ['{"n": 1}', '{"n": 2}']


def test_one_key_at_several_workers_at_once_is_one_record(postgres: Database) -> None:
    async def race() -> set[str]:
        storages = [a_storage(postgres) for _ in range(3)]
        for storage in storages:
            storage.start()
        writes = (storages[number % 3].write(a_record(number), a_once()) for number in range(60))
        ids = set(await asyncio.gather(*writes))
        for storage in storages:
            await storage.close()
        return ids

    ids = asyncio.run(race())
    assert len(ids) == 1
    assert postgres.execute("SELECT id FROM memories") == [(ids.pop(),)]


def test_keys_whose_window_has_ended_are_forgotten(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> None:
        for number in range(100):
            await storage.write(a_record(number), a_once(f"key-{number}", now_ms=number * 1_000, window=1))

    with_storage(postgres, use)
    assert postgres.execute("SELECT count(*) < 64 FROM idempotency") == [(True,)]
    assert len(stored_bodies(postgres)) == 100


# --- queries ---------------------------------------------------------------------------------------------------------

RECORDS = [
    a_record(1, body={"text": "Straße und STRASSE", "labels": ["secret"]}),
    a_record(2, body={"text": "the Kelvin sign: 300 K", "price": 1.10}),
    a_record(3, body={"text": "100% of a_b\\c 'quoted' \"twice\"", "deep": [{"of": "needle"}]}),
    a_record(4, namespace="b", tier=3, profile="fast", body={"text": "Needle Привет"}),
    a_record(5, namespace="c", body={"text": f"needle {LARGE}", "classification": "public"}),
    *(a_record(number, body={"text": f"filler {number}", "labels": ["fine"]}) for number in range(6, 400)),
    a_record(400, body={"text": f"needle {LARGE}"}),
    a_record(401, namespace="b", body={"text": "new needle"}),
]
WORDS = (
    (),
    ("needle",),
    ("strasse",),
    ("300", "k"),
    ("100%",),
    ("a_b\\c",),
    ("'quoted'",),
    ("привет",),
    ("1.1",),
    ("no",),
)
SEARCHES = [
    *({"words": words} for words in WORDS),
    {"limit": 1_000},
    {"limit": 1},
    {"max_bytes": 2_000},
    {"namespaces": ("b",)},
    {"namespaces": ("b", "c"), "words": ("needle",)},
    {"namespaces": ()},
    {"top_tier": 2, "namespaces": ("b", "a")},
    {"profiles": ("fast",)},
    {"blocked_labels": frozenset({"fine"})},
    {"required_labels": frozenset({"secret"})},
    {"classifications": frozenset({"public"}), "default_classification": "internal"},
    {"words": ("needle",), "include_fields": frozenset({"deep"})},
    {"strip_metadata": True, "limit": 2},
]


def test_a_query_finds_the_same_in_postgresql_and_in_sqlite(postgres: Database, tmp_path: Path) -> None:
    searches = [Search(**{"limit": 20, "max_bytes": 10_000_000, **wanted}) for wanted in SEARCHES]

    async def found_in(storage: Storage) -> Any:
        storage.start()
        for record in RECORDS:
            await storage.write(record, None)
        found = [await storage.search(wanted) for wanted in searches]
        await storage.close()
        return found

    in_sqlite = asyncio.run(found_in(SqliteStorage("main", tmp_path / "main.db", StorageLimits())))
    in_postgres = asyncio.run(found_in(a_storage(postgres)))
    assert in_postgres == in_sqlite
    assert sum(bool(found.items) for found in in_sqlite) >= len(searches) - 3


def test_a_query_whose_time_is_over_shows_what_it_has_and_leaves_a_connection_that_works(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        for number in range(6):
            await storage.write(a_record(number), None)
        stop_at(a_record(0).id)
        found = await storage.search(Search(limit=10, max_bytes=10_000, strip_metadata=True))
        await storage.probe()
        return found

    def stop_at(record_id: str) -> None:
        """Let the database stand still when it comes to this record."""
        body = f"CASE WHEN id = '{record_id}' THEN stall() ELSE body END AS body"
        postgres.execute("CREATE FUNCTION stall() RETURNS text STABLE AS 'SELECT pg_sleep(600)::text' LANGUAGE sql")
        postgres.execute("ALTER TABLE memories RENAME TO rows")
        postgres.execute(f"CREATE VIEW memories AS SELECT {', '.join(COLUMNS)}, {body} FROM rows")
        postgres.execute(f"GRANT SELECT ON memories TO {ROLE}")

    for way in ("seqscan", "sort", "bitmapscan"):
        postgres.execute(f"ALTER DATABASE {postgres.name} SET enable_{way} = off")
    found = with_storage(postgres, use, StorageLimits(query_timeout_seconds=0.5), pool_size=1)
    assert found.truncated
    assert found.items == tuple(b'{"body":{"n":%d}}' % number for number in (5, 4, 3, 2))


def test_a_query_that_can_t_begin_in_time_is_ended_by_the_database(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> str:
        await storage.write(a_record(1), None)
        with postgres.locked(), pytest.raises(UnavailableError) as caught:
            await storage.search(Search(limit=1, max_bytes=1_000))
        return str(caught.value)

    limits = StorageLimits(query_timeout_seconds=0.05)
    assert with_storage(postgres, use, limits) == "it did not answer the query in time"


def test_queries_leave_a_connection_to_everything_else(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        await storage.write(a_record(1), None)
        with postgres.locked():
            queries = [asyncio.create_task(storage.search(Search(limit=1, max_bytes=1_000))) for _ in range(9)]
            await asyncio.to_thread(postgres.until_waiting, 2)
            await storage.probe()
        return await asyncio.gather(*queries)

    assert all(found.items for found in with_storage(postgres, use, pool_size=3))


def test_more_queries_than_may_wait_are_refused_at_once(postgres: Database) -> None:
    async def use(storage: PostgresStorage) -> Any:
        queries = (storage.search(Search(limit=1, max_bytes=1_000)) for _ in range(3))
        ends = await asyncio.gather(*queries, return_exceptions=True)
        return [str(end) for end in ends if isinstance(end, UnavailableError)]

    assert with_storage(postgres, use, StorageLimits(waiting_queries=2)) == ["too many queries wait for it"]
