"""diff: real versions of a real daemon, and what its directory holds, compared without asking it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from nexus_supervisor.cli import main
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(
        main, [str(one) for one in arguments], env={"NEXUS_HOME": None, **environment}, catch_exceptions=False
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def changes(directory: Path, *versions: int) -> dict[str, Any]:
    shown = run("diff", *versions, "-d", directory, "--json")
    assert shown.exit_code == 0, shown.stderr
    return {one["key"]: one for one in json.loads(shown.stdout)["changes"]}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a shop through three versions and stop it."""
    directory = tmp_path_factory.mktemp("history") / "shop"
    assert run("init", directory, "--program", "asgi").exit_code == 0
    edit(directory / "daemon.toml", "bake_seconds = 2", "bake_seconds = 0")
    with Nexus(directory, "-w", "1") as nexus:
        edit(directory / "knobs" / "main.toml", "discount_percent = 10", "discount_percent = 20")
        nexus.push()
        shutil.copy(directory / "knobs" / "main.toml", directory / "knobs" / "second.toml")
        nexus.push()
    return directory


@pytest.fixture
def shop(history: Path, tmp_path: Path) -> Iterator[Path]:
    """Take a copy of that shop as it was left: three versions, and a directory that is as version 3."""
    directory = tmp_path / "shop"
    shutil.copytree(history, directory, symlinks=True)
    return directory


def test_a_directory_as_it_runs_has_no_difference(shop: Path) -> None:
    shown = run("diff", "-d", shop)

    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.splitlines() == [f"version 3 -> what {shop} holds", "no difference"]


def test_an_edit_is_told_by_field_and_by_what_it_needs(shop: Path) -> None:
    knobs = shop / "knobs" / "main.toml"
    edit(knobs, "discount_percent = 20", "discount_percent = 30")
    edit(knobs, "The Corner Shop", "The Other Shop")
    edit(shop / "daemon.toml", "port = 8080", "port = 8081")
    (shop / "knobs" / "second.toml").rename(shop / "knobs" / "third.toml")

    shown = run("diff", "-d", shop)

    assert shown.stdout.splitlines() == [
        f"version 3 -> what {shop} holds",
        "~ daemon.port: 8080 -> 8081  (needs a restart)",
        "~ knobs.main.discount_percent: 20 -> 30  (live)",
        '~ knobs.main.shop: "The Corner Shop" -> "The Other Shop"  (needs a restart)',
        "- knobs.second  (live)",
        "+ knobs.third  (live)",
        "5 differences: 3 live, 2 need a restart",
    ]


def test_versions_are_compared_in_either_order(shop: Path) -> None:
    forth, back = changes(shop, 1, 3), changes(shop, 3, 1)

    assert forth.keys() == back.keys() == {"knobs.main.discount_percent", "knobs.second"}
    field = forth["knobs.main.discount_percent"]
    assert field == {
        "key": "knobs.main.discount_percent",
        "section": "knobs",
        "entry": "main",
        "field": "discount_percent",
        "change": "changed",
        "needs": "live",
        "widened": False,
        "before": 10,
        "after": 20,
    }
    assert (back["knobs.main.discount_percent"]["before"], back["knobs.second"]["change"]) == (20, "removed")
    assert (forth["knobs.second"]["change"], forth["knobs.second"]["field"]) == ("added", None)
    assert changes(shop, 2, 2) == {}


def test_a_version_alone_is_compared_with_the_directory(shop: Path) -> None:
    document = json.loads(run("diff", 1, "-d", shop, "--json").stdout)

    assert document["from"]["version"] == 1
    assert document["to"]["version"] is None
    assert document["to"]["digest"] == json.loads(run("check", shop, "--json").stdout)["digest"]
    assert len(document["changes"]) == 2


def test_before_the_first_start_everything_is_new(tmp_path: Path) -> None:
    run("init", tmp_path, "--program", "hello")

    shown = run("diff", "-d", tmp_path)

    assert shown.exit_code == 0
    assert shown.stdout.startswith(f"nothing, as no version is committed yet -> what {tmp_path} holds\n")
    assert "+ knobs.main  (live)\n" in shown.stdout
    assert "needs" not in shown.stdout


