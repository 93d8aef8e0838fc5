"""history and show: what a journal and a stored version say, without asking a supervisor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.core.records import Answered, Ended
from tests.support.built import edit, made, note, run

if TYPE_CHECKING:
    from pathlib import Path


def answered(push_id: str, outcome: str, version: int = 0, at: float = 0.0, **facts: Any) -> Answered:
    told = {"verb": "push", "reason": "", "requester": "ann (uid 7)", "exit_code": 0, "text": "Told."}
    return Answered(push_id, outcome=outcome, version=version, at=at, **{**told, **facts})


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Make a shop with two versions, of which the second went back, and three requests."""
    directory = made(tmp_path)
    assert run("build", directory, "--reason", "the first").exit_code == 0
    edit(directory / "knobs" / "main.toml", "discount_percent = 10", "discount_percent = 20")
    assert run("build", directory, "--reason", "a sale").exit_code == 0
    numbers = b'{"canary_errors":31,"error_ratio":6.2}'
    note(
        directory,
        Ended(2, "rolled_back", "too many errors", "ann (uid 7)", at=1_900_000_000.0, numbers=numbers),
        answered("p-2", "ROLLED_BACK", version=2, at=1_900_000_000.0, reason="a sale"),
        answered("p-3", "REJECTED", at=1_900_000_001.0, text="The directory was refused.", reason="mend it"),
        answered("r-1", "APPLIED", version=1, at=1_900_000_002.0, verb="restart"),
    )
    return directory


def test_each_version_is_told_with_who_why_what_and_how_it_ended(shop: Path) -> None:
    result = run("history", shop)

    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    second = lines.index(next(line for line in lines if " version 2 " in line))
    assert lines[second].endswith(" version 2 build: rolled_back at 2030-03-17T17:46:40Z")
    assert lines[second + 1 : second + 7] == [
        "    by: ann (uid 7)",
        "    why: a sale",
        "    changes: knobs: changed main",
        "    because: too many errors",
        "    numbers: canary 31 errors; error ratio 6.2",
        "    push p-2: ROLLED_BACK (a sale)",
    ]


def test_a_request_that_led_to_no_version_is_told_at_its_time(shop: Path) -> None:
    lines = run("history", shop).stdout.splitlines()

    assert lines[-4:] == [
        "2030-03-17T17:46:41Z push p-3: REJECTED",
        "    by: ann (uid 7)",
        "    why: mend it",
        "    The directory was refused.",
    ]


def test_a_version_without_a_bake_has_no_line_of_figures(tmp_path: Path) -> None:
    directory = made(tmp_path)
    assert run("build", directory).exit_code == 0
    nothing = b'{"bake_seconds":0.0,"canary_errors":0,"canary_requests":0}'
    note(directory, Ended(1, "committed", "", "ann (uid 7)", at=1_900_000_000.0, numbers=nothing))

    assert "numbers:" not in run("history", directory).stdout


def test_a_request_is_found_by_its_id_in_json(shop: Path) -> None:
    document = json.loads(run("history", shop, "--json").stdout)

    requests = {one["push_id"]: one for one in document["requests"]}
    assert (requests["p-3"]["outcome"], requests["p-3"]["version"]) == ("REJECTED", None)
    assert (requests["r-1"]["verb"], requests["r-1"]["version"]) == ("restart", 1)
    versions = {one["version"]: one for one in document["versions"]}
    assert versions[2]["numbers"] == {"canary_errors": 31, "error_ratio": 6.2}
    assert versions[2]["pushes"] == ["p-2"]
    assert versions[1]["outcome"] == "committed"


def test_the_newest_are_shown_and_how_many_are_not(shop: Path) -> None:
    result = run("history", shop, "-n", "1")

    assert result.stdout.splitlines()[0] == "2030-03-17T17:46:41Z push p-3: REJECTED"
    assert result.stderr == "note: 2 older ones are not shown; -n COUNT shows more\n"
    assert len(json.loads(run("history", shop, "--json", "-n", "1").stdout)["versions"]) == 1


def test_a_damaged_end_hides_nothing_before_it(shop: Path) -> None:
    journal = shop / "state" / "journal"
    raw = bytearray(journal.read_bytes())
    raw[-3] ^= 1
    journal.write_bytes(raw)

    result = run("history", shop)

    assert " version 2 build: rolled_back" in result.stdout
    assert result.stderr.startswith("note: the journal can't be followed to its end: ")


def test_where_nothing_ran_yet_the_history_is_empty(tmp_path: Path) -> None:
    result = run("history", tmp_path)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"nothing ran on {tmp_path} yet\n"
    assert json.loads(run("history", tmp_path, "--json").stdout)["versions"] == []
    assert run("history", tmp_path / "none").exit_code == 3


def test_a_version_is_shown_with_its_facts_and_every_value(shop: Path) -> None:
    lines = run("show", "2", "-d", shop).stdout.splitlines()

    assert lines[0] == "version: 2"
    assert "parent: 1" in lines
    assert "rollback of: -" in lines
    assert "knobs.main.discount_percent = 20" in lines
    assert 'supervisor.program = "asgi"' in lines


def test_a_version_in_json_holds_its_content_by_section_and_entry(shop: Path) -> None:
    document = json.loads(run("show", "1", "-d", shop, "--json").stdout)

    assert (document["version"], document["parent"]) == (1, None)
    assert document["signed_with"].startswith("SHA256:")
    assert document["content"]["knobs"]["main"]["discount_percent"] == 10


def test_no_secret_is_shown(tmp_path: Path) -> None:
    directory = tmp_path / "gateway"
    assert run("init", directory, "--program", "gateway").exit_code == 0
    source = directory / "sources" / "cursor.toml"
    source.write_text("\n".join(line for line in source.read_text().splitlines() if not line.startswith("api_key")))
    edit(source, "[source]", '[source]\napi_key = "a-literal-key-of-nobody"')
    built = run("build", directory, CLAUDE_CODE_KEY="another-key-of-nobody")
    assert built.exit_code == 0, built.stderr

    shown = [run("show", "1", "-d", directory, *more).stdout for more in ([], ["--json"])]

    assert 'sources.cursor.api_key = "<secret>"' in shown[0]
    assert json.loads(shown[1])["content"]["sources"]["cursor"]["api_key"] == "<secret>"
    assert not any("of-nobody" in text or '"digest": "' in text.partition('"content"')[2] for text in shown)


def test_a_version_that_is_not_kept_is_wrong_usage_and_a_damaged_one_is_refused(shop: Path) -> None:
    missing = run("show", "9", "-d", shop)
    stored = shop / "compiled" / "000001" / "knobs.json"
    stored.chmod(0o600)
    stored.write_bytes(stored.read_bytes().replace(b"10", b"90"))
    damaged = run("show", "1", "-d", shop)

    assert (missing.exit_code, damaged.exit_code) == (2, 3)
    assert "compiled/ has no version 9: there are 1 to 2" in missing.stderr
