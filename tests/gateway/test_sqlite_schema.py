"""A file of schema version 1, as the version before made it, and what becomes of it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from nexus_workers.gateway.sqlite_schema import SCHEMA_VERSION, prepare
from nexus_workers.gateway.sqlite_storage import SqliteStorage
from nexus_workers.gateway.storage import StorageLimits, UnavailableError

from tests.support.gateway import a_once, a_record, make_first_schema, rows

if TYPE_CHECKING:
    from pathlib import Path

INSERT = "INSERT INTO memories (id, source, namespace, created_at, tier, profile, actor_type, actor_id, body) VALUES "
ROW = "(?, 'old', 'old', '2026-01-01T00:00:00.000Z', 1, 'balanced', 'user', '', '{}')"
PATIENT = StorageLimits(busy_timeout_seconds=60, answer_timeout_seconds=60)


def schema_of(path: Path) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        names = connection.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
        return version, [name for (name,) in names]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = make_first_schema(tmp_path / "main.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(INSERT + ROW, ("first",))
    return path


def prepared(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        prepare(connection)


def test_an_old_file_and_a_new_one_end_with_the_same_schema(old: Path, tmp_path: Path) -> None:
    prepared(old)
    prepared(tmp_path / "new.db")
    names = ["idempotency", "idempotency_by_end", "memories", "memories_by_namespace"]
    assert schema_of(old) == schema_of(tmp_path / "new.db") == (2, names)
    assert [row["id"] for row in rows(old)] == ["first"]


def test_to_prepare_a_file_again_changes_nothing(old: Path) -> None:
    prepared(old)
    before = old.read_bytes()
    prepared(old)
    assert old.read_bytes() == before


def test_workers_that_come_at_once_all_find_the_file_prepared(old: Path) -> None:
    async def serve() -> list[str]:
        storages = [SqliteStorage(str(number), old, PATIENT) for number in range(8)]
        for storage in storages:
            storage.start()
        writes = [storage.write(a_record(number), a_once()) for number, storage in enumerate(storages)]
        searches = [storage.probe() for storage in storages]
        try:
            stored, *_ = await asyncio.gather(asyncio.gather(*writes), *searches)
        finally:
            await asyncio.gather(*(storage.close() for storage in storages))
        return stored

    assert len({*asyncio.run(serve())}) == 1
    assert schema_of(old)[0] == SCHEMA_VERSION
    assert len(rows(old)) == 2


def test_a_worker_of_the_version_before_goes_on_writing_through_the_change(old: Path) -> None:
    changed = threading.Event()

    def change() -> None:
        prepared(old)
        changed.set()

    with closing(sqlite3.connect(old, timeout=60, isolation_level=None)) as worker:
        worker.execute(INSERT + ROW, ("before",))
        thread = threading.Thread(target=change)
        thread.start()
        count = 0
        while not changed.wait(0.002):  # a busy worker, not one that never lets go of the lock
            worker.execute("BEGIN IMMEDIATE")
            worker.execute(INSERT + ROW, (f"meanwhile {count}",))
            worker.execute("COMMIT")
            count += 1
        thread.join()
        worker.execute(INSERT + ROW, ("after",))
    assert schema_of(old)[0] == SCHEMA_VERSION
    assert len(rows(old)) == count + 3
    with closing(sqlite3.connect(old)) as connection:
        indexed = "SELECT count(*) FROM memories INDEXED BY memories_by_namespace WHERE namespace = 'old'"
        assert connection.execute(indexed).fetchone() == (count + 3,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 7, -1])
def test_a_file_of_another_program_is_left_alone(tmp_path: Path, version: int) -> None:
    path = tmp_path / "main.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(UnavailableError, match=f"schema version {version}, and this program knows {SCHEMA_VERSION}"):
        prepared(path)
    assert schema_of(path) == (version, [])
