"""explain: the line that writes a value, since when it is live, and who uses it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.built import edit, made, run
from tests.support.control import STATUS, ScriptedSupervisor, answer_with

if TYPE_CHECKING:
    from pathlib import Path

KEY = "knobs.main.discount_percent"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    directory = made(tmp_path)
    assert run("build", directory).exit_code == 0
    return directory


def line_of(path: Path, start: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if line.startswith(start))


def explained(shop: Path, key: str, **environment: str) -> dict[str, Any]:
    shown = run("explain", key, "-d", shop, "--json", **environment)
    assert shown.exit_code == 0, shown.stderr
    document: dict[str, Any] = json.loads(shown.stdout)
    return document


def test_a_value_is_shown_with_its_line_and_since_when_it_is_live(shop: Path) -> None:
    line = line_of(shop / "knobs" / "main.toml", "discount_percent")

    assert run("explain", KEY, "-d", shop).stdout.splitlines() == [
        f"{KEY} = 10",
        f"written in knobs/main.toml:{line}",
        "live since version 1",
        "no supervisor runs",
    ]


def test_a_value_is_live_since_the_version_that_brought_it(shop: Path) -> None:
    knobs = shop / "knobs" / "main.toml"
    edit(knobs, "discount_percent = 10", "discount_percent = 20")
    assert run("build", shop).exit_code == 0
    edit(knobs, "The Corner Shop", "The Other Shop")
    assert run("build", shop).exit_code == 0

    assert (explained(shop, KEY)["since"], explained(shop, "knobs.main.shop")["since"]) == (2, 3)


def test_an_edit_that_is_not_live_says_what_is(shop: Path) -> None:
    edit(shop / "knobs" / "main.toml", "discount_percent = 10", "discount_percent = 20")

    document = explained(shop, KEY)

    assert (document["value"], document["live"], document["committed_value"]) == (20, False, 10)
    assert "not live: version 1 has 10, since version 1" in run("explain", KEY, "-d", shop).stdout


def test_a_setting_that_nobody_wrote_is_the_default(shop: Path) -> None:
    document = explained(shop, "supervisor.rollout.canary")

    assert (document["value"], document["source"], document["live"]) == (1, "default", True)


def test_what_the_environment_gives_wins_and_is_named(shop: Path) -> None:
    given = {"NEXUS_DAEMON__PORT": "9999"}
    document = explained(shop, "daemon.port", **given)

    assert (document["value"], document["source"]) == (9999, "environment")
    assert (
        "given by the environment variable NEXUS_DAEMON__PORT, "
        in run("explain", "daemon.port", "-d", shop, **given).stdout
    )


def test_a_whole_entry_is_shown_value_by_value(shop: Path) -> None:
    lines = run("explain", "knobs.main", "-d", shop).stdout.splitlines()

    assert f"{KEY} = 10" in lines
    assert 'knobs.main.shop = "The Corner Shop"' in lines


def test_a_mistake_is_told_with_its_line_beside_what_runs(shop: Path) -> None:
    edit(shop / "knobs" / "main.toml", "discount_percent = 10", "discount_percent = 1000")

    lines = run("explain", KEY, "-d", shop).stdout.splitlines()

    line = line_of(shop / "knobs" / "main.toml", "discount_percent")
    assert lines[0].startswith(f"{KEY} is not known: knobs/main.toml:{line}: ")
    assert lines[1] == "not live: version 1 has 10, since version 1"


def test_what_no_file_has_any_more_is_told_as_it_runs(shop: Path) -> None:
    (shop / "knobs" / "main.toml").rename(shop / "knobs" / "other.toml")

    assert run("explain", KEY, "-d", shop).stdout.splitlines()[:2] == [
        f"{KEY} is in no file any more",
        "not live: version 1 has 10, since version 1",
    ]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("knob.main.discount_percent", "did you mean knobs?"),
        ("knobs.mian.discount_percent", "did you mean main?"),
        ("knobs.main.discount_percnt", "did you mean discount_percent?"),
        ("daemon.prot", "did you mean port?"),
        ("nothing", "there is no such section"),
    ],
)
def test_a_key_that_nobody_knows_is_wrong_usage_with_what_was_meant(shop: Path, key: str, meant: str) -> None:
    result = run("explain", key, "-d", shop)

    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith(meant)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    directory = tmp_path / "gateway"
    assert run("init", directory, "--program", "gateway").exit_code == 0

    shown = run("explain", "sources.cursor.api_key", "-d", directory, CURSOR_KEY="key-of-nobody")

    assert "key-of-nobody" not in shown.stdout + shown.stderr


def test_the_workers_that_use_it_are_those_whose_version_has_it(shop: Path) -> None:
    edit(shop / "knobs" / "main.toml", "discount_percent = 10", "discount_percent = 20")
    assert run("build", shop).exit_code == 0
    workers = [{**one, "version": number + 1} for number, one in enumerate(STATUS["workers"])]
    with ScriptedSupervisor(shop, answer_with(status={**STATUS, "workers": workers})):
        shown = run("explain", KEY, "-d", shop).stdout.splitlines()
        document = explained(shop, KEY)

    assert shown[-1] == "in gateway-1"
    assert document["workers"] == ["gateway-1"]


@pytest.mark.parametrize("keys", [["daemon.port"], ["daemon"]])
def test_what_waits_for_a_restart_is_called_held(shop: Path, keys: list[str]) -> None:
    edit(shop / "daemon.toml", "port = 8080", "port = 8081")
    pending = {"keys": keys, "since": "2026-11-24T06:00:00.000Z", "needs": "restart"}
    with ScriptedSupervisor(shop, answer_with(status={**STATUS, "pending_restart": pending})):
        lines = run("explain", "daemon.port", "-d", shop).stdout.splitlines()

    assert "held until a restart: version 1 has 8080, since version 1" in lines


def test_models_are_not_imported_here(shop: Path) -> None:
    import sys

    (shop / "models.py").write_text(
        f"import sys\nsys.modules['nexus_was_here'] = sys\n{(shop / 'models.py').read_text()}"
    )

    run("explain", KEY, "-d", shop)

    assert "nexus_was_here" not in sys.modules
