"""Requests that go on with a version that was replaced too long ago, and how they are ended."""

from __future__ import annotations

import os
from http.client import IncompleteRead
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from nexus_supervisor.core.messages import Retired
from tests.support.serving import ONE, TWO, a_server, connected, retired, totals

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.workers import Site, Worker

SLOW = """
import asyncio

from nexus_supervisor import current, refresh


class Tidy:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await asyncio.sleep(0)
        print("tidied up", flush=True)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    scope["endpoint"] = app
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message["text"] == "refresh":
                refresh()
            await send({"type": "websocket.send", "text": str(current().version)})
        return
    async with Tidy():
        if scope["path"].startswith("/stream"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.Event().wait()
"""

PLAIN = """
import os

from nexus_supervisor import current


class Parts:
    def __init__(self, fifo):
        self.fifo = fifo

    def __iter__(self):
        yield b"%d" % current().version
        open(self.fifo).read()
        yield b"never sent"

    def close(self):
        os.write(1, b"closed with %d\\n" % current().version)  # at once: the log goes there too


def app(environ, start_response):
    start_response("200 OK", [])
    return Parts(environ["QUERY_STRING"])
"""


@pytest.fixture
def slow(site: Site) -> Site:
    (site.directory / "slow.py").write_text(SLOW)
    (site.directory / "plain_app.py").write_text(PLAIN)
    return site


def an_impatient_server(site: Site, **fields: str) -> Worker:
    return a_server(site, **({"app": "slow:app"} | fields), max_snapshot_seconds=0.05).serve(ONE)


def test_a_stream_is_cut_off_and_logged_without_its_path(slow: Site) -> None:
    with an_impatient_server(slow) as worker, connected(slow.address) as client:
        client.request("GET", "/stream/token-of-somebody")
        response = client.getresponse()
        begun = response.read(5)
        worker.go(TWO, 2, ONE)
        with pytest.raises(IncompleteRead):
            response.read()
        retired(worker, 2)
        worker.drain()
        worker.ended()

        assert begun == b"begun"
        assert "a request (GET for app) is cut off: it goes on with version 1, which was replaced" in worker.log()
        assert "tidied up" in worker.log()
        assert "token-of-somebody" not in worker.log()
        assert "Traceback" not in worker.log()
        assert (totals(slow).requests, totals(slow).errors) == (1, 1)


def test_a_request_that_was_not_answered_yet_is_answered_503(slow: Site) -> None:
    with an_impatient_server(slow) as worker, connected(slow.address) as client:
        client.request("GET", "/wait")
        while not totals(slow).requests:
            assert worker.process.poll() is None
        worker.go(TWO, 2, ONE)
        response = client.getresponse()

        assert response.status == 503
        assert b"send it again" in response.read()
        assert response.getheader("Nexus-Config-Version") == "1"
        retired(worker, 2)


def test_a_web_socket_is_closed_with_1012_unless_it_has_taken_the_newest_version(slow: Site) -> None:
    url = f"ws://127.0.0.1:{slow.address[1]}/"
    with an_impatient_server(slow) as worker, connect(url) as renewed, connect(url) as overdue:
        for connection in (renewed, overdue):
            connection.send("hello")
            connection.recv()
        worker.go(TWO, 2, ONE)
        renewed.send("refresh")
        heard = renewed.recv()
        with pytest.raises(ConnectionClosed, match="1012"):
            overdue.recv()
        renewed.send("hello")

        assert (heard, renewed.recv()) == ("2", "2")


def test_a_wsgi_response_is_cut_off_between_two_parts_and_closed_with_its_own_version(
    slow: Site, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with (
        an_impatient_server(slow, program="wsgi", app="plain_app:app") as worker,
        connected(slow.address) as client,
    ):
        client.request("GET", f"/?{fifo}")
        response = client.getresponse()
        begun = response.read(1)
        worker.go(TWO, 2, ONE)
        while "is cut off" not in worker.log():
            assert worker.process.poll() is None
        held = [one.oldest for one in worker.messages if isinstance(one, Retired)]
        fifo.write_text("go on")
        with pytest.raises(IncompleteRead):
            response.read()
        retired(worker, 2)

        assert (begun, set(held)) == (b"1", {1})
        assert "closed with 1" in worker.log()
        assert totals(slow).errors == 1
