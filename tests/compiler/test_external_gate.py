"""The command of the external gate: one that nobody could run is found before a version waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.compiling import Desk, assert_problem, make_directory

if TYPE_CHECKING:
    from pathlib import Path


def with_gate(directory: Path, command: str) -> Desk:
    desk = Desk(make_directory(directory))
    settings = directory / "daemon.toml"
    settings.write_text(f"{settings.read_text()}\n[supervisor.external_gate]\ncommand = '''{command}'''\n")
    return desk


@pytest.mark.parametrize("command", ["./gate.sh now", "no-such-program-anywhere", "./plain.txt", "./closed 'quote"])
def test_a_command_that_can_not_be_run_is_refused_with_its_place(tmp_path: Path, command: str) -> None:
    desk = with_gate(tmp_path / "shop", command)
    (desk.directory / "plain.txt").write_text("no program")

    assert_problem(desk.refused(), r"daemon.toml:\d+: supervisor.external_gate.command: expected a ")


def test_a_command_in_the_directory_or_on_the_path_is_taken(tmp_path: Path) -> None:
    desk = with_gate(tmp_path / "shop", "./gate.sh now")
    gate = desk.directory / "gate.sh"
    gate.write_text("#!/bin/sh\n")
    gate.chmod(0o755)
    assert desk.seen()
    assert with_gate(tmp_path / "other", "true").seen()
