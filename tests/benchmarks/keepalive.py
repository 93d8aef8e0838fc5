"""Clients on connections that are kept: what they notice of a server, from a process of their own.

``python -m tests.benchmarks.keepalive PORT PACE...`` opens a connection for each pace (seconds from one request to the
next), asks until its input ends, and prints what it noticed as JSON. A request **failed** where it was sent and had no
answer with status 200. A connection was **closed** where it ended between two requests, unless the answer before had
said ``Connection: close``. Nothing is sent twice. How much of that is good is not judged here.
"""

from __future__ import annotations

import json
import math
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

from tests.benchmarks.reports import PATIENCE_SECONDS, BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["REQUEST", "Clients", "Noticed"]

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
_ANSWER_SECONDS = 10.0
_AGAIN_SECONDS = 0.02  # after a refusal
_READ_BYTES = 4_096
_GOLDEN = 0.6180339887498949  # its multiples are spread evenly


@dataclass(slots=True)
class Noticed:
    """Hold moments of CLOCK_MONOTONIC in seconds; an answer is the moment of the request and the seconds it took."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


class Clients:
    """Run clients from the beginning of a block to its end; then ``noticed`` is there."""

    def __init__(self, port: int, paces: Sequence[float]) -> None:
        self._line = [sys.executable, "-m", "tests.benchmarks.keepalive", str(port), *map(str, paces)]
        self.noticed = Noticed()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None or not self._process.stdout.readline():
            self._process.kill()
            self._process.wait()
            message = "the clients had no answer"
            raise BenchmarkError(message)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        output, _ = self._process.communicate(timeout=PATIENCE_SECONDS)
        found = json.loads(output)
        self.noticed = Noticed(**found)


class _Client:
    """Ask on one connection in its pace, and open the next where the server ends it."""

    def __init__(self, port: int, pace: float, due: float, selector: selectors.BaseSelector, noticed: Noticed) -> None:
        self.due = self._asks_at = due
        self._port, self._pace, self._selector, self._noticed = port, pace, selector, noticed
        self._socket: socket.socket | None = None
        self._began: float | None = None  # of the request that has no answer yet
        self._connected, self._head = False, b""

    def at(self, now: float) -> None:
        """Ask where it is time, and give up what takes too long."""
        if now < self.due:
            return
        if self._began is not None:
            self._failed(now)
        elif self._socket is None or self._ended():
            self._open(now)
        else:
            self._send(now)

    def ready(self, now: float) -> None:
        """Take what has come."""
        if self._socket is None:
            return
        if not self._connected:
            self._connect(now)
            return
        try:
            part = self._socket.recv(_READ_BYTES)
        except OSError:
            part = b""
        self._head += part
        if not part and self._began is None:
            self._noticed.closed.append(now)
            self._drop()
        elif not part:
            self._failed(now)
        elif self._whole() and self._began is not None:
            self._answered(self._began, now)

    def _open(self, now: float) -> None:
        self._socket, self._connected = socket.socket(), False
        self._began, self.due = now, now + _ANSWER_SECONDS
        self._socket.setblocking(False)
        self._socket.connect_ex(("127.0.0.1", self._port))
        self._selector.register(self._socket, selectors.EVENT_WRITE, self)

    def _connect(self, now: float) -> None:
        if self._socket is None or self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._noticed.refused.append(now)
            self._drop()
            self._began, self.due = None, now + _AGAIN_SECONDS
            return
        self._connected = True
        self._selector.modify(self._socket, selectors.EVENT_READ, self)
        self._send(self._began or now)

    def _send(self, began: float) -> None:
        self._began, self.due, self._head = began, began + _ANSWER_SECONDS, b""
        try:
            if self._socket is not None:
                self._socket.send(REQUEST)
        except OSError:
            self._failed(began)

    def _ended(self) -> bool:
        """Return whether the server has ended the connection before anything is sent on it."""
        try:
            if self._socket is not None and self._socket.recv(1, socket.MSG_PEEK):
                return False
        except BlockingIOError:
            return False
        except OSError:
            pass
        self._noticed.closed.append(time.monotonic())
        self._drop()
        return True

    def _answered(self, began: float, now: float) -> None:
        if self._head.startswith(b"HTTP/1.1 200"):
            self._noticed.answers.append((began, now - began))
        else:
            self._noticed.failed.append(began)
        self._asks_at += max(1, math.ceil((now - self._asks_at) / self._pace)) * self._pace  # keeps its place in time
        self._began, self.due = None, self._asks_at
        if b"connection: close" in self._head.lower():
            self._drop()

    def _failed(self, now: float) -> None:
        self._noticed.failed.append(self._began or now)
        self._began, self.due = None, now
        self._drop()

    def _whole(self) -> bool:
        head, end, body = self._head.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return bool(end) and len(body) >= int(lengths[0].partition(b":")[2] if lengths else 0)

    def _drop(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
        self._socket = None


def main() -> None:
    """Ask until the input ends, and print what was noticed."""
    port, paces = int(sys.argv[1]), [float(pace) for pace in sys.argv[2:]]
    noticed, now = Noticed(), time.monotonic()
    with selectors.DefaultSelector() as selector:
        spread = [now + pace * (number * _GOLDEN % 1) for number, pace in enumerate(paces)]
        clients = [_Client(port, pace, due, selector, noticed) for pace, due in zip(paces, spread, strict=True)]
        selector.register(sys.stdin, selectors.EVENT_READ)
        told = False
        while True:
            if not told and len(noticed.answers) >= len(clients):
                told = print("asking", flush=True) is None
            wait = max(0.0, min(client.due for client in clients) - time.monotonic())
            events = selector.select(wait)
            if any(key.data is None for key, _ in events):
                break
            now = time.monotonic()
            for key, _ in events:
                key.data.ready(now)
            for client in clients:
                client.at(now)
    print(json.dumps(asdict(noticed)))


if __name__ == "__main__":
    main()