def test_a_version_that_is_not_kept_is_wrong_usage(shop: Path) -> None:
    shutil.rmtree(shop / "compiled" / "000002")

    for versions in ((2,), (1, 2), (2, 3), (9, 1)):
        refused = run("diff", *versions, "-d", shop)
        assert refused.exit_code == 2
        assert "compiled/ has no version" in refused.stderr
        assert "there are 1, 3" in refused.stderr
    assert run("diff", 0, "-d", shop).exit_code == 2


def test_a_damaged_version_is_refused(shop: Path) -> None:
    path = shop / "compiled" / "000001" / "knobs.json"
    path.write_bytes(path.read_bytes().replace(b"hello", b"hollo"))

    refused = run("diff", 1, 3, "-d", shop)

    assert refused.exit_code == 3
    assert "compiled/000001/knobs.json does not verify" in refused.stderr


def test_a_directory_that_is_not_valid_is_refused_with_every_problem(shop: Path) -> None:
    edit(shop / "knobs" / "main.toml", "discount_percent = 20", "discount_percent = 99")

    refused = run("diff", "-d", shop)

    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "knobs/main.toml:7: discount_percent: expected at most 50, found 99" in refused.stderr
    document = json.loads(run("diff", "-d", shop, "--json").stdout)
    assert (document["to"], document["changes"]) == (None, [])
    assert [problem["key"] for problem in document["problems"]] == ["discount_percent"]
    assert run("diff", 1, 2, "-d", shop).exit_code == 0
    assert run("diff", "-d", shop / "missing").exit_code == 3


def test_versions_can_be_compared_where_their_model_is_gone(shop: Path) -> None:
    (shop / "models.py").unlink()

    shown = run("diff", 1, 2, "-d", shop)

    assert shown.exit_code == 0
    assert "~ knobs.main.discount_percent: 10 -> 20  (live)" in shown.stdout
    assert "note: which fields of knobs need a restart or were widened is not known" in shown.stderr


def test_what_lets_an_entry_do_more_than_before_is_marked(tmp_path: Path) -> None:
    directory = tmp_path / "gateway"
    run("init", directory)
    edit(directory / "daemon.toml", "bake_seconds = 2", "bake_seconds = 0")
    with Nexus(directory, "-w", "1"):
        source = directory / "sources" / "cursor.toml"
        text = source.read_text()
        assert text.count("[source]\n") == 1
        source.write_text(text.replace("[source]\n", "[source]\ntier = 0\ndefault_profile = 'other'\n"))
        narrower = changes(directory, 1)
        assert not any(one["widened"] for one in narrower.values())
        source.write_text(f"{text}\n[source.rate_limit]\nrequests_per_minute = 0\n")
        wider, shown = changes(directory, 1), run("diff", 1, "-d", directory).stdout

    assert {key: one["widened"] for key, one in wider.items()} == {
        "sources.cursor.rate_limit.requests_per_minute": True
    }
    assert shown.splitlines()[1:] == [
        "~ sources.cursor.rate_limit.requests_per_minute: 2000 -> 0  (live, widened)",
        "1 difference: 1 live; 1 widened",
    ]


def test_a_secret_is_told_to_have_changed_and_never_shown(tmp_path: Path) -> None:
    directory = tmp_path / "gateway"
    run("init", directory)
    edit(directory / "daemon.toml", "bake_seconds = 2", "bake_seconds = 0")
    with Nexus(directory, "-w", "1"):
        key = directory / "keys" / "demo-cursor.key"
        before = key.read_text().strip()
        key.write_text("nxs_another_key_that_must_not_show\n")
        shown = [run("diff", 1, "-d", directory), run("diff", 1, "-d", directory, "--json")]

    assert "~ sources.cursor.api_key: <changed>  (live)" in shown[0].stdout
    assert json.loads(shown[1].stdout)["changes"][0]["after"] == "<changed>"
    for one in shown:
        assert before not in one.output
        assert "must_not_show" not in one.output


def test_nothing_is_touched(shop: Path) -> None:
    before = {path: path.lstat().st_mtime_ns for path in shop.rglob("*")}

    run("diff", "-d", shop)
    run("diff", 1, 2, "-d", shop)

    assert {path: path.lstat().st_mtime_ns for path in shop.rglob("*")} == before
