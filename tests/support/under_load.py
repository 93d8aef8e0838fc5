"""A small web daemon under load, its helper processes by name, and what a process has in hand when it is killed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil

from tests.support.chaos import children, make_stall, stopped

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.nexus import Nexus
    from tests.support.steady_load import Load

__all__ = ["await_workers", "failures", "kill_with_its_requests", "make_web", "titled"]

APP = """

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
"""


def make_web(parent: Path, code: str = "", *, workers: int = 2, settings: str = "") -> Path:
    """Make a directory that serves ``app`` of ``stall.py``: "ok" on every path, unless ``code`` replaces it."""
    directory = make_stall(parent, APP + code, workers=workers, settings=settings)
    daemon = directory / "daemon.toml"
    daemon.write_text(daemon.read_text().replace('program = "stall:serve"', 'program = "asgi"\napp = "stall:app"'))
    return directory


def titled(nexus: Nexus, title: str) -> int | None:
    """Return the pid of the process that calls itself that, as ``zygote`` and ``trial`` do; None if there is none."""
    for child in children(nexus):
        try:
            if child.cmdline()[:1] and child.cmdline()[0].startswith(f"nexus: {title}"):
                return child.pid
        except psutil.Error:  # gone, or not yet what it will be
            continue
    return None


def kill_with_its_requests(pid: int) -> int:
    """Kill a worker, and return how many connections it had in its hands then."""
    with stopped(pid):
        in_hand = sum(one.status == psutil.CONN_ESTABLISHED for one in psutil.Process(pid).net_connections("tcp"))
        os.kill(pid, signal.SIGKILL)
    return in_hand


def failures(load: Load) -> int:
    """Return how many requests were not answered with 200 so far."""
    return sum(one.failed for one in list(load.asked))


def await_workers(nexus: Nexus, *, after: dict[str, int] | None = None) -> None:
    """Wait until every worker is ready, each of these slots with a later incarnation than that."""
    while any(
        one["state"] != "ready" or one["incarnation"] <= (after or {}).get(slot, 0)
        for slot, one in nexus.workers().items()
    ):
        nexus.until("slot_ready")
