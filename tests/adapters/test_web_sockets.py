"""WebSockets of an unmodified ASGI application: handshakes, rejections, and their end with the worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.serving import ONE, TWO, a_server, connected, get, retired, totals

if TYPE_CHECKING:
    from tests.support.workers import Site

CHAT = '''
import asyncio

from nexus_supervisor import current, refresh

open_ones = set()


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % len(open_ones)})
        return
    if scope["type"] != "websocket":
        return
    await receive()
    match scope["path"]:
        case "/no":
            await send({"type": "websocket.close"})
        case "/teapot":
            await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"short and stout"})
        case "/raise":
            raise ValueError("broken")
        case "/silent":
            return
        case "/raise-late":
            await send({"type": "websocket.accept"})
            raise ValueError("broken")
        case "/deaf":
            await deaf(scope, send)
        case "/talk":
            await talk(receive, send)


async def talk(receive, send):
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "refresh":
            refresh()
        await send({"type": "websocket.send", "text": str(current().version)})


async def deaf(scope, send):
    """Say something now and then, and never listen."""
    await send({"type": "websocket.accept"})
    open_ones.add(id(scope))
    try:
        while True:
            await send({"type": "websocket.send", "text": "hello"})
            await asyncio.sleep(0.01)
    finally:
        open_ones.discard(id(scope))
'''


@pytest.fixture
def chat(site: Site) -> Site:
    (site.directory / "chat.py").write_text(CHAT)
    return site


def dial(site: Site, path: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{site.address[1]}{path}")


def say(connection: ClientConnection, text: str) -> str:
    connection.send(text)
    return str(connection.recv())


def test_a_web_socket_keeps_its_version_and_is_closed_by_draining(chat: Site) -> None:
    with a_server(chat, app="chat:app").serve(ONE) as worker, dial(chat, "/talk") as connection:
        first = say(connection, "hello")
        worker.go(TWO, 2, ONE)
        second = say(connection, "hello")
        worker.drain()
        with pytest.raises(ConnectionClosed, match="1012"):
            connection.recv()

        assert connection.response is not None
        headers = connection.response.headers
        assert (first, second) == ("1", "1")
        assert (headers["Nexus-Config-Version"], headers["Nexus-Worker"]) == ("1", "shop-0/1")
        assert worker.ended() == 0
        assert totals(chat).errors == 0


def test_a_web_socket_goes_on_with_the_newest_version_where_it_says_so(chat: Site) -> None:
    with a_server(chat, app="chat:app").serve(ONE) as worker, dial(chat, "/talk") as connection:
        worker.go(TWO, 2, ONE)
        heard = [say(connection, "hello"), say(connection, "refresh"), say(connection, "hello")]

        retired(worker, 2)
        assert heard == ["1", "2", "2"]


@pytest.mark.parametrize(
    ("path", "status", "errors"), [("/no", 403, 0), ("/teapot", 418, 0), ("/raise", 500, 1), ("/silent", 500, 1)]
)
def test_a_refused_handshake_carries_the_headers(chat: Site, path: str, status: int, errors: int) -> None:
    with a_server(chat, app="chat:app").serve(ONE) as worker:
        with pytest.raises(InvalidStatus) as refused, dial(chat, path):
            pass
        worker.drain()
        worker.ended()

        response = refused.value.response
        assert response.status_code == status
        assert response.headers["Nexus-Config-Version"] == "1"
        assert response.headers["Nexus-Worker"] == "shop-0/1"
        assert (totals(chat).requests, totals(chat).errors) == (1, errors)
        assert worker.log().count("Traceback") == (path == "/raise")


def test_a_handshake_that_is_none_is_refused_with_the_headers(chat: Site) -> None:
    with a_server(chat, app="chat:app").serve(ONE), connected(chat.address) as client:
        client.request("GET", "/talk", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        response = client.getresponse()

        assert response.status == 400
        assert response.getheader("Nexus-Config-Version") == "1"
        assert response.getheader("Nexus-Worker") == "shop-0/1"


def test_an_exception_closes_a_web_socket_with_1011_and_counts(chat: Site) -> None:
    with a_server(chat, app="chat:app").serve(ONE) as worker:
        with dial(chat, "/raise-late") as connection, pytest.raises(ConnectionClosed, match="1011"):
            connection.recv()
        worker.drain()
        worker.ended()

        assert totals(chat).errors == 1
        assert worker.log().count("Traceback") == 1


def test_a_web_socket_that_only_sends_is_closed_by_draining_too(chat: Site) -> None:
    with a_server(chat, app="chat:app").serve(ONE) as worker, dial(chat, "/deaf") as connection:
        connection.recv()
        worker.drain()
        with pytest.raises(ConnectionClosed, match="1012"):
            list(connection)

        assert worker.ended() == 0
        assert totals(chat).errors == 0
        assert "Traceback" not in worker.log()


def test_a_client_with_a_backlog_that_nobody_read_hears_1012_too(chat: Site) -> None:
    with a_server(chat, app="chat:app").serve(ONE) as worker, dial(chat, "/deaf") as connection:
        connection.recv()
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send_on_and_on, connection)
            worker.drain()
            with pytest.raises(ConnectionClosed, match="1012"):
                list(connection)
            sending.result()

        assert worker.ended() == 0
        assert "Traceback" not in worker.log()


def send_on_and_on(connection: ClientConnection) -> None:
    """Send until the connection is closed."""
    with suppress(ConnectionClosed):
        while True:
            connection.send("x" * 65_536)


def test_a_client_that_leaves_is_no_error(chat: Site) -> None:
    with a_server(chat, app="chat:app").serve(ONE) as worker, connected(chat.address) as client:
        with dial(chat, "/deaf") as connection:
            connection.recv()
        while get(client)[1] != b"0":
            pass
        client.close()
        worker.drain()
        worker.ended()

        assert totals(chat).errors == 0
        assert "Traceback" not in worker.log()
