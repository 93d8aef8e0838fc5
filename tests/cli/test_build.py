"""build: versions made offline, in the store as a supervisor keeps it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.records import Pinned, Quarantined
from nexus_supervisor.supervisor.lock import DirectoryLock
from nexus_supervisor.supervisor.past import read_past
from nexus_supervisor.supervisor.versions import committed_version
from tests.support.built import edit, made, note, run
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return made(tmp_path)


def test_what_is_built_is_committed_and_verifies(shop: Path) -> None:
    first = run("build", shop)
    edit(shop / "knobs" / "main.toml", "discount_percent = 10", "discount_percent = 20")
    second = run("build", shop, "--reason", "a sale")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert second.stdout == f"version 2 is built: the next start of {shop} begins with it\n"
    assert committed_version(shop) == 2
    assert run("verify", shop).exit_code == 0
    past = read_past(shop).versions[-1]
    assert (past.version, past.kind, past.outcome, past.reason) == (2, "build", "committed", "a sale")
    assert past.changes == "knobs: changed main"


def test_what_is_built_already_is_not_built_again(shop: Path) -> None:
    made_first = json.loads(run("build", shop, "--json").stdout)
    again = json.loads(run("build", shop, "--json").stdout)

    assert made_first == {"version": 1, "digest": made_first["digest"], "new": True}
    assert again == {**made_first, "new": False}
    assert run("build", shop).stdout == f"nothing new: version 1 holds what {shop} holds\n"


def test_a_directory_that_is_not_valid_is_not_built_and_nothing_is_stored(shop: Path) -> None:
    edit(shop / "knobs" / "main.toml", "discount_percent = 10", "discount_percent = 1000")

    result = run("build", shop)

    assert (result.exit_code, result.stdout) == (3, "")
    assert "knobs/main.toml:" in result.stderr
    assert not (shop / "compiled").exists()


def test_nothing_is_built_beside_whoever_holds_the_directory(shop: Path) -> None:
    with DirectoryLock(shop):
        result = run("build", shop)

    assert result.exit_code == 6
    assert "already runs on" in result.stderr


def test_without_keys_nothing_is_built(shop: Path) -> None:
    (shop / "keys").rename(shop / "away")

    result = run("build", shop)

    assert result.exit_code == 3
    assert f"make them with `nexus-supervisor keygen {shop}`" in result.stderr


def test_without_a_directory_nothing_is_made(tmp_path: Path) -> None:
    assert run("build", tmp_path / "none").exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_content_that_failed_before_is_refused(shop: Path) -> None:
    assert run("build", shop).exit_code == 0
    edit(shop / "knobs" / "main.toml", "discount_percent = 10", "discount_percent = 20")
    digest = json.loads(run("check", shop, "--json").stdout)["digest"]
    note(shop, Quarantined(digest, "it failed in its canary"))

    result = run("build", shop)

    assert result.exit_code == 3
    assert "this content failed before: it failed in its canary. " in result.stderr
    assert committed_version(shop) == 1


def test_building_what_is_pinned_lifts_the_pin(shop: Path) -> None:
    digest = json.loads(run("check", shop, "--json").stdout)["digest"]
    assert run("build", shop).exit_code == 0
    note(shop, Pinned(digest))

    assert run("build", shop).exit_code == 0
    assert read_past(shop).pinned is None


def test_a_setting_of_the_environment_that_can_not_be_used_is_told_before_anything_is_done(shop: Path) -> None:
    result = run("build", shop, NEXUS_SUPERVISOR__WORKERS="many")

    assert result.exit_code == 3
    assert "NEXUS_SUPERVISOR__WORKERS" in result.stderr
    assert not (shop / "compiled").exists()


def test_a_start_begins_with_what_was_built(shop: Path) -> None:
    assert run("build", shop).exit_code == 0

    with Nexus(shop, "-w", "1") as nexus:
        assert nexus.version == 1
        assert run("build", shop).exit_code == 6
