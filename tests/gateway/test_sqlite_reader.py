from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nexus_workers.gateway import sqlite_statements
from nexus_workers.gateway.retrieval import Search, Sieve, folded
from nexus_workers.gateway.sqlite_schema import prepare
from nexus_workers.gateway.sqlite_statements import newest_first, store
from nexus_workers.gateway.sqlite_storage import SqliteStorage
from nexus_workers.gateway.storage import StorageLimits, UnavailableError

from tests.support.gateway import QUICK, a_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from nexus_workers.gateway.records import Record


def wanted(**conditions: Any) -> Search:
    return Search(**{"limit": 100, "max_bytes": 1_000_000} | conditions)


def with_storage(path: Path, use: Callable[[SqliteStorage], Awaitable[Any]], limits: StorageLimits = QUICK) -> Any:
    async def serve() -> Any:
        storage = SqliteStorage("main", path, limits)
        storage.start()
        try:
            return await use(storage)
        finally:
            await storage.close()

    return asyncio.run(serve())


def a_file(path: Path, *records: Record) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare(connection)
        store(connection, [(record, None) for record in records], 1)
    return path


def found_in(path: Path, limits: StorageLimits = QUICK, **conditions: Any) -> Any:
    found = with_storage(path, lambda storage: storage.search(wanted(**conditions)), limits)
    return [json.loads(item) for item in found.items]


def reason_of(path: Path, limits: StorageLimits = QUICK) -> str:
    with pytest.raises(UnavailableError) as caught:
        found_in(path, limits)
    return str(caught.value)


def test_records_come_newest_first_from_one_namespace_from_some_and_from_all(tmp_path: Path) -> None:
    path = a_file(tmp_path / "main.db", *(a_record(n, namespace="abc"[n % 3]) for n in range(9)))

    def numbers(**conditions: Any) -> list[int]:
        return [item["body"]["n"] for item in found_in(path, **conditions)]

    assert numbers() == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert numbers(namespaces=("b",)) == [7, 4, 1]
    assert numbers(namespaces=("c", "a")) == [8, 6, 5, 3, 2, 0]
    assert numbers(namespaces=("c", "absent", "a"), limit=3) == [8, 6, 5]
    assert numbers(namespaces=(*(f"n{n}" for n in range(1_000)), "a"), limit=2) == [6, 3]


def test_a_query_finds_what_was_written_through_the_same_storage(tmp_path: Path) -> None:
    async def use(storage: SqliteStorage) -> Any:
        before = await storage.search(wanted())
        await storage.write(a_record(1), None)
        return before.items, len((await storage.search(wanted())).items)

    assert with_storage(tmp_path / "main.db", use) == ((), 1)


def test_a_query_is_answered_while_somebody_else_writes(tmp_path: Path) -> None:
    path = a_file(tmp_path / "main.db", a_record())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM memories")
        assert len(found_in(path)) == 1


def test_a_query_leaves_nothing_open_so_that_the_log_can_shrink(tmp_path: Path) -> None:
    async def use(storage: SqliteStorage) -> Any:
        for number in range(3):
            await storage.write(a_record(number), None)
        await storage.search(wanted(limit=1))
        await storage.search(wanted(limit=1, namespaces=("a", "b")))
        with closing(sqlite3.connect(tmp_path / "main.db", isolation_level=None)) as other:
            return other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert with_storage(tmp_path / "main.db", use) == (0, 0, 0)


def test_nothing_is_sorted_and_no_row_is_read_that_is_not_wanted(tmp_path: Path) -> None:
    path = a_file(tmp_path / "main.db", a_record())
    plans = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for namespaces in (None, ("a", "b")):
            statements: list[str] = []
            connection.set_trace_callback(statements.append)
            search = wanted(namespaces=namespaces, words=("x",), profiles=("p", "q"))
            with newest_first(connection, search) as records:
                list(records)
            connection.set_trace_callback(None)
            plans += [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statements[-1]}")]
    assert [plan.partition("USING ")[2] for plan in plans] == [
        "INDEX sqlite_autoindex_memories_1",
        "INDEX memories_by_namespace (namespace=?)",
    ]


def test_more_queries_than_may_wait_are_refused_at_once(tmp_path: Path) -> None:
    async def use(storage: SqliteStorage) -> Any:
        ends = await asyncio.gather(*(storage.search(wanted()) for _ in range(5)), return_exceptions=True)
        after = await storage.search(wanted())
        return [str(end) for end in ends if isinstance(end, UnavailableError)], after.truncated

    path = a_file(tmp_path / "main.db")
    assert with_storage(path, use, StorageLimits(waiting_queries=3)) == (["too many queries wait for it"] * 2, False)


def test_a_query_that_waits_too_long_is_given_up(tmp_path: Path) -> None:
    path = a_file(tmp_path / "main.db")
    assert reason_of(path, StorageLimits(answer_timeout_seconds=0)) == "it did not answer the query in time"


@pytest.mark.parametrize("words", [(), ("absent",)])
def test_a_query_that_runs_too_long_ends_with_what_it_has_and_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = a_file(tmp_path / "main.db", *(a_record(n, body={"content": "x" * 100}) for n in range(2_000)))
    limits = StorageLimits(query_timeout_seconds=-1)

    found = with_storage(path, lambda storage: storage.search(wanted(words=words)), limits)
    assert (found.items, found.truncated) == ((), True)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b"not a database at all" * 100), "it is not a SQLite database"),
        (lambda path: path.mkdir(), "it can't be opened"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: Callable[[Path], Any], reason: str) -> None:
    make(tmp_path / "main.db")
    assert reason_of(tmp_path / "main.db") == reason


def test_a_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    path = a_file(tmp_path / "main.db", a_record(1))
    other = a_file(tmp_path / "other.db", a_record(2), a_record(3))

    async def use(storage: SqliteStorage) -> Any:
        first = await storage.search(wanted())
        other.rename(path)
        return len(first.items), len((await storage.search(wanted())).items)

    assert with_storage(path, use) == (1, 2)


def test_text_of_somebody_else_that_is_no_utf_8_makes_the_file_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "main.db"

    async def use(storage: SqliteStorage) -> str:
        await storage.write(a_record(1), None)
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE memories SET body = CAST(x'7b80' AS TEXT)")
        with pytest.raises(UnavailableError) as caught:
            await storage.search(wanted())
        return str(caught.value)

    assert with_storage(path, use) == "its database reports OperationalError"


LETTERS = "kKsSiIß\u017f\u212aİﬁ" + "äÄ%_\\\"'\n 日x9"


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        for statements in ("CREATE TABLE memories (" + ", ".join(sqlite_statements._FIELDS) + ")",):
            opened.execute(statements)
        yield opened


@settings(deadline=None)
@given(
    texts=st.lists(st.text(LETTERS, max_size=8), max_size=6),
    words=st.lists(st.text(LETTERS.replace(" ", "").replace("\n", ""), min_size=1, max_size=3), max_size=2),
)
def test_what_is_left_to_the_database_never_leaves_out_what_the_sieve_would_take(
    connection: sqlite3.Connection, texts: list[str], words: list[str]
) -> None:
    records = [a_record(n, body={"content": text}) for n, text in enumerate(texts)]
    connection.execute("DELETE FROM memories")
    store(connection, [(record, None) for record in records], 1)
    search = wanted(words=tuple(folded(word) for word in words))
    every, chosen = Sieve(search, StorageLimits()), Sieve(search, StorageLimits())
    for record in reversed(records):
        every.take(record)
    with newest_first(connection, search) as found:
        for record in found:
            chosen.take(record)
    assert chosen.found() == every.found()
