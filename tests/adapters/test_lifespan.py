"""The lifespan of ASGI applications, and what is said of an application that can't be served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.messages import Booted
from tests.support.serving import ONE, TWO, a_server, connected, get

if TYPE_CHECKING:
    from tests.support.workers import Site

ANSWER = """
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": BODY})
"""

APPS = {
    "bare": f"""
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    BODY = b"bare"{ANSWER}
""",
    "strict": f"""
async def app(scope, receive, send):
    assert scope["type"] == "http"
    BODY = b"strict"{ANSWER}
""",
    "stateful": f"""
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["greeting"] = b"hello"
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    BODY = scope["state"]["greeting"]{ANSWER}
""",
    "leaving": f"""
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        raise ValueError("it broke at the end")
    BODY = b"leaving"{ANSWER}
""",
    "failing": """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is not there"})
""",
    "others": """
from functools import partial

def make_app():
    return app

async def app(scope, receive, send):
    pass

async def old(scope):
    pass

def wsgi(environ, start_response):
    return []

number = 1
""",
}


@pytest.fixture
def apps(site: Site) -> Site:
    for name, text in APPS.items():
        (site.directory / f"{name}.py").write_text(text)
    return site


@pytest.mark.parametrize(("app", "said"), [("bare", b"bare"), ("strict", b"strict"), ("stateful", b"hello")])
def test_an_application_is_served_with_a_lifespan_and_without(apps: Site, app: str, said: bytes) -> None:
    with a_server(apps, app=f"{app}:app").serve(ONE) as worker, connected(apps.address) as client:
        _, body = get(client)
        client.close()
        worker.drain()

        assert body == said
        assert worker.ended() == 0
        assert "Traceback" not in worker.log()


def test_an_exception_in_a_lifespan_is_logged_after_its_start(apps: Site) -> None:
    with a_server(apps, app="leaving:app").serve(ONE) as worker, connected(apps.address) as client:
        get(client)
        client.close()
        worker.drain()

        assert worker.ended() == 0
        assert "the application raised an exception in its lifespan" in worker.log()
        assert "it broke at the end" in worker.log()


def test_a_lifespan_that_fails_ends_the_worker_and_is_named(apps: Site) -> None:
    with a_server(apps, app="failing:app") as worker:
        worker.receive(Booted)
        worker.go(ONE, 1)

        assert worker.ended() == 1
        assert "the database is not there" in worker.log()
        assert "application 'failing:app' could not start: its lifespan failed" in worker.log()
        assert "Traceback" not in worker.log()


@pytest.mark.parametrize(
    ("program", "app", "said"),
    [
        ("asgi", "", "program asgi needs an application"),
        ("wsgi", "", "program wsgi needs an application"),
        ("jobs", "", "program jobs needs an application"),
        ("asgi", "others:nothing", "no attribute 'nothing'"),
        ("asgi", "others:number", "must be an ASGI application, called with scope, receive and send, found int"),
        ("asgi", "others:make_app", "call it in its module"),
        ("asgi", "others:old", "it takes other arguments"),
        ("asgi", "others:wsgi", 'like an application of program = "wsgi"'),
        ("wsgi", "others:app", 'like an application of program = "asgi"'),
        ("jobs", "others:wsgi", 'like an application of program = "wsgi"'),
    ],
)
def test_an_application_that_can_not_be_served_is_explained(apps: Site, program: str, app: str, said: str) -> None:
    with a_server(apps, program=program, app=app) as worker:
        worker.receive(Booted)
        worker.go(ONE, 1)

        assert worker.ended() == 2
        assert said in worker.log()


@pytest.mark.parametrize("program", ["asgi", "wsgi"])
def test_a_server_without_an_address_is_refused(apps: Site, program: str) -> None:
    app = "others:app" if program == "asgi" else "others:wsgi"
    with a_server(apps, program=program, app=app, listeners=()) as worker:
        worker.receive(Booted)
        worker.go(ONE, 1)

        assert worker.ended() == 2
        assert f"program {program} accepts connections and needs an address: set bind in [daemon]" in worker.log()


def test_the_smallest_program_runs_with_an_address_and_without(apps: Site) -> None:
    with (
        a_server(apps, 0, program="hello", app="").serve(ONE) as listening,
        a_server(apps, 1, program="hello", app="", listeners=()).serve(ONE) as deaf,
    ):
        with connected(apps.address) as client:
            response, body = get(client)
        deaf.go(TWO, 2, ONE)
        deaf.drain()
        listening.drain()

        assert (response.getheader("Nexus-Config-Version"), body) == ("1", b"{}\n")
        assert (listening.ended(), deaf.ended()) == (0, 0)
