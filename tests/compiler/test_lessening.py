"""Which earlier content of the directory a later one is, but for entries that were taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.compiling import Desk, make_directory, source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Give a daemon that runs a, b and c, and whose directory changed b since."""
    desk = Desk(make_directory(tmp_path / "shop"))
    desk.write("sources/c.toml", source("c"))
    desk.go_live(whole=True)
    desk.write("sources/b.toml", source("b", "tier = 1"))
    return desk


def test_what_runs_and_is_taken_away_lessens_what_was_there_before(desk: Desk) -> None:
    first = desk.seen()
    (desk.directory / "sources/a.toml").unlink()
    second = desk.seen()
    (desk.directory / "sources/c.toml").unlink()
    third = desk.seen()

    assert second.lessens[0] == first.wanted
    assert third.lessens[:2] == (second.wanted, first.wanted)
    assert desk.seen().lessens == third.lessens


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("sources/b.toml", None, id="what is taken away was changed before"),
        pytest.param("sources/c.toml", source("c", "tier = 0"), id="something else changes"),
        pytest.param("sources/d.toml", source("d"), id="something comes"),
    ],
)
def test_any_other_change_is_a_change(desk: Desk, file: str, text: str | None) -> None:
    desk.seen()
    (desk.directory / "sources/a.toml").unlink()
    if text is None:
        (desk.directory / file).unlink()
    else:
        desk.write(file, text)

    assert desk.seen().lessens == ()


def test_what_never_ran_and_is_taken_away_mends_the_rest(desk: Desk) -> None:
    desk.write("sources/d.toml", source("d"))
    desk.seen()
    (desk.directory / "sources/d.toml").unlink()

    assert desk.seen().lessens == ()
