"""The gateway under its supervisor: what one worker stores every other finds, once, under the policy of the moment."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tests.support.gateway import rows
from tests.support.gateway_directory import a_source, key_of, make_directory, post_once, write_atomically
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from pathlib import Path


def alpha(**fields: object) -> str:
    return a_source("alpha", **{"can_read": True, **fields})


def start(tmp_path: Path, **fields: object) -> Nexus:
    return Nexus(make_directory(tmp_path, sources={"alpha": alpha(**fields)}))


def asked(nexus: Nexus, worker: str, query: str = "") -> Any:
    response = nexus.request("GET", f"/query/main?{query}", key_of("alpha"), worker=worker)
    assert response.status == 200, response.body
    return [item["body"]["n"] for item in response.json["items"]]


def test_what_one_worker_stored_is_found_by_another(tmp_path: Path) -> None:
    with start(tmp_path) as nexus:
        first, second = sorted(nexus.workers())
        assert nexus.request("POST", "/inbound/alpha", key_of("alpha"), {"n": 1}, worker=first).status == 201
        assert asked(nexus, second) == [1]
        assert nexus.request("POST", "/inbound/alpha", key_of("alpha"), {"n": 2}, worker=second).status == 201
        assert asked(nexus, first, "q=2") == [2]


def test_a_changed_policy_holds_for_the_next_query_in_every_worker(tmp_path: Path) -> None:
    with start(tmp_path) as nexus:
        for number, label in enumerate(["open", "secret"]):
            body = {"n": number, "labels": [label]}
            assert nexus.request("POST", "/inbound/alpha", key_of("alpha"), body).status == 201
        assert [sorted(asked(nexus, worker)) for worker in nexus.workers()] == [[0, 1]] * 2
        firewall = {"policy.retrieval_firewall.blocked_labels": ["secret"]}
        write_atomically(nexus.directory / "sources" / "alpha.toml", alpha(**firewall))
        nexus.until("committed")
        assert [asked(nexus, worker) for worker in nexus.workers()] == [[0]] * 2
        write_atomically(nexus.directory / "sources" / "alpha.toml", alpha(can_read=False))
        nexus.until("committed")
        refused = nexus.everywhere("GET", "/query/main", key_of("alpha")).values()
        assert [(answer.status, answer.json["code"]) for answer in refused] == [(403, "can_read")] * 2


def test_a_repeated_request_is_one_record_in_every_worker_and_after_a_restart(tmp_path: Path) -> None:
    with start(tmp_path, **{"idempotency.enabled": True}) as nexus:
        first, second = sorted(nexus.workers())

        def post(worker: str, body: Any) -> tuple[int, Any]:
            with nexus.connection(worker) as connection:
                response = post_once(connection, "alpha", "key-1", body)
            return response.status, response.json.get("id", response.json.get("code"))

        status, stored = post(first, {"n": 1})
        assert status == 201
        assert post(second, {"n": 1}) == (200, stored)
        assert post(second, {"n": 2}) == (422, "idempotency_key_reused")
        assert nexus.restart().exit_code == 0
        assert [post(worker, {"n": 1}) for worker in (first, second)] == [(200, stored)] * 2
        assert [row["id"] for row in rows(nexus.directory / "main.db")] == [stored]


def test_requests_with_one_key_that_arrive_at_once_in_all_workers_are_one_record(tmp_path: Path) -> None:
    with start(tmp_path, **{"idempotency.enabled": True}) as nexus:
        connections = [nexus.connection(worker) for worker in sorted(nexus.workers()) for _ in range(4)]
        answers: list[Any] = []

        def post(connection: Any) -> None:
            together.wait()
            answers.extend(post_once(connection, "alpha", f"key-{turn}", {"n": 1}) for turn in range(10))

        together = threading.Barrier(len(connections))
        threads = [threading.Thread(target=post, args=(connection,)) for connection in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.close()
        assert sorted(answer.status for answer in answers) == [200] * 70 + [201] * 10
        assert len({answer.json["id"] for answer in answers}) == 10
        assert len(rows(nexus.directory / "main.db")) == 10
