"""Healthy workers are replaced by fresh ones, and no client notices."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from nexus_supervisor.supervisor import keys
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

APP = """
held = []


async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"] == "/leak":
            held.append(bytes(range(256)) * 400_000)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
"""
DAEMON = """\
[daemon]
port = 0

[supervisor]
program = "asgi"
app = "app:app"
workers = {workers}

[supervisor.rollout]
bake_seconds = 0
trial.enabled = false

[supervisor.liveness]
timeout_seconds = 2.0

[supervisor.recycle]
{bound}
"""


def make(directory: Path, bound: str, workers: int = 2) -> Path:
    (directory / "daemon.toml").write_text(DAEMON.format(bound=bound, workers=workers))
    (directory / "app.py").write_text(APP)
    keys.generate(directory)
    return directory


def test_a_worker_that_has_begun_enough_requests_is_replaced_and_no_request_fails(
    tmp_path: Path, background: ThreadPoolExecutor
) -> None:
    with Nexus(make(tmp_path, "max_requests = 200\njitter = 0")) as nexus:
        enough = threading.Event()

        def ask() -> set[int]:
            statuses: set[int] = set()
            connection = nexus.connection()
            while not enough.is_set():
                answer = connection.request("GET", "/")
                statuses.add(answer.status)
                if answer.headers.get("Connection") == "close":
                    connection.close()
                    connection = nexus.connection()
            connection.close()
            return statuses

        asking = [background.submit(ask) for _ in range(2)]
        try:
            recycled = nexus.until("slot_recycled")
            nexus.until("slot_ready", slot=recycled["slot"])
            nexus.until("worker_exited", slot=recycled["slot"])
        finally:
            enough.set()

        assert recycled["reason"] == "max_requests"
        assert {status for one in asking for status in one.result()} == {200}
        kinds = [fields["slot"] for fields in nexus.history("slot_drained", "slot_ready")]
        assert kinds.index(recycled["slot"], 2) < len(kinds) - 1


def test_a_worker_with_too_much_memory_is_replaced(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, "max_rss_mb = 300\njitter = 0", workers=1)) as nexus:
        for _ in range(3):
            assert nexus.request("GET", "/leak").status == 200

        recycled = nexus.until("slot_recycled")

        assert (recycled["slot"], recycled["incarnation"], recycled["reason"]) == ("asgi-0", 1, "max_rss_mb")
        nexus.until("slot_ready", slot="asgi-0", incarnation=2)


def test_a_bound_below_what_a_fresh_worker_has_is_told_and_nobody_is_replaced(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, "max_rss_mb = 1")) as nexus:
        off = nexus.until("recycling_off")

        assert off["program"] == "asgi"
        assert nexus.history("slot_recycled") == []
