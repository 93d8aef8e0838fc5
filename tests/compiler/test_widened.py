"""What is widened: entries that run and may do more in what can go live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.compiling import Desk, write
from tests.support.wide import DAEMON

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    directory = tmp_path / "doors"
    (directory / "keys.d").mkdir(parents=True)
    write(directory / "daemon.toml", DAEMON)
    write(directory / "keys.d/a.toml", 'blocked = ["x"]\n')
    write(directory / "keys.d/b.toml", "")
    desk = Desk(directory)
    desk.go_live(whole=True)
    return desk


def test_each_wider_field_of_an_entry_that_runs_is_listed_by_its_key(desk: Desk) -> None:
    desk.write("keys.d/a.toml", 'admin = true\ntier = 2\nnote = "new"\n')
    desk.write("keys.d/b.toml", "[bounds]\nmost = 0\n")
    desk.write("keys.d/c.toml", "admin = true\n")

    seen = desk.go_live()

    assert seen.widened == ("keys.a.admin", "keys.a.blocked", "keys.a.tier", "keys.b.bounds.most")
    assert desk.seen().widened == ()


def test_what_becomes_narrower_or_goes_is_not_listed(desk: Desk) -> None:
    desk.write("keys.d/a.toml", 'tier = 0\nblocked = ["x", "y"]\n[bounds]\nmost = 99\n')
    (desk.directory / "keys.d/b.toml").unlink()

    assert desk.seen().widened == ()


def test_a_field_that_waits_for_a_restart_counts_when_the_restart_applies_it(desk: Desk) -> None:
    desk.write("keys.d/b.toml", "pinned = 5\ntier = 2\n")

    assert desk.go_live().widened == ("keys.b.tier",)
    assert desk.seen(whole=True).widened == ("keys.b.pinned",)


def test_a_list_of_keys_is_as_bounded_as_any_other(desk: Desk) -> None:
    for number in range(2_100):
        write(desk.directory / f"keys.d/k{number:04}.toml", "")
    desk.go_live()
    for number in range(2_100):
        write(desk.directory / f"keys.d/k{number:04}.toml", "admin = true\n")

    assert len(desk.seen().widened) == 2_000
