"""A supervisor that answers by script: a real control server in an event loop of its own thread."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import TYPE_CHECKING, Any, Self, TypeVar

from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import (
    ANSWERS,
    REQUESTS,
    Answer,
    Ended,
    FollowNotices,
    Noticed,
    Request,
    StatusReport,
    StatusRequest,
)
from nexus_supervisor.core.framing import FrameDecoder, frame
from nexus_supervisor.supervisor.control_server import ControlServer, Reply, Requester

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.notices import Notice

PATIENCE = 30.0  # seconds; reached only where a test fails

STATUS: dict[str, Any] = {
    "version": 12,
    "digest": "3f2a9c81d0" + "0" * 54,
    "state": "ok",
    "name": "nexus",
    "program": "gateway",
    "pid": 3999,
    "directory": "/srv/demo",
    "addresses": ["127.0.0.1:8080"],
    "uptime_seconds": 3725.5,
    "signing": "on",
    "isolation": "same-uid",
    "rollout": None,
    "pending_restart": None,
    "drift": None,
    "last_rejection": None,
    "watch": {"mode": "inotify", "last_compare_age_seconds": 1.25},
    "settings_unread": ["supervisor.guards"],
    "workers": [
        {
            "slot": f"gateway-{number}",
            "incarnation": 1,
            "pid": 4000 + number,
            "state": "ready",
            "version": 12,
            "active_since": "2026-11-24T06:00:00.000Z",
            "oldest_snapshot": 12,
            "requests": 7,
            "errors": number,
            "rss_bytes": 40 << 20,
        }
        for number in range(2)
    ],
}

T = TypeVar("T")
Script = Callable[[Request, Requester, Reply], None]


def ended(exit_code: int, outcome: str, text: str = "", problems: tuple[str, ...] = (), **facts: Any) -> Ended:
    """Return an end with its facts."""
    return Ended(exit_code, outcome, text, problems, canonical.encode(facts))


def noticed(number: int, kind: str = "committed", text: str = "Version 2 is live.", **facts: Any) -> Noticed:
    """Return a notice as the supervisor sends it."""
    document = {"kind": kind, "level": "info", "text": text, "fields": facts}
    return Noticed(number, 1_795_500_000.0 + number, canonical.encode(document))


def answer_with(*answers: Answer, status: dict[str, Any] | None = None) -> Script:
    """Return a script: the status to who asks for it, the given answers to everything else."""

    def script(request: Request, _: Requester, reply: Reply) -> None:
        if isinstance(request, StatusRequest):
            reply(StatusReport(canonical.encode(STATUS if status is None else status)))
        elif isinstance(request, FollowNotices):
            for answer in answers:
                if isinstance(answer, Noticed) and answer.number >= request.since:
                    reply(answer)
        else:
            for answer in answers:
                reply(answer)

    return script


class ScriptedSupervisor:
    """Serve the control socket of a directory until the block ends."""

    def __init__(self, directory: Path, script: Script, max_clients: int = 8, idle_seconds: float = 3600.0) -> None:
        self.asked: Queue[tuple[Request, Requester, Reply]] = Queue()
        self.announced: Queue[Notice] = Queue()
        self._script = script
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        (directory / "state").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._server = ControlServer(
            directory, self._submit, max_clients, announce=self.announced.put, idle_seconds=idle_seconds
        )

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.in_loop(self._server.start)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._end()

    def close(self) -> None:
        """Close the control server, as a supervisor does when it ends."""
        self.in_loop(self._server.close)

    def in_loop(self, act: Callable[[], Any]) -> Any:
        """Call a function in the event loop and return its result."""

        async def performed() -> Any:
            result = act()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(performed(), self._loop).result(PATIENCE)

    def next_request(self) -> tuple[Request, Requester, Reply]:
        """Wait for the next request that arrived."""
        return self.asked.get(timeout=PATIENCE)

    def _submit(self, request: Request, requester: Requester, reply: Reply) -> None:
        self.asked.put((request, requester, reply))
        self._script(request, requester, reply)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RawClient:
    """Hold a connection to a control socket, to say things that the real client never says."""

    def __init__(self, directory: Path) -> None:
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.connect(os.fspath(directory / "state" / "control.sock"))
        self.connection.settimeout(PATIENCE)
        self._decoder = FrameDecoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def say(self, *requests: Request) -> None:
        """Send requests at once."""
        self.connection.sendall(b"".join(frame(REQUESTS.encode(request)) for request in requests))

    def hear(self) -> list[Answer]:
        """Return every answer until the server closes the connection."""
        heard: list[Answer] = []
        while received := self._received():
            heard += [ANSWERS.decode(body) for body, _ in self._decoder.feed(received)]
        return heard

    def hear_one(self) -> Answer:
        """Return the next answer, byte by byte, so that nothing after it is taken."""
        while True:
            frames = self._decoder.feed(self.connection.recv(1))
            if frames:
                return ANSWERS.decode(frames[0][0])

    def _received(self) -> bytes:
        try:
            return self.connection.recv(1 << 16)
        except ConnectionResetError:
            return b""


@contextmanager
def in_thread(act: Callable[[], T]) -> Iterator[Queue[T | BaseException]]:
    """Run a blocking call beside the test; its result or error arrives in the queue."""
    results: Queue[T | BaseException] = Queue()

    def run() -> None:
        try:
            results.put(act())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            results.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join(PATIENCE)
