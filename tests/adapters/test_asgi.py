"""An unmodified ASGI application in real worker processes, called over real sockets."""

from __future__ import annotations

import os
import socket
from http.client import IncompleteRead
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.agent.drain import OVERDUE_STATUS
from nexus_supervisor.core.messages import Booted, Drained, Retired
from tests.support.serving import ONE, TWO, Load, a_server, connected, get, push, retired, totals
from tests.support.workers import Site, Worker, a_content

if TYPE_CHECKING:
    from pathlib import Path


def a_fifo(site: Site) -> Path:
    path = site.directory / "fifo"
    os.mkfifo(path)
    return path


def test_a_response_says_which_version_and_worker_it_is_from(site: Site) -> None:
    with a_server(site, 2, incarnation=5).serve(ONE) as worker, connected(site.address) as client:
        response, body = get(client)
        worker.go(TWO, 2, ONE)
        response_two, body_two = get(client)

        assert (response.getheader("Nexus-Config-Version"), body["version"], body["prices"]) == ("1", 1, {"nut": 1})
        assert (response_two.getheader("Nexus-Config-Version"), body_two["prices"]) == ("2", {"nut": 2})
        assert response_two.getheader("Nexus-Worker") == "shop-2/5"


@pytest.mark.parametrize(
    "path", ["/503", "/raise", "/raise-exit", "/raise-interrupt", "/raise-cancelled", "/raise-late", "/silent"]
)
def test_every_error_carries_the_headers_and_is_counted_once(site: Site, path: str) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        response, _ = get(client, path)
        get(client)
        client.close()
        worker.drain()
        worker.ended()

        assert response.status >= 500
        assert response.getheader("Nexus-Config-Version") == "1"
        assert response.getheader("Nexus-Worker") == "shop-0/1"
        assert (totals(site).requests, totals(site).errors) == (2, 1)
        assert ("Traceback" in worker.log()) == ("raise" in path)


def test_what_is_no_http_is_refused_with_the_headers(site: Site) -> None:
    with a_server(site).serve(ONE), socket.create_connection(site.address) as client:
        client.sendall(b"nonsense\r\n\r\n")
        with client.makefile("rb") as answer:
            raw = answer.read().lower()

        assert raw.startswith(b"http/1.1 400 ")
        assert b"nexus-config-version: 1\r\n" in raw
        assert b"nexus-worker: shop-0/1\r\n" in raw


def test_a_request_ends_on_the_version_that_it_began_with_and_holds_it_until_then(site: Site) -> None:
    fifo = a_fifo(site)
    with a_server(site).serve(ONE) as worker, connected(site.address) as slow, connected(site.address) as quick:
        slow.request("GET", f"/stream?{fifo}")
        response = slow.getresponse()
        begun = response.read(2)

        worker.go(TWO, 2, ONE)
        worker.go(ONE, 3, TWO)
        _, body = get(quick)
        worker.stage(TWO, 4, ONE)
        before_the_end = [one.oldest for one in worker.messages if isinstance(one, Retired)]
        fifo.write_text("go on")
        ended = response.read()

        assert (begun, ended) == (b"1 ", b"1 1")
        assert response.getheader("Nexus-Config-Version") == "1"
        assert body["version"] == 3
        assert set(before_the_end) == {1}
        assert worker.receive(Retired).oldest == 3


def test_an_idle_connection_holds_no_snapshot(site: Site) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as idle, connected(site.address) as other:
        get(idle)
        version = 1
        for version in range(2, 12):
            worker.go(TWO if version % 2 == 0 else ONE, version)
            get(other)

        retired(worker, version)
        while get(other, "/alive")[1]["alive"] != [version]:  # the worker says so a moment before it lets go
            assert worker.process.poll() is None


def test_the_lifespan_sees_the_newest_version_and_ends_with_the_worker(site: Site) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        _, body = get(client, "/alive")
        client.close()
        worker.drain()

        assert body["started"] == [1]
        assert worker.ended() == 0
        assert "lifespan ended" in worker.log()


def test_the_serving_loop_ticks(site: Site) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        while totals(site).ticks < 3:
            get(client)

        client.close()
        worker.drain()
        assert worker.ended() == 0


