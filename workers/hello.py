"""The program ``hello``: the smallest complete program with a main loop of its own, to read and to start from."""

import json
import select
import socket
from contextlib import suppress

from nexus_supervisor import Agent


def run(agent: Agent) -> None:
    """Answer one connection after the other, until the agent drains."""
    agent.ready()
    while not agent.draining:
        agent.progress.tick()
        for listener in select.select(agent.listeners, (), (), 0.1)[0]:
            with suppress(OSError):  # another worker was faster, or the client has left
                answer(agent, listener.accept()[0])


def answer(agent: Agent, connection: socket.socket) -> None:
    """Answer with the application's own keys of ``[daemon]``, as the snapshot of this request has them."""
    with connection, agent.request() as snapshot, suppress(OSError):
        connection.settimeout(1)
        connection.recv(65536)
        named = f"Nexus-Config-Version: {snapshot.version}\r\nNexus-Config-Digest: {snapshot.digest[:12]}"
        head = f"{named}\r\nNexus-Worker: {agent.slot}/{agent.incarnation}"
        connection.sendall(f"HTTP/1.0 200 OK\r\n{head}\r\n\r\n{json.dumps(snapshot.daemon)}\n".encode())
