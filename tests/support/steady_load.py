"""A steady load: clients that ask without pause and note of each request what came of it, also where nothing came."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.support.http import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Asked", "Load"]

_ANSWER_SECONDS = 10.0  # a hang guard of one request: who hangs is ended long before
_REQUESTS_A_CONNECTION = 25  # then a new one, so that a worker that is new gets some


@dataclass(slots=True)
class Asked:
    """Hold one request: when it was sent, whether it is over, and its answer; status 0 is none."""

    at: float
    over: bool = False
    status: int = 0
    version: int = 0
    slot: str = ""

    @property
    def failed(self) -> bool:
        return self.over and self.status != 200


class Load:
    """Clients that ask without pause, on connections that they keep for a while, until the ``with`` block ends."""

    def __init__(self, address: str, clients: int = 6, paths: tuple[str, ...] = (*["/"] * 9, "/changed")) -> None:
        self.asked: list[Asked] = []
        self._address, self._paths = address, paths
        self._state, self._going, self._resting, self._over = threading.Condition(), True, 0, False
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._state:
            self._over = True
            self._state.notify_all()
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Send no request while the block runs; those before it are answered."""
        with self._state:
            self._going = False
            self._state.wait_for(lambda: self._resting == len(self._threads))
        try:
            yield
        finally:
            with self._state:
                self._going = True
                self._state.notify_all()

    def until_answered_by(self, slots: set[str], version: int) -> None:
        """Wait until each of these slots has answered with a version, from now on."""
        start = len(self.asked)
        with self._state:
            assert self._state.wait_for(
                lambda: slots <= {one.slot for one in self.asked[start:] if one.version == version}, PATIENCE_SECONDS
            ), f"not every one of {slots} answers with version {version}"

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=_ANSWER_SECONDS)
        for count in itertools.count(number):
            if not self._goes_on():
                break
            asked = Asked(time.time())
            self.asked.append(asked)
            try:
                self._ask(connection, self._paths[count % len(self._paths)], asked)
            except (http.client.HTTPException, OSError):
                connection.close()
            asked.over = True
            if count % _REQUESTS_A_CONNECTION == 0:
                connection.close()
            with self._state:
                self._state.notify_all()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, path: str, asked: Asked) -> None:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        asked.version = int(answer.headers.get("Nexus-Config-Version", "0"))
        asked.slot = answer.headers.get("Nexus-Worker", "").partition("/")[0]
        asked.status = answer.status

    def _goes_on(self) -> bool:
        """Rest while the load is paused; say whether another request is to be sent."""
        with self._state:
            self._resting += 1
            self._state.notify_all()
            self._state.wait_for(lambda: self._going or self._over)
            self._resting -= 1
            return not self._over
