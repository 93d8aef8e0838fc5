"""A look for nothing but what is gone: for a directory whose other changes failed before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.compilation import Look, Seen
from tests.support.compiling import Desk, entry, make_directory, names, source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(make_directory(tmp_path / "shop"))
    desk.go_live(whole=True)
    return desk


def bare(desk: Desk) -> Seen:
    message = desk.compiler.look(Look(1, None, whole=False, bare=True)).message
    assert isinstance(message, Seen)
    return message


def test_what_is_gone_goes_and_what_is_new_or_changed_does_not(desk: Desk) -> None:
    before = entry(desk.content, "sources", "b")
    (desk.directory / "sources/a.toml").unlink()
    desk.write("sources/b.toml", source("b", "tier = 1"))
    desk.write("sources/c.toml", source("c"))

    seen = bare(desk)

    assert seen.gone == ("sources.a",)
    after = desk.applied(seen)
    assert names(after) == ["b"]
    assert entry(after, "sources", "b") == before


def test_where_nothing_is_gone_nothing_goes(desk: Desk) -> None:
    desk.write("sources/b.toml", source("b", "tier = 1"))

    seen = bare(desk)

    assert (seen.digest, seen.payload, seen.gone) == (desk.content.digest, None, ())


def test_the_next_look_at_everything_is_none_the_worse_for_it(desk: Desk) -> None:
    (desk.directory / "sources/a.toml").unlink()
    desk.write("sources/b.toml", source("b", "tier = 1"))
    bare(desk)

    after = desk.applied(desk.seen())

    assert names(after) == ["b"]
    assert entry(after, "sources", "b")["tier"] == 1
