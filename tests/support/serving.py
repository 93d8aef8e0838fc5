"""Call real workers over real sockets: one call, or several clients without pause that note what they were answered."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from itertools import cycle
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, Any, Self

from nexus_supervisor.core.cells import Layout, Totals
from nexus_supervisor.core.messages import Retired
from tests.support.workers import ROWS, SLOTS, Site, Worker, a_content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nexus_supervisor.core.content import Content
    from nexus_supervisor.core.readings import Reading

ONE = a_content({"nut": {"price": 1}})
TWO = a_content({"nut": {"price": 2}})

Address = tuple[str, int]


def a_server(site: Site, number: int = 0, **fields: Any) -> Worker:
    return Worker(site, number, **({"program": "asgi", "app": "web:app"} | fields))


@contextmanager
def connected(address: Address) -> Iterator[HTTPConnection]:
    with closing(HTTPConnection(*address)) as connection:
        yield connection


def get(connection: HTTPConnection, path: str = "/") -> tuple[HTTPResponse, Any]:
    """Return the response and its body, decoded where it is JSON."""
    connection.request("GET", path)
    response = connection.getresponse()
    raw = response.read()
    is_json = response.getheader("content-type", "").startswith("application/json")
    return response, json.loads(raw) if is_json else raw


def retired(worker: Worker, version: int) -> None:
    """Wait until no version before this one is in use."""
    while worker.receive(Retired).oldest != version:
        pass


def totals(site: Site, number: int = 0) -> Totals:
    """Return what a worker has counted."""
    return Layout(ROWS, SLOTS).totals(site.words(), number)


def reading(site: Site, number: int = 0) -> Reading:
    """Return what a worker has counted on its newest version."""
    return Layout(ROWS, SLOTS).reading(site.words(), number)


@dataclass(frozen=True)
class Seen:
    """What one request was answered, and which version was the newest one when the answer was complete."""

    path: str
    status: int
    version: int
    worker: str
    body: Any
    newest: int


class Load:
    """Clients that ask for the paths in turn, without pause, until the ``with`` block ends."""

    def __init__(self, address: Address, paths: Sequence[str] = ("/",), clients: int = 4) -> None:
        self.newest = 1
        self.failures: list[BaseException] = []
        self.seen: list[list[Seen]] = [[] for _ in range(clients)]
        self._address, self._paths, self._stop = address, tuple(paths), Event()
        self._told = Condition()
        self._threads = [Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def all(self) -> list[Seen]:
        return [one for seen in self.seen for one in seen]

    def until_each_client_has(self, count: int, alive: Callable[[], bool]) -> None:
        """Wait until every client was answered so many times from now on."""
        wanted = [len(seen) + count for seen in self.seen]
        with self._told:
            while any(len(seen) < goal for seen, goal in zip(self.seen, wanted, strict=True)):
                assert alive()
                self._told.wait(1)

    def _run(self, number: int) -> None:
        with connected(self._address) as client:
            for path in cycle((*self._paths[number:], *self._paths[:number])):
                if self._stop.is_set():
                    return
                try:
                    response, body = get(client, path)
                except Exception as error:  # noqa: BLE001 - whatever fails is what this counts
                    self.failures.append(error)
                    client.close()
                else:
                    version, worker = response.getheader("Nexus-Config-Version", ""), response.getheader("Nexus-Worker")
                    seen = Seen(path, response.status, int(version or 0), worker or "", body, self.newest)
                    with self._told:
                        self.seen[number].append(seen)
                        self._told.notify()


def priced(version: int) -> Content:
    """Return content in which the price is the number of its version: what is read says where it is from."""
    return a_content({"nut": {"price": version}})


def push(worker: Worker, load: Load, count: int) -> None:
    """Activate so many versions, one after the other, while the load goes on."""
    for version in range(load.newest + 1, load.newest + 1 + count):
        worker.go(priced(version), version, priced(version - 1))
        load.newest = version
