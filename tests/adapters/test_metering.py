"""What a real worker counts on each version: requests, errors, latencies, and whether its loop turns."""

from __future__ import annotations

import os
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from nexus_supervisor.core.latency import bucket
from tests.support.serving import ONE, TWO, a_server, connected, get, reading, retired, totals

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.workers import Site

PLAIN = '''
import time

from nexus_supervisor import current


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def blocking(scope, receive, send):
    """Have the loop itself wait for whoever writes."""
    if scope["type"] == "http":
        with open(scope["query_string"].decode()) as fifo:
            fifo.read()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
'''


@pytest.fixture
def fifo(site: Site) -> Path:
    (site.directory / "plain.py").write_text(PLAIN)
    path = site.directory / "fifo"
    os.mkfifo(path)
    return path


def pass_by(moment: float) -> None:
    """Wait until the clock shows that moment."""
    while (left := moment - monotonic()) > 0:
        Event().wait(left)


def test_a_response_says_which_content_it_is_from(site: Site) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        one, _ = get(client)
        worker.go(TWO, 2, ONE)
        two, _ = get(client)
        failed, _ = get(client, "/raise")

        found = [one.getheader("Nexus-Config-Digest") for one in (one, two, failed)]
        assert found == [ONE.digest[:12], TWO.digest[:12], TWO.digest[:12]]


def test_requests_and_errors_are_counted_on_the_version_that_answered_them(site: Site) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        get(client)
        get(client, "/503")
        get(client)  # begins when the one before it has ended, which is when that counts as an error
        before = reading(site)
        worker.go(TWO, 2, ONE)
        for path in ("/", "/raise", "/"):
            get(client, path)
        client.close()
        worker.drain()
        worker.ended()
        after = reading(site)

        assert (before.version, before.requests, before.errors) == (1, 3, 1)
        assert (after.version, after.requests, after.errors, after.total) == (2, 3, 1, 6)
        assert sum(after.latencies) == 3


def test_a_request_that_ends_after_a_push_is_not_counted_on_the_new_version(site: Site, fifo: Path) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        client.request("GET", f"/stream?{fifo}")
        response = client.getresponse()
        worker.go(TWO, 2, ONE)
        fifo.write_text("")
        response.read()
        retired(worker, 2)

        assert (reading(site).version, reading(site).requests) == (2, 0)
        assert totals(site).requests == 1


def test_a_stream_takes_as_long_as_until_it_begins(site: Site, fifo: Path) -> None:
    with a_server(site).serve(ONE) as worker, connected(site.address) as client:
        began = monotonic()
        client.request("GET", f"/stream?{fifo}")
        response = client.getresponse()
        answered = monotonic()
        pass_by(answered + 4 * (answered - began))
        fifo.write_text("")
        response.read()
        client.close()
        worker.drain()
        worker.ended()

        counts = reading(site).latencies
        assert sum(counts) == 1
        assert counts.index(1) <= bucket(answered - began)


def test_a_web_socket_has_no_latency(site: Site) -> None:
    with a_server(site).serve(ONE) as worker:
        with connect(f"ws://127.0.0.1:{site.address[1]}/") as connection:
            connection.send("hello")
            connection.recv()
        worker.drain()
        worker.ended()

        assert reading(site).requests == 1
        assert sum(reading(site).latencies) == 0


def test_a_wsgi_request_is_counted_like_any_other(site: Site, fifo: Path) -> None:
    with a_server(site, program="wsgi", app="plain:wsgi").serve(ONE) as worker, connected(site.address) as client:
        get(client)
        client.close()
        worker.drain()
        worker.ended()

        assert (reading(site).version, reading(site).requests, reading(site).errors) == (1, 1, 0)
        assert reading(site).beat is not None


def test_a_loop_that_is_held_up_is_silent_and_says_afterwards_for_how_long(site: Site, fifo: Path) -> None:
    with a_server(site, app="plain:blocking").serve(ONE) as worker, connected(site.address) as client:
        client.request("GET", f"/?{fifo}")
        with fifo.open("w"):  # once this is open, the loop waits for what is written
            held = monotonic()
            silent_since = reading(site).beat
            pass_by(held + 0.4)
            still = reading(site)
        assert client.getresponse().status == 204
        while reading(site).beat == still.beat:
            assert worker.process.poll() is None

        assert still.beat == silent_since is not None
        assert still.beat <= held
        assert (still.requests, still.total) == (0, 1)
        assert reading(site).lag_seconds >= 0.29
