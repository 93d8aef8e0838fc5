"""The gateway on PostgreSQL, under a real supervisor: what clients and operators see."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway_directory import a_destination, a_source, key_of, make_directory, post_once
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import Database

WRONG = "wrong-horse-battery"


@pytest.fixture
def directory(postgres: Database, tmp_path: Path) -> Path:
    may = {"can_read": True, "idempotency.enabled": True}
    destination = a_destination("main", type="postgres", db_path=None, dsn="file:main.dsn", pool_size=2)
    made = make_directory(tmp_path, {"alpha": a_source("alpha", **may)}, {"main": destination})
    (made / "main.dsn").write_text(postgres.dsn)
    return made


def test_what_is_written_by_one_worker_is_found_by_every_other(directory: Path, postgres: Database) -> None:
    with Nexus(directory) as nexus:
        written = {
            nexus.request("POST", "/inbound/alpha", key_of("alpha"), {"text": f"note of {slot}"}, slot).json["id"]
            for slot in nexus.workers()
        }
        answers = nexus.everywhere("GET", "/query/main?q=NOTE", key_of("alpha"))
        assert {answer.status for answer in answers.values()} == {200}
        assert all({item["id"] for item in answer.json["items"]} == written for answer in answers.values())
    assert postgres.execute("SELECT count(*) FROM memories") == [(2,)]


def test_one_key_at_all_workers_at_once_is_one_record(directory: Path, postgres: Database) -> None:
    with Nexus(directory) as nexus:
        connections = [nexus.connection(slot) for slot in nexus.workers() for _ in range(4)]
        with ThreadPoolExecutor(len(connections)) as pool:
            for number in range(10):
                posts = [pool.submit(post_once, one, "alpha", f"key-{number}", {"n": number}) for one in connections]
                answers = [post.result() for post in posts]
                assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
                assert len({answer.json["id"] for answer in answers}) == 1
        for connection in connections:
            connection.close()
    assert postgres.execute("SELECT count(*) FROM memories") == [(10,)]


def test_an_outage_is_503_and_not_ready_and_ends_without_a_new_worker(directory: Path, postgres: Database) -> None:
    with Nexus(directory) as nexus:
        before = nexus.workers()
        assert nexus.request("POST", "/inbound/alpha", key_of("alpha"), {}).status == 201
        postgres.server.kill()
        for slot in before:
            refused = nexus.request("POST", "/inbound/alpha", key_of("alpha"), {}, slot)
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json["detail"] == "destination main is unavailable: it can't be reached"
            assert nexus.request("GET", "/query/main", key_of("alpha"), worker=slot).status == 503
            assert nexus.request("GET", "/ready", worker=slot).json["code"] == "destination"
            assert nexus.request("GET", "/health", worker=slot).status == 200
        postgres.server.start()
        for slot in before:
            assert nexus.request("POST", "/inbound/alpha", key_of("alpha"), {}, slot).status == 201
            assert nexus.request("GET", "/ready", worker=slot).status == 200
        after = nexus.workers()
        assert {slot: one["pid"] for slot, one in after.items()} == {slot: one["pid"] for slot, one in before.items()}
    assert postgres.execute("SELECT count(*) FROM memories") == [(3,)]


def test_what_was_answered_with_201_is_there_after_the_death_of_the_server(directory: Path, postgres: Database) -> None:
    with Nexus(directory) as nexus, nexus.connection() as connection:
        answers = [connection.request("POST", "/inbound/alpha", key_of("alpha"), {"n": n}) for n in range(20)]
        postgres.server.kill()
        postgres.server.start()
        found = nexus.request("GET", "/query/main?limit=20", key_of("alpha")).json["items"]
    assert {answer.status for answer in answers} == {201}
    assert [item["id"] for item in found] == sorted((answer.json["id"] for answer in answers), reverse=True)


def test_the_password_is_nowhere_but_where_it_was_written(directory: Path, postgres: Database) -> None:
    with Nexus(directory) as nexus:
        assert nexus.request("POST", "/inbound/alpha", key_of("alpha"), {}).status == 201
        (directory / "main.dsn").write_text(postgres.server.dsn(postgres.name, WRONG))
        assert nexus.restart().exit_code == 0
        refused = nexus.request("POST", "/inbound/alpha", key_of("alpha"), {})
        assert refused.json["detail"].endswith("it refuses the role or the password of its dsn")
        told = [str(nexus.status()), nexus.output, refused.body.decode()]
    told += [path.read_text() for path in directory.rglob("compiled/*/*")]
    told.append((directory / "state" / "journal").read_text(errors="replace"))
    for text in told:
        assert postgres.server.password not in text
        assert WRONG not in text


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"dsn": None}, "expected either dsn or connection_string, found none"),
        ({"connection_string": "host=x"}, "expected either dsn or connection_string, found both"),
        ({"dsn": f"postgresql:/{WRONG}"}, "expected a connection string of PostgreSQL, such as"),
        ({"dsn": f"host=x password={WRONG} x"}, "expected a connection string of PostgreSQL, such as"),
        ({"dsn": f"host=x password={WRONG} connect_timeout=x"}, "expected a connection string of PostgreSQL, such as"),
        ({"pool_size": 0}, "pool_size"),
    ],
)
def test_a_destination_that_can_t_be_right_is_found_by_check(
    tmp_path: Path, fields: dict[str, object], complaint: str
) -> None:
    pytest.importorskip("psycopg_pool")
    known = {"type": "postgres", "db_path": None, "dsn": "host=x", **fields}
    directory = make_directory(tmp_path, destinations={"main": a_destination("main", **known)})
    checked = command("check", directory)
    assert checked.returncode == 3
    told = checked.stdout + checked.stderr
    assert told.count("destinations/main.toml") == 1
    assert complaint in told
    assert WRONG not in told
