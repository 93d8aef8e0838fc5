"""What a connection may cost before a request is complete, in bytes and seconds."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.support.serving import ONE, a_server, connected, get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.workers import Site, Worker

HASTY = """
from nexus_supervisor.adapters import server

server._KEEP_ALIVE_SECONDS = 0.2

def run(agent):
    from nexus_workers import asgi

    asgi.run(agent)
"""

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
BEGINNINGS = {
    "a path": b"GET /",
    "a header": b"GET / HTTP/1.1\r\nX: ",
    "a name": b"GET / HTTP/1.1\r\n",
    "a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ",
    "a chunk's extension": POST + b"Transfer-Encoding: chunked\r\n\r\n1;x=",
}


@pytest.fixture
def hasty(site: Site) -> Iterator[Worker]:
    (site.directory / "hasty.py").write_text(HASTY)
    with a_server(site, program="hasty:run").serve(ONE) as worker:
        yield worker


def until_closed(client: socket.socket) -> bytes:
    """Return what comes before the other side closes, one way or the other."""
    received = b""
    try:
        while part := client.recv(65_536):
            received += part
    except ConnectionError:
        pass
    return received


def send_until_closed(client: socket.socket, part: bytes) -> None:
    """Send a part whenever nothing comes for a while, until the other side has closed."""
    while True:
        try:
            client.sendall(part)
            if not client.recv(65_536):
                return
        except TimeoutError:
            continue
        except ConnectionError:
            return


@pytest.mark.parametrize("begins", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_head_or_frame_without_end_closes_its_connection(site: Site, begins: bytes) -> None:
    with a_server(site).serve(ONE), connected(site.address) as other:
        with socket.create_connection(site.address) as client:
            client.settimeout(0.001)
            client.sendall(begins)
            send_until_closed(client, b"a" * 65_536)

        assert get(other)[0].status == 200


def test_a_head_that_is_too_long_is_refused_with_the_headers(site: Site) -> None:
    with a_server(site).serve(ONE), socket.create_connection(site.address) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        with client.makefile("rb") as answer:
            client.sendall(b"X: " + b"a" * 400_000)
            status = answer.readline()

        assert status == b"HTTP/1.1 400 Bad Request\r\n"


def test_a_large_body_that_nobody_reads_is_no_head(site: Site) -> None:
    with a_server(site).serve(ONE), connected(site.address) as client:
        client.request("POST", "/", b"x" * 3_000_000)
        first = client.getresponse()
        first.read()

        assert (first.status, get(client)[0].status) == (200, 200)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX: half of a", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /"])
def test_a_connection_without_a_request_is_closed(site: Site, hasty: Worker, sent: bytes) -> None:
    with socket.create_connection(site.address) as client:
        client.sendall(sent)
        received = until_closed(client)

        assert received.count(b"HTTP/1.1 200 OK") == sent.count(b"Host: x\r\n\r\n")
    assert hasty.process.poll() is None


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(site: Site, hasty: Worker) -> None:
    with socket.create_connection(site.address) as client:
        client.settimeout(0.01)
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        send_until_closed(client, b"a")

    assert hasty.process.poll() is None


def test_a_web_socket_and_a_request_in_hand_stay_open(site: Site, hasty: Worker) -> None:
    url = f"ws://127.0.0.1:{site.address[1]}/"
    with connect(url) as talking, connected(site.address) as waiting:
        waiting.request("GET", "/wait")
        for _ in range(3):
            with socket.create_connection(site.address) as idle:
                until_closed(idle)
        talking.send("hello")

        assert talking.recv() == "1"
        hasty.drain(timeout_seconds=0.1)
        assert waiting.getresponse().status == 503


@pytest.mark.parametrize("parts", [["first ", "second ", "", "third"], [b"first ", b"second ", b"", b"third"]])
def test_a_message_in_fragments_arrives_whole(site: Site, parts: list[str] | list[bytes]) -> None:
    (site.directory / "echo.py").write_text(ECHO)
    with (
        a_server(site, app="echo:app").serve(ONE),
        connect(f"ws://127.0.0.1:{site.address[1]}/", compression=None) as connection,
    ):
        for _ in range(2):
            connection.send(parts)
            assert connection.recv() == type(parts[0])().join(parts)  # type: ignore[arg-type]


ECHO = """
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        assert type(message.get("bytes") or b"") is bytes
        await send({**message, "type": "websocket.send"})
"""
