"""verify: what is said about a store, and its exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from nexus_supervisor.cli import main
from nexus_supervisor.supervisor import keys, verify

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)], env={"NEXUS_HOME": None}, catch_exceptions=False)


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path | None]]:
    """Have every store verify; return what was looked at."""
    looked: list[tuple[Path, Path | None]] = []

    def sound_store(directory: Path, allowed_signers: Path | None) -> verify.Report:
        looked.append((directory, allowed_signers))
        return verify.Report(("version 1: intact", "journal: 3 records"), ok=True)

    monkeypatch.setattr(verify, "verify", sound_store)
    return looked


def test_a_sound_store_is_told_line_by_line(tmp_path: Path, sound: list[tuple[Path, Path | None]]) -> None:
    signers = tmp_path / "signers"
    signers.write_text("")

    result = run(tmp_path, "--allowed-signers", signers)

    assert (result.exit_code, result.stdout) == (0, "version 1: intact\njournal: 3 records\n")
    assert sound == [(tmp_path, signers)]


def test_with_json_the_report_is_one_document(tmp_path: Path, sound: list[tuple[Path, Path | None]]) -> None:
    assert json.loads(run(tmp_path, "--json").stdout) == {
        "ok": True,
        "lines": ["version 1: intact", "journal: 3 records"],
    }


def test_a_damaged_store_leaves_with_3_and_json_stays_one_document(tmp_path: Path) -> None:
    keys.generate(tmp_path)
    (tmp_path / "compiled" / "000001").mkdir(parents=True)
    (tmp_path / "compiled" / "000001" / "manifest.json").write_text("{}")

    shown, document = run(tmp_path), run(tmp_path, "--json")

    assert (shown.exit_code, document.exit_code) == (3, 3)
    assert f"the store of {tmp_path} doesn't verify" in shown.stderr
    assert json.loads(document.stdout)["ok"] is False


def test_a_signers_file_that_is_missing_is_wrong_usage(tmp_path: Path) -> None:
    assert run(tmp_path, "--allowed-signers", tmp_path / "missing").exit_code == 2


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    result = run(tmp_path / "missing")

    assert result.exit_code == 3
    assert "missing is not a directory" in result.stderr
