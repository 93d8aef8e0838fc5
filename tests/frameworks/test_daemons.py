"""Frameworks under the whole supervisor, and a daemon that listens on nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.supervisor import keys
from tests.support.gateway_directory import write_atomically
from tests.support.nexus import Nexus
from tests.support.serving import Load

if TYPE_CHECKING:
    from collections.abc import Mapping

APPS = Path(__file__).parent / "apps"
PUSHES = 12

DAEMON = """\
[supervisor]
program = "{program}"
app = "{app}"
workers = 2
rollout.bake_seconds = 0

[[supervisor.section]]
name = "items"
files = "items/*.toml"
apply = "live"
model = "goods:Item"
"""

GOODS = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    price: int
"""

TASKS = """
from nexus_supervisor import current

last = None


def handle():
    global last
    if last == (price := current().items["nut"].price):
        return 3600
    last = price
    with open("{told}", "a") as told:
        told.write(f"{{price}}\\n")
    return True
"""


def make_directory(parent: Path, program: str, app: str, files: Mapping[str, str] | None = None) -> Path:
    directory = parent / "dir"
    shutil.copytree(APPS, directory)
    (directory / "items").mkdir()
    for name, text in {
        "goods.py": GOODS,
        "daemon.toml": DAEMON.format(program=program, app=app),
        **(files or {}),
    }.items():
        (directory / name).write_text(text)
    price(directory, 1)
    keys.generate(directory)
    return directory


def price(directory: Path, number: int) -> None:
    """Have the price be the number of the next version: what is read says where it is from."""
    write_atomically(directory / "items" / "nut.toml", f"price = {number}\n")


@pytest.mark.parametrize(
    ("program", "app", "paths"),
    [
        ("asgi", "fastapi_app:app", ["/async", "/sync", "/threads", "/stream"]),
        ("asgi", "starlette_app:app", ["/async", "/sync", "/stream"]),
        ("asgi", "django_app:asgi", ["/async", "/sync", "/stream-async"]),
        ("wsgi", "django_app:wsgi", ["/sync", "/threads", "/stream"]),
        ("wsgi", "flask_app:app", ["/plain", "/threads", "/stream"]),
    ],
)
def test_no_request_is_mixed_or_fails_while_files_change_and_workers_restart(
    tmp_path: Path, program: str, app: str, paths: list[str]
) -> None:
    directory = make_directory(tmp_path, program, app)
    with Nexus(directory) as nexus:
        host, _, port = nexus.address.rpartition(":")
        with Load((host, int(port)), paths) as load:
            load.until_each_client_has(1, lambda: nexus.process.poll() is None)
            for version in range(2, 2 + PUSHES):
                price(directory, version)
                assert nexus.push().exit_code == 0
            restarted = nexus.restart()
            load.until_each_client_has(2, lambda: nexus.process.poll() is None)

        assert restarted.exit_code == 0
        assert load.failures == []
        assert {one.status for one in load.all} == {200}
        assert [one for one in load.all if set(one.body) != {one.version}] == []
        assert len({one.version for one in load.all}) > PUSHES / 2
        assert {one.worker.partition("/")[2] for one in load.all} == {"1", "2"}


def test_a_daemon_that_listens_on_nothing_does_its_jobs_and_can_be_given_an_address_later(tmp_path: Path) -> None:
    pipe = tmp_path / "told"
    os.mkfifo(pipe)
    directory = make_directory(tmp_path, "jobs", "tasks:handle", {"tasks.py": TASKS.format(told=pipe)})
    settings = directory / "daemon.toml"
    deaf = f'[daemon]\nbind = ""\n{settings.read_text()}'
    write_atomically(settings, deaf)
    with os.fdopen(os.open(pipe, os.O_RDWR), "rb", buffering=0) as told, Nexus(directory, "-w", "1", bind="") as nexus:
        before = nexus.status()["addresses"]
        first = told.readline()
        price(directory, 2)
        assert nexus.push().exit_code == 0
        second = told.readline()
        write_atomically(settings, deaf.replace('bind = ""', 'bind = "127.0.0.1"\nport = 0'))
        listening = nexus.restart().exit_code, nexus.status()["addresses"]
        write_atomically(settings, deaf)
        again = nexus.restart().exit_code, nexus.status()["addresses"]

        assert (before, first, second) == ([], b"1\n", b"2\n")
        assert listening[0] == 0
        assert len(listening[1]) == 1
        assert again == (0, [])
        assert [one["address"] for one in nexus.history("listening")] == ["", listening[1][0], ""]
