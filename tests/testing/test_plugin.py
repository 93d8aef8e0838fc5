"""The pytest fixture, in a pytest of its own that knows nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor import Snapshot, current
from nexus_supervisor.errors import NoSnapshotError, RejectedError

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.testing.serving import Served

TESTS = """
from pathlib import Path
from threading import Thread

import pytest
from nexus_supervisor import Snapshot, current
from nexus_supervisor.errors import NoSnapshotError

HERE = Path(__file__).parent


def test_the_directory(nexus_snapshot):
    snapshot = nexus_snapshot(HERE)
    assert current() is snapshot
    assert (snapshot.knobs["main"].price, snapshot.derived["double"]) == (3, 6)
    seen = []
    thread = Thread(target=lambda: seen.append(current()))
    thread.start()
    thread.join()
    assert seen == [snapshot]
    assert not (HERE / "closed").exists()


def test_it_has_ended():
    assert (HERE / "closed").read_text() == "1"
    with pytest.raises(NoSnapshotError):
        current()


def test_by_hand_and_another_one(nexus_snapshot):
    nexus_snapshot(Snapshot.of(5, knobs={"main": 1}))
    assert current().version == 5
    nexus_snapshot(str(HERE))
    nexus_snapshot(HERE)
    assert current().version == 2
"""


def test_the_fixture_is_found_without_a_line_in_any_conftest(shop: Path) -> None:
    (shop / "test_shop.py").write_text(TESTS)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_shop.py"]

    told = subprocess.run(command, cwd=shop, env=variables, capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stdout + told.stderr
    assert "3 passed" in told.stdout


def test_nothing_but_the_fixture_is_imported_by_a_pytest_that_does_not_use_it() -> None:
    code = (
        "import sys, nexus_supervisor.testing.plugin; "
        "print(sorted(name for name in sys.modules if name.startswith('nexus_supervisor.')))"
    )

    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert told.stdout == "['nexus_supervisor.testing', 'nexus_supervisor.testing.plugin']\n"


def test_the_fixture_refuses_what_the_compiler_refuses_and_serves_what_it_served(
    shop: Path, nexus_snapshot: Served
) -> None:
    with pytest.raises(NoSnapshotError):
        current()
    nexus_snapshot(Snapshot.of(5))
    (shop / "knobs/main.toml").write_text("price = '3'\n")

    with pytest.raises(RejectedError, match=r"knobs/main\.toml:1: price"):
        nexus_snapshot(shop)

    assert current().version == 5
