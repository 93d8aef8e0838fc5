"""The program ``hello``: a whole worker program with its own main loop, to read and to start from."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent


def run(agent: Agent) -> None:
    """Answer every connection with the application's own keys of ``[daemon]``, until the agent drains."""
    listener = agent.listeners[0]
    listener.settimeout(0.1)
    agent.ready()
    while not agent.draining:
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            with connection, suppress(OSError), agent.request() as snapshot:
                connection.settimeout(1)
                connection.recv(65536)
                head = f"Nexus-Config-Version: {snapshot.version}\r\nNexus-Worker: {agent.slot}/{agent.incarnation}"
                body = json.dumps(snapshot.daemon)
                connection.sendall(f"HTTP/1.0 200 OK\r\n{head}\r\n\r\n{body}\n".encode())
