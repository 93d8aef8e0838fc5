"""A small application on whatever its daemon listens on, and clients that reach it there."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from nexus_supervisor.supervisor import keys
from tests.support.certificates import SECTION, Pair, serial_of
from tests.support.http import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Load", "ask", "certify", "make", "rewrite"]

WEB = '''
import json

async def app(scope, receive, send):
    """Say what the server knows of the connection."""
    if scope["type"] == "lifespan":
        return
    body = json.dumps([scope["scheme"], scope["client"] and scope["client"][0], scope["server"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

def wsgi(environ, start_response):
    """Say what the server knows of the client."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("REMOTE_ADDR", "nobody").encode()]
'''


def make(directory: Path, bind: Sequence[str], *, more: str = "", tls: bool = False, workers: int = 2) -> Path:
    """Make a directory with signing off whose application listens on these addresses."""
    directory.mkdir(exist_ok=True)
    (directory / "web.py").write_text(WEB)
    keys.generate(directory)
    rewrite(directory, bind, more=more, tls=tls, workers=workers)
    return directory


def rewrite(directory: Path, bind: Sequence[str], *, more: str = "", tls: bool = False, workers: int = 2) -> None:
    """Write daemon.toml anew."""
    text = f"[daemon]\nbind = {list(bind)!r}\n".replace("'", '"') + (SECTION if tls else "")
    program = "" if "[[supervisor.program]]" in more else f'program = "asgi"\napp = "web:app"\nworkers = {workers}\n'
    (directory / "daemon.toml").write_text(f"{text}[supervisor]\n{program}rollout.bake_seconds = 0\n{more}")


def certify(directory: Path, name: str, pair: Pair, *, key: str | None = None, extra: str = "") -> None:
    """Put a certificate and its key where an entry of that name refers to them, each file at once."""
    for folder in ("certificates", "tls"):
        (directory / folder).mkdir(exist_ok=True)
    for kind, text in (("pem", pair.certificate), ("key", key or pair.key)):
        draft = directory / "tls" / f"{name}.{kind}.new"
        draft.write_text(text)
        os.replace(draft, directory / "tls" / f"{name}.{kind}")  # noqa: PTH105
    entry = directory / "certificates" / f"{name}.toml"
    if not entry.exists():
        entry.write_text(f'chain = "file:tls/{name}.pem"\nkey = "file:tls/{name}.key"\n{extra}')


class _Client(http.client.HTTPConnection):
    """A client of any address, that speaks TLS where it has a context."""

    def __init__(self, address: str, context: ssl.SSLContext | None = None, host: str = "web.test") -> None:
        super().__init__(host, timeout=PATIENCE_SECONDS)
        self.auto_open = 0
        self._address, self._context = address, context

    def connect(self) -> None:
        is_unix = self._address.startswith("unix:")
        host, _, port = self._address.rpartition(":")
        place = self._address.removeprefix("unix:") if is_unix else (host, int(port))
        raw = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET)
        try:
            raw.settimeout(PATIENCE_SECONDS)
            raw.connect(place)
            self.sock = raw if self._context is None else self._context.wrap_socket(raw, server_hostname=self.host)
        except BaseException:
            raw.close()
            raise

    def ask(self) -> bytes:
        self.request("GET", "/")
        answer = self.getresponse()
        body = answer.read()
        assert answer.status == 200, answer.status
        return body


def ask(address: str, context: ssl.SSLContext | None = None, host: str = "web.test") -> tuple[bytes, int]:
    """Ask once, on a connection of its own; return the answer and the serial number of the certificate, or 0."""
    with contextlib.closing(_Client(address, context, host)) as client:
        client.connect()
        serial = serial_of(client.sock) if isinstance(client.sock, ssl.SSLSocket) else 0
        return client.ask(), serial


@dataclass
class Load:
    """Clients that ask without pause, a few times on each connection, until the ``with`` block ends."""

    address: str
    context: ssl.SSLContext | None = None
    clients: int = 4
    failures: list[BaseException] = field(default_factory=list)
    answered: int = 0
    serials: set[int] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._over, self._told = threading.Event(), threading.Condition()
        self._threads = [threading.Thread(target=self._run) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def until(self, more: int) -> None:
        """Wait until so many more requests were answered."""
        with self._told:
            goal = self.answered + more
            assert self._told.wait_for(lambda: self.answered >= goal or self.failures, PATIENCE_SECONDS)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._visit()
            except Exception as error:  # noqa: BLE001 - whatever fails is what this counts
                self.failures.append(error)

    def _visit(self) -> None:
        """Ask up to ten times; a connection that was told to close is no failure."""
        with contextlib.closing(_Client(self.address, self.context)) as client:
            client.connect()
            if isinstance(client.sock, ssl.SSLSocket):
                self.serials.add(serial_of(client.sock))
            for _ in itertools.repeat(None, 10):
                if self._over.is_set() or client.sock is None:
                    return
                client.ask()
                with self._told:
                    self.answered += 1
                    self._told.notify_all()
