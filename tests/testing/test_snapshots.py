"""Snapshots of a directory where no supervisor runs."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

import nexus_supervisor.testing
from nexus_supervisor import Snapshot, current, pinned, refresh
from nexus_supervisor.agent.context import serve_from
from nexus_supervisor.agent.holder import Holder
from nexus_supervisor.errors import NoSnapshotError, RejectedError, UsageError
from nexus_supervisor.testing import provide, serve, snapshot_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if "__pycache__" not in path.parts}


def test_a_directory_gives_the_snapshot_that_a_worker_would_get(shop: Path) -> None:
    before, path = files(shop), list(sys.path)

    snapshot = snapshot_from(shop)

    knobs = snapshot.knobs["main"]
    assert (snapshot.version, knobs.price, knobs.tags, knobs.key.reveal()) == (1, 3, ["a"], "opensesame")
    assert snapshot.daemon == {"motd": "hello"}
    assert snapshot.derived == {"where": str(shop), "word": "here", "double": 6}
    assert snapshot.row_of("knobs", "main") == 0
    assert snapshot_from(str(shop), version=7).version == 7
    assert "opensesame" not in repr([snapshot, knobs, snapshot.derived])
    with pytest.raises(TypeError, match="a snapshot is frozen"):
        knobs.price = 4
    assert files(shop) == before
    assert sys.path == path


def test_every_problem_of_a_directory_is_named(shop: Path) -> None:
    (shop / "knobs/main.toml").write_text("price = '3'\ntags = 1\n")

    with pytest.raises(RejectedError) as caught:
        snapshot_from(shop)

    assert [(one.file, one.line, one.key) for one in caught.value.problems] == [
        ("knobs/main.toml", 1, "price"),
        ("knobs/main.toml", 2, "tags"),
    ]
    told = str(caught.value)
    assert told.startswith(f"{shop} is not valid: 2 problems\n  knobs/main.toml:1: price: ")


def test_the_hook_validate_has_its_say(shop: Path) -> None:
    (shop / "knobs/main.toml").write_text("price = 13\n")

    with pytest.raises(RejectedError, match=r"1 problem\n  knobs/main\.toml:1: price: 13 is no price"):
        snapshot_from(shop)


def test_a_directory_that_is_not_there_is_a_problem_too(tmp_path: Path) -> None:
    with pytest.raises(RejectedError, match=r"expected a directory that holds daemon\.toml"):
        snapshot_from(tmp_path / "nothing")


def test_what_prepare_raises_is_raised_as_it_is(shop: Path) -> None:
    (shop / "shop_hooks.py").write_text("def prepare(snapshot):\n    raise LookupError('as it is')\n")

    with pytest.raises(LookupError, match="as it is"):
        snapshot_from(shop)


def test_a_class_that_a_test_has_imported_is_the_one_in_the_snapshot(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(shop)
    models: Any = importlib.import_module("shop_models")

    knobs = snapshot_from(shop).knobs["main"]

    assert isinstance(knobs, models.Knobs)
    assert knobs == models.Knobs(3, knobs.key, ["a"])


def test_two_directories_with_modules_of_the_same_names_have_each_its_own(shop: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(shop, other)
    (other / "shop_words.py").write_text("GREETING = 'there'\n")

    found = [snapshot_from(one).derived for one in (shop, other, shop)]

    assert [(one["where"], one["word"]) for one in found] == [
        (str(shop), "here"),
        (str(other), "there"),
        (str(shop), "here"),
    ]


def test_a_provided_snapshot_is_that_of_a_block(shop: Path) -> None:
    with provide(snapshot_from(shop)) as snapshot:
        assert current() is snapshot is refresh()
    with pytest.raises(NoSnapshotError):
        current()


@pytest.fixture
def nobody_serves() -> Iterator[None]:
    before = serve_from(None)
    yield
    serve_from(before)


@pytest.mark.usefixtures("nobody_serves")
def test_a_served_snapshot_is_that_of_the_process_until_another_one_is_served() -> None:
    seen: list[int] = []

    for version in (1, 2):
        serve(Snapshot.of(version))
        thread = Thread(target=lambda: seen.append(current().version))
        thread.start()
        thread.join()
        with pinned() as snapshot, provide(Snapshot.of(9)):
            assert (snapshot.version, current().version) == (version, 9)

    assert seen == [1, 2]


@pytest.mark.usefixtures("nobody_serves")
def test_a_worker_can_not_be_made_to_serve_something_else() -> None:
    worker = Holder.of(Snapshot.of(1))
    serve_from(worker)

    with pytest.raises(UsageError, match="this is a worker"):
        serve(Snapshot.of(2))

    assert current().version == 1


def test_a_module_for_plain_uvicorn_serves_its_directory(shop: Path) -> None:
    (shop / "app.py").write_text(
        "from nexus_supervisor import current\n\n\ndef price():\n    return current().knobs['main'].price\n"
    )
    (shop / "development.py").write_text(
        "from pathlib import Path\nfrom nexus_supervisor.testing import serve, snapshot_from\n\n"
        "serve(snapshot_from(Path(__file__).parent))\nfrom app import price\nprint(price())\n"
    )

    told = subprocess.run([sys.executable, "development.py"], cwd=shop, check=True, capture_output=True, text=True)

    assert told.stdout == "3\n"


def test_the_public_names_are_documented() -> None:
    assert nexus_supervisor.testing.__all__ == ["provide", "serve", "snapshot_from"]
    assert all(getattr(nexus_supervisor.testing, name).__doc__ for name in nexus_supervisor.testing.__all__)
