"""An unmodified WSGI application in a real worker process: PEP 3333 as clients see it, and what a thread can't be."""

from __future__ import annotations

import json
import os
import socket
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.agent.drain import OVERDUE_STATUS
from tests.support.serving import ONE, TWO, Load, a_server, connected, get, push, retired, totals

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.workers import Site, Worker

APP = '''
import asyncio, json, os, sys
from threading import Barrier
from wsgiref.validate import validator

from nexus_supervisor import current

PLAIN = [("Content-Type", "application/json")]
barrier = Barrier(2)
state = {"closed": []}


def app(environ, start_response):
    return globals()[environ["PATH_INFO"].strip("/").replace("-", "_")](environ, start_response)


def answer(start_response, value):
    body = json.dumps(value).encode()
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def version(environ, start_response):
    return answer(start_response, current().version)


def environ(environ, start_response):
    return answer(start_response, {name: value for name, value in environ.items() if isinstance(value, (str, bool))})


def whole(environ, start_response):
    return answer(start_response, len(environ["wsgi.input"].read()))


def lines(environ, start_response):
    body = environ["wsgi.input"]
    found = [body.readline(3), body.readline(), *body, body.read(), body.read(5)]
    return answer(start_response, [line.decode() for line in found])


def echo(environ, start_response):
    """Send each part of the body as soon as it has arrived."""
    start_response("200 OK", PLAIN)
    return iter(lambda: environ["wsgi.input"].read1(1 << 16), b"")


def together(environ, start_response):
    barrier.wait()
    return answer(start_response, current().version)


class Parts:
    """Yield the version, wait until somebody writes, yield it again, and note it when it is closed."""

    def __init__(self, fifo, then=()):
        self.fifo, self.then = fifo, then

    def __iter__(self):
        if self.fifo:
            yield b"%d" % current().version
            open(self.fifo).read()
            yield b"%d" % current().version
        for one in self.then:
            yield one

    def close(self):
        state["closed"].append(current().version)
        os.write(1, b"closed %d\\n" % current().version)  # at once: the log goes there too


def parts(environ, start_response):
    start_response("200 OK", [])
    return Parts(environ["QUERY_STRING"])


def endless(environ, start_response):
    start_response("200 OK", [])
    return Parts(environ["QUERY_STRING"], iter(lambda: b"more", None))


def closed(environ, start_response):
    return answer(start_response, state["closed"])


def legacy(environ, start_response):
    write = start_response("200 OK", [])
    write(b"written ")
    return [b"and", b"", b" returned"]


def says(environ, start_response):
    print("a line\\nand another", file=environ["wsgi.errors"])
    environ["wsgi.errors"].write("no line yet")
    return answer(start_response, None)


def replaced(environ, start_response):
    start_response("200 OK", [("X-First", "yes")])
    try:
        raise ValueError("broken")
    except ValueError:
        start_response("503 Later", [("X-Second", "yes")], sys.exc_info())
    return [b"sorry"]


def raise_before(environ, start_response):
    raise ValueError("broken")


def raise_in_close(environ, start_response):
    class Closing(list):
        def close(self):
            raise ValueError("broken")
    answer(start_response, 1)
    return Closing([b"1"])


def exits(environ, start_response):
    sys.exit(3)


def interrupts(environ, start_response):
    raise KeyboardInterrupt


def cancels(environ, start_response):
    raise asyncio.CancelledError


def splits(environ, start_response):
    start_response("200 OK", [("X-One", "1\\r\\nX-Two: 2")])
    return []


def switches(environ, start_response):
    start_response("101 Switching Protocols", [])
    return []


def bodiless(environ, start_response):
    """Answer with a body what has none."""
    start_response(f"{environ['QUERY_STRING']} Nothing", [("Content-Length", "100"), ("X-One", "1")])
    return Parts(None, [b"body"])


@validator
def checked(environ, start_response):
    body = environ["wsgi.input"]
    read = [body.read(2), body.readline(), *body.readlines(1), *body]
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"written ")
    return iter(read)


def silent(environ, start_response):
    return []


def text(environ, start_response):
    start_response("200 OK", [])
    return ["text"]


def twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def odd(environ, start_response):
    start_response("fine", [])
    return []


def too_long(environ, start_response):
    start_response("200 OK", [("Content-Length", "1")])
    return [b"12"]


def raise_after(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    raise ValueError("broken")


def replaced_too_late(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    try:
        raise ValueError("broken")
    except ValueError:
        start_response("500 Broken", [], sys.exc_info())


def too_short(environ, start_response):
    start_response("200 OK", [("Content-Length", "10")])
    yield b"begun"
'''