def test_an_idle_worker_ends_when_it_is_told(site: Site) -> None:
    with a_server(site).serve(ONE) as worker:
        worker.drain()

        assert worker.ended() == 0
        assert isinstance(worker.messages[-1], Drained)


def test_a_worker_that_is_told_to_end_before_it_serves_ends(site: Site) -> None:
    with a_server(site) as worker:
        worker.receive(Booted)
        worker.go(ONE, 1)
        worker.drain()

        assert worker.ended() == 0


def test_what_is_in_hand_is_finished_while_draining(site: Site) -> None:
    fifo = a_fifo(site)
    with a_server(site).serve(ONE) as worker, connected(site.address) as slow, connected(site.address) as idle:
        get(idle)
        slow.request("GET", f"/stream?{fifo}")
        response = slow.getresponse()
        response.read(2)

        worker.drain()
        idle.sock.settimeout(None)
        closed = idle.sock.recv(1)
        fifo.write_text("go on")

        assert closed == b""
        assert response.read() == b"1 1"
        assert worker.ended() == 0


def test_an_endless_stream_is_cut_at_the_deadline(site: Site) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        client.request("GET", "/events")
        response = client.getresponse()
        assert response.readline() == b"event\n"

        worker.drain(timeout_seconds=0.2)

        assert worker.ended() == OVERDUE_STATUS
        assert worker.messages[-1] == Drained("shop-0", 1, cut=1)
        assert "1 requests were cut off" in worker.log()
        assert "Traceback" not in worker.log()
        with pytest.raises(IncompleteRead):
            response.read()


def test_a_stream_of_events_ends_well_at_the_deadline_and_nothing_is_lost(site: Site) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        client.request("GET", "/event-stream")
        response = client.getresponse()
        assert response.readline() == b"event\n"

        worker.drain(timeout_seconds=0.2)

        assert response.read() == b""
        assert worker.ended() == 0
        assert worker.messages[-1] == Drained("shop-0", 1)
        assert "Traceback" not in worker.log()


def test_a_request_that_is_not_answered_by_the_deadline_is_answered_503(site: Site) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        client.request("GET", "/wait")
        while not totals(site).requests:
            assert worker.process.poll() is None
        worker.drain(timeout_seconds=0.2)
        response = client.getresponse()

        assert (response.status, response.getheader("Connection")) == (503, "close")
        assert worker.ended() == OVERDUE_STATUS
        assert totals(site).errors == 1


def test_no_request_fails_when_a_worker_is_replaced_under_load(site: Site) -> None:
    with a_server(site, 0).serve(ONE) as old, a_server(site, 1) as new:
        with Load(site.address, clients=8) as load:
            load.until_each_client_has(1, lambda: old.process.poll() is None)
            new.serve(ONE)
            old.drain()
            status = old.ended()
            load.until_each_client_has(50, lambda: new.process.poll() is None)

        assert status == 0
        assert load.failures == []
        assert {one.worker for one in load.all} == {"shop-0/1", "shop-1/1"}
        assert {seen[-1].worker for seen in load.seen} == {"shop-1/1"}


def test_no_request_fails_and_no_connection_closes_over_a_hundred_pushes(site: Site) -> None:
    with a_server(site).serve(ONE) as worker:
        with Load(site.address, clients=3) as load:
            push(worker, load, 100)
            load.until_each_client_has(1, lambda: worker.process.poll() is None)

        retired(worker, 101)
        assert load.failures == []
        assert {one.status for one in load.all} == {200}


def test_a_program_with_its_own_loop_serves_and_swaps(site: Site) -> None:
    polite, rude = a_content({}, {"motd": ["hello"]}), a_content({}, {"motd": ["go away"]})
    with Worker(site, program="hello").serve(polite) as worker:
        with connected(site.address) as client:
            response, body = get(client)
        worker.go(rude, 2, polite)
        with connected(site.address) as client:
            response_two, body_two = get(client)
        worker.drain()

        assert (response.getheader("Nexus-Config-Version"), body) == ("1", b'{"motd": ["hello"]}\n')
        assert (response_two.getheader("Nexus-Config-Version"), body_two) == ("2", b'{"motd": ["go away"]}\n')
        assert worker.ended() == 0
