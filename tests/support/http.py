"""One connection to the daemon, as a client holds it: kept open, and able to leave a request half sent."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Connection", "InFlight", "Response"]

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Response:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def version(self) -> int:
        """The version of the snapshot that served the request."""
        return int(self.headers["Nexus-Config-Version"])

    @property
    def slot(self) -> str:
        """The slot that served the request."""
        return str(self.headers["Nexus-Worker"]).partition("/")[0]

    @property
    def incarnation(self) -> int:
        return int(str(self.headers["Nexus-Worker"]).partition("/")[2])


class Connection:
    """A connection that stays with the worker that accepted it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._client = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE_SECONDS)
        self._client.connect()
        self._client.auto_open = 0  # another connection might be with another worker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, method: str, path: str, key: str | None = None, body: Any = None) -> Response:
        """Send a request, with ``body`` as JSON, and return its answer."""
        raw = None if body is None else json.dumps(body).encode()
        self._client.request(method, path, raw, _headers(key, raw))
        return self.answer()

    def begin(self, path: str, key: str, body: Any) -> InFlight:
        """Send the head of a POST and return once the application waits for the body: "100 Continue" says so."""
        raw = json.dumps(body).encode()
        self._client.putrequest("POST", path)
        for name, value in {**_headers(key, raw), "Content-Length": str(len(raw)), "Expect": "100-continue"}.items():
            self._client.putheader(name, value)
        self._client.endheaders()
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += self._client.sock.recv(1)
        assert received.startswith(b"HTTP/1.1 100 "), received
        return InFlight(self, raw)

    def answer(self) -> Response:
        answered = self._client.getresponse()
        return Response(answered.status, answered.headers, answered.read())

    def send(self, raw: bytes) -> None:
        self._client.send(raw)

    def close(self) -> None:
        self._client.close()


class InFlight:
    """A request that the application has begun to serve and that waits for its body."""

    def __init__(self, connection: Connection, raw: bytes) -> None:
        self._connection = connection
        self._raw = raw

    def finish(self) -> Response:
        """Send the body and return the answer."""
        self._connection.send(self._raw)
        return self._connection.answer()


def _headers(key: str | None, raw: bytes | None) -> dict[str, str]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return headers if raw is None else {**headers, "Content-Type": "application/json"}
