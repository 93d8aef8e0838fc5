"""Frameworks as they are installed, in real workers: whatever a request does, it sees one version from start to end.

The price in the content of a version is the number of that version, so an answer says by itself what it was made of.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
from websockets.sync.client import connect

from tests.support.serving import ONE, Load, Seen, a_server, connected, get, priced, push, retired, totals

if TYPE_CHECKING:
    from tests.support.workers import Site, Worker

PUSHES = 300


class Case(NamedTuple):
    """Name an application, its program, what is asked of it, and where it tells what it saw after its answers."""

    app: str
    program: str
    paths: tuple[str, ...]
    finished: str = ""


CASES = [
    Case(
        "fastapi_app:app",
        "asgi",
        ("/async", "/sync", "/threads", "/background", "/stream", "/stream-in-a-thread"),
        "/finished",
    ),
    Case("starlette_app:app", "asgi", ("/async", "/sync", "/stream"), "/finished"),
    Case("django_app:asgi", "asgi", ("/async", "/sync", "/threads", "/stream-async")),
    Case("django_app:wsgi", "wsgi", ("/sync", "/threads", "/stream")),
    Case("flask_app:app", "wsgi", ("/plain", "/threads", "/stream"), "/finished"),
]


def serving(site: Site, case: Case) -> Worker:
    return a_server(site, program=case.program, app=case.app, threads=8).serve(ONE)


def mixed(seen: list[Seen]) -> list[Seen]:
    """Return the answers that are not made of the version that their header names, all of them."""
    return [one for one in seen if set(one.body) != {one.version}]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.app)
def test_every_request_sees_one_version_over_hundreds_of_pushes(site: Site, case: Case) -> None:
    with serving(site, case) as worker, connected(site.address) as client:
        with Load(site.address, case.paths) as load:
            load.until_each_client_has(1, lambda: worker.process.poll() is None)
            push(worker, load, PUSHES)
            load.until_each_client_has(len(case.paths), lambda: worker.process.poll() is None)
        retired(worker, 1 + PUSHES)
        finished = get(client, case.finished)[1] if case.finished else []
        client.close()
        worker.drain()

        assert load.failures == []
        assert {one.status for one in load.all} == {200}
        assert mixed(load.all) == []
        assert [one for one in finished if len(set(one)) != 1] == []
        assert bool(finished) == bool(case.finished)
        assert {one.path for one in load.all} == set(case.paths)
        assert any(one.version < one.newest for one in load.all), "no push fell into a request"
        assert len({one.version for one in load.all}) > 10
        assert worker.ended() == 0
        assert totals(site).errors == 0
        assert "Traceback" not in worker.log()


@pytest.mark.parametrize("app", ["fastapi_app:app", "starlette_app:app"])
def test_a_web_socket_keeps_its_version_and_another_one_takes_the_newest(site: Site, app: str) -> None:
    url = f"ws://127.0.0.1:{site.address[1]}/talk"
    with serving(site, Case(app, "asgi", ())) as worker, connect(url) as first:
        heard = []
        for version in range(2, 52):
            first.send("how much?")
            worker.go(priced(version), version, priced(version - 1))
            heard += json.loads(first.recv())
        with connect(url) as second:
            second.send("how much?")
            newest = json.loads(second.recv())
            assert second.response is not None
            header = second.response.headers["Nexus-Config-Version"]
        first.close()
        retired(worker, 51)
        worker.drain()

        assert set(heard) == {1}
        assert (set(newest), header) == ({51}, "51")
        assert worker.ended() == 0
        assert totals(site).errors == 0
        assert "Traceback" not in worker.log()


def test_middleware_of_starlette_sees_the_version_of_its_request(site: Site) -> None:
    with serving(site, CASES[1]) as worker, connected(site.address) as client:
        worker.go(priced(2), 2, ONE)
        response, _ = get(client, "/async")

        assert response.getheader("X-Prices") == "2,2"


@pytest.mark.parametrize("case", CASES[2:], ids=lambda case: case.app)
def test_an_upload_arrives_whole_with_the_address_of_its_client(site: Site, case: Case) -> None:
    with serving(site, case), connected(site.address) as client:
        client.request("POST", "/upload?a=1", b"x" * 2_000_000)
        answer = json.loads(client.getresponse().read())
        host, port = site.address

        assert answer == [2_000_000, "127.0.0.1", f"http://{host}:{port}/upload?a=1"]