STRAYS = ("exits", "interrupts", "cancels")
"""What raises an exception that would end more than a request."""


@pytest.fixture
def wsgi(site: Site) -> Site:
    (site.directory / "plain_app.py").write_text(APP)
    return site


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def a_wsgi_server(site: Site, **fields: Any) -> Worker:
    return a_server(site, **({"program": "wsgi", "app": "plain_app:app", "threads": 4} | fields)).serve(ONE)


def post(site: Site, path: str, body: Any, **headers: str) -> Any:
    with connected(site.address) as client:
        client.request("POST", path, body, headers)
        return json.loads(client.getresponse().read())


def test_the_environment_says_what_frameworks_ask_for(wsgi: Site) -> None:
    with a_wsgi_server(wsgi), connected(wsgi.address) as client:
        client.putrequest("GET", "/environ?q=1%20+2", skip_accept_encoding=True)
        for name, value in (("X-One", "1"), ("X-One", "2"), ("X_Two", "no"), ("Cookie", "a=1"), ("Cookie", "b=2")):
            client.putheader(name, value)
        client.putheader("X-Forwarded-For", "192.0.2.1")
        client.endheaders()
        environ = json.loads(client.getresponse().read())
        host, port = wsgi.address
        ours = client.sock.getsockname()

    assert environ == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "q=1%20+2",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": ours[0],
        "REMOTE_PORT": str(ours[1]),
        "HTTP_HOST": f"{host}:{port}",
        "HTTP_X_ONE": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_FORWARDED_FOR": "192.0.2.1",
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def test_forwarded_addresses_count_where_the_environment_says_from_whom(
    wsgi: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
    with a_wsgi_server(wsgi), connected(wsgi.address) as client:
        client.request("GET", "/environ", headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"})
        environ = json.loads(client.getresponse().read())

        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("192.0.2.1", "https")


@pytest.mark.parametrize(("path", "begins"), [("/whole", b"HTTP/1.1 100 "), ("/version", b"HTTP/1.1 200 ")])
def test_a_body_that_waits_to_be_asked_for_is_asked_for_when_it_is_read(wsgi: Site, path: str, begins: bytes) -> None:
    with a_wsgi_server(wsgi), socket.create_connection(wsgi.address) as client, client.makefile("rb") as answer:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        client.sendall(head.encode())

        assert answer.readline().startswith(begins)


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_is_read_whole_and_by_lines(wsgi: Site, framing: str) -> None:
    body = b"first line\nsecond\n\nlast"
    with a_wsgi_server(wsgi):
        sent = body if framing == "length" else iter([body[:4], body[4:]])
        lines = post(wsgi, "/lines", sent)
        large = post(wsgi, "/whole", b"x" * 3_000_000 if framing == "length" else iter([b"x" * 1_000_000] * 3))

    assert lines == ["fir", "st line\n", "second\n", "\n", "last", "", ""]
    assert large == 3_000_000


def test_body_and_answer_stream_at_the_same_time(wsgi: Site) -> None:
    with a_wsgi_server(wsgi), socket.create_connection(wsgi.address) as client, client.makefile("rb") as answer:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"4\r\nping\r\n")
        while answer.readline() != b"\r\n":
            pass
        first = answer.readline() + answer.readline()
        client.sendall(b"4\r\npong\r\n0\r\n\r\n")
        second = answer.readline() + answer.readline()

        assert (first, second) == (b"4\r\nping\r\n", b"4\r\npong\r\n")


def test_a_body_of_which_the_end_never_comes_is_no_whole_body(wsgi: Site) -> None:
    with a_wsgi_server(wsgi) as worker:
        with socket.create_connection(wsgi.address) as client:
            client.sendall(b"POST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of it")
        while "the client left" not in worker.log():
            assert worker.process.poll() is None
        worker.drain()

        assert worker.ended() == 0
        assert (totals(wsgi).requests, totals(wsgi).errors) == (1, 0)


def test_several_requests_run_at_a_time(wsgi: Site) -> None:
    with a_wsgi_server(wsgi, threads=2), connected(wsgi.address) as one, connected(wsgi.address) as other:
        for client in (one, other):
            client.request("GET", "/together")

        assert [client.getresponse().read() for client in (one, other)] == [b"1", b"1"]


def test_a_response_keeps_its_version_until_it_is_closed(wsgi: Site, fifo: Path) -> None:
    with a_wsgi_server(wsgi) as worker, connected(wsgi.address) as slow, connected(wsgi.address) as quick:
        slow.request("GET", f"/parts?{fifo}")
        response = slow.getresponse()
        begun = response.read(1)
        worker.go(TWO, 2, ONE)
        _, version = get(quick, "/version")
        fifo.write_text("go on")
        rest = response.read()
        retired(worker, 2)
        _, closed = get(quick, "/closed")

        assert (begun, rest, version, closed) == (b"1", b"1", 2, [1])
        assert response.getheader("Nexus-Config-Version") == "1"


def test_a_response_is_closed_when_its_client_leaves(wsgi: Site, fifo: Path) -> None:
    with a_wsgi_server(wsgi, threads=1) as worker:
        with connected(wsgi.address) as client:
            client.request("GET", f"/endless?{fifo}")
            client.getresponse().read(1)
        fifo.write_text("go on")
        with connected(wsgi.address) as other:
            _, closed = get(other, "/closed")  # the only thread is free again
        worker.drain()

        assert closed == [1]
        assert worker.ended() == 0
        assert totals(wsgi).errors == 0


def test_a_client_that_does_not_read_holds_one_thread_and_no_memory(wsgi: Site, fifo: Path) -> None:
    with a_wsgi_server(wsgi) as worker, connected(wsgi.address) as slow, connected(wsgi.address) as quick:
        slow.request("GET", f"/endless?{fifo}")
        fifo.write_text("go on")
        for _ in range(50):
            get(quick, "/version")
        worker.drain(timeout_seconds=0.2)

        assert worker.ended() == OVERDUE_STATUS
        assert "closed 1" in worker.log()
        assert "1 requests were cut off" in worker.log()


def test_what_is_written_the_old_way_comes_first(wsgi: Site) -> None:
    with a_wsgi_server(wsgi), connected(wsgi.address) as client:
        assert get(client, "/legacy")[1] == b"written and returned"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_is_sent_without_one(wsgi: Site, method: str, status: int) -> None:
    with a_wsgi_server(wsgi) as worker, connected(wsgi.address) as client:
        client.request(method, f"/bodiless?{status}")
        response = client.getresponse()
        body = response.read()
        _, after = get(client, "/version")  # on the same connection
        client.close()
        worker.drain()
        worker.ended()

        assert (response.status, body, response.getheader("X-One"), after) == (status, b"", "1", 1)
        assert worker.log().count("closed 1") == 1
        assert totals(wsgi).errors == 0


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_the_validator_of_the_standard_library_has_no_objection(wsgi: Site, method: str) -> None:
    with a_wsgi_server(wsgi) as worker, connected(wsgi.address) as client:
        client.request(method, "/checked?a=1", b"first\nsecond\nthird\n")
        response = client.getresponse()
        body = response.read()
        client.close()
        worker.drain()
        worker.ended()

        assert (response.status, body) == (200, b"" if method == "HEAD" else b"written first\nsecond\nthird\n")
        assert totals(wsgi).errors == 0
        assert "Traceback" not in worker.log()


def test_another_head_replaces_the_first_after_an_exception(wsgi: Site) -> None:
    with a_wsgi_server(wsgi), connected(wsgi.address) as client:
        response, body = get(client, "/replaced")

        assert (response.status, body) == (503, b"sorry")
        assert (response.getheader("X-First"), response.getheader("X-Second")) == (None, "yes")


def test_the_errors_of_an_application_go_to_the_log_line_by_line(wsgi: Site) -> None:
    with a_wsgi_server(wsgi) as worker, connected(wsgi.address) as client:
        get(client, "/says")
        client.close()
        worker.drain()
        worker.ended()

        told = [line.split(" ", 4)[4] for line in worker.log().splitlines() if "adapters.wsgi" in line]
        assert told == ["a line", "and another", "no line yet"]


@pytest.mark.parametrize(
    "path", [*STRAYS, "raise-before", "silent", "text", "twice", "odd", "splits", "switches", "too-long"]
)
def test_an_error_before_the_first_byte_is_answered_500(wsgi: Site, path: str) -> None:
    with a_wsgi_server(wsgi) as worker, connected(wsgi.address) as client:
        response, _ = get(client, f"/{path}")
        _, after = get(client, "/version")
        client.close()
        worker.drain()
        worker.ended()

        assert (response.status, response.getheader("Nexus-Config-Version"), after) == (500, "1", 1)
        assert (totals(wsgi).requests, totals(wsgi).errors) == (2, 1)
        assert worker.log().count("Traceback") == 1 + (path in STRAYS)


@pytest.mark.parametrize("path", ["raise-after", "replaced-too-late", "too-short"])
def test_an_error_after_the_first_byte_closes_the_connection(wsgi: Site, path: str) -> None:
    with a_wsgi_server(wsgi) as worker:
        with connected(wsgi.address) as client:
            client.request("GET", f"/{path}")
            with pytest.raises(IncompleteRead):
                client.getresponse().read()
        worker.drain()
        worker.ended()

        assert (totals(wsgi).requests, totals(wsgi).errors) == (1, 1)


def test_an_error_while_closing_counts_and_harms_no_client(wsgi: Site) -> None:
    with a_wsgi_server(wsgi) as worker, connected(wsgi.address) as client:
        response, body = get(client, "/raise-in-close")
        _, after = get(client, "/version")
        client.close()
        worker.drain()
        worker.ended()

        assert (response.status, body, after) == (200, 1, 1)
        assert totals(wsgi).errors == 1


def test_what_is_in_hand_is_finished_while_draining(wsgi: Site, fifo: Path) -> None:
    with a_wsgi_server(wsgi) as worker, connected(wsgi.address) as client:
        client.request("GET", f"/parts?{fifo}")
        response = client.getresponse()
        response.read(1)
        worker.drain()
        fifo.write_text("go on")

        assert response.read() == b"1"
        assert worker.ended() == 0


def test_a_thread_that_can_not_be_cut_ends_with_the_process(wsgi: Site, fifo: Path) -> None:
    with a_wsgi_server(wsgi) as worker, connected(wsgi.address) as client:
        client.request("GET", f"/parts?{fifo}")
        client.getresponse().read(1)
        worker.drain(timeout_seconds=0.1)

        assert worker.ended() == 75
        assert "the drain timeout is over and the program still runs" in worker.log()


def test_a_web_socket_is_refused(wsgi: Site) -> None:
    with a_wsgi_server(wsgi), connected(wsgi.address) as client:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        client.request("GET", "/version", headers={**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        response = client.getresponse()

        assert response.status == 403
        assert response.getheader("Nexus-Config-Version") == "1"


def test_no_request_fails_when_a_worker_is_replaced_under_load(wsgi: Site) -> None:
    with a_wsgi_server(wsgi) as old, a_server(wsgi, 1, program="wsgi", app="plain_app:app", threads=4) as new:
        with Load(wsgi.address, ["/version"]) as load:
            push(old, load, 50)
            new.serve(ONE)
            old.drain()
            status = old.ended()
            load.until_each_client_has(20, lambda: new.process.poll() is None)

        assert status == 0
        assert load.failures == []
        assert all(one.version == one.body for one in load.all)
        assert {seen[-1].worker for seen in load.seen} == {"shop-1/1"}
