"""Code that is replaced, on real processes: a restart that fails brings back the old code, not what the files hold."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.supervisor import keys
from tests.support.nexus import Nexus, command
from tests.support.steady_load import Load

if TYPE_CHECKING:
    from pathlib import Path

DAEMON = """
[supervisor]
program = "asgi"
app = "web:app"
workers = 2

[supervisor.rollout]
bake_seconds = 0.5
quiet_bake_seconds = 0.5
gates.min_requests = 20
trial.enabled = false
"""

APP = """
CODE, STATUS = {code!r}, {status}

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    status = 200 if scope["path"] == "/code" else STATUS
    await send({{"type": "http.response.start", "status": status, "headers": [(b"content-length", b"3")]}})
    await send({{"type": "http.response.body", "body": CODE.encode()}})
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "daemon.toml").write_text(DAEMON)
    (tmp_path / "web.py").write_text(APP.format(code="old", status=200))
    keys.generate(tmp_path)
    return tmp_path


def codes(nexus: Nexus) -> set[str]:
    """Return which code each worker answers with."""
    return {str(answer.body, "ascii") for answer in nexus.everywhere("GET", "/code").values()}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are exec'd, and import what the files hold")
def test_after_a_restart_whose_new_code_fails_its_bake_every_worker_runs_the_old_code(directory: Path) -> None:
    with Nexus(directory) as nexus:
        slots = set(nexus.workers())
        (directory / "web.py").write_text(APP.format(code="new", status=500))
        with Load(nexus.address, clients=4, paths=("/",)) as load:
            load.until_answered_by(slots, 1)
            ended = nexus.restart()

        assert ended.exit_code != 0, ended
        assert codes(nexus) == {"old"}

        (directory / "web.py").write_text(APP.format(code="new", status=200))
        assert nexus.restart().exit_code == 0
        assert codes(nexus) == {"new"}


def test_a_start_with_an_application_that_cannot_be_imported_ends_with_1_and_the_reason(directory: Path) -> None:
    (directory / "web.py").write_text("app = None\n1 / 0\n")

    ended = command("run", directory, "-b", "127.0.0.1:0")

    assert ended.returncode == 1
    assert f"program asgi can't be loaded: ZeroDivisionError at {directory / 'web.py'}:2" in ended.stderr
