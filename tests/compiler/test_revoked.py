"""What must be revoked, beside what can go live: every verdict on a directory says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.compilation import Adopt
from tests.support.compiling import Desk, entry, make_directory, names, source
from tests.support.tuned import clients, make_desk, models

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(make_directory(tmp_path / "shop"))
    desk.go_live(whole=True)
    return desk


def test_what_is_gone_goes_and_what_is_new_or_changed_does_not(desk: Desk) -> None:
    before = entry(desk.content, "sources", "b")
    (desk.directory / "sources/a.toml").unlink()
    desk.write("sources/b.toml", source("b", "tier = 1"))
    desk.write("sources/c.toml", source("c"))

    seen = desk.seen()

    assert (seen.gone, seen.remains) == (("sources.a",), ())
    after = desk.remaining(seen)
    assert names(after) == ["b"]
    assert entry(after, "sources", "b") == before
    assert names(desk.applied(seen)) == ["b", "c"]


def test_where_all_that_changed_is_gone_one_payload_is_enough(desk: Desk) -> None:
    (desk.directory / "sources/a.toml").unlink()

    seen = desk.seen()

    assert (seen.revoked, seen.revoked_payload) == (seen.digest, None)
    assert names(desk.remaining(seen)) == ["b"]


def test_where_nothing_is_gone_nothing_goes(desk: Desk) -> None:
    desk.write("sources/b.toml", source("b", "tier = 1"))

    seen = desk.seen()

    assert (seen.revoked, seen.revoked_payload, seen.gone, seen.remains) == (None, None, (), ())


def test_what_was_revoked_can_be_adopted_and_the_rest_follows(desk: Desk) -> None:
    (desk.directory / "sources/a.toml").unlink()
    desk.write("sources/b.toml", source("b", "tier = 1"))
    seen = desk.seen()
    assert seen.revoked is not None

    adopt = Adopt(3, seen.revoked, None, payload_beside=False, secrets_beside=False, resolve=False)
    desk.adopt_message(adopt, None)
    desk.content = desk.remaining(seen)

    rest = desk.seen()
    assert (rest.gone, rest.revoked) == ((), None)
    assert rest.digest == seen.digest
    assert entry(desk.applied(rest), "sources", "b")["tier"] == 1


def test_what_is_not_valid_without_what_is_gone_says_why_and_the_candidate_goes_on(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "tuner")
    desk.write("clients/second.toml", clients("c", c='model = "slow"'))
    desk.go_live(whole=True)
    desk.write("clients/second.toml", clients("c"))
    desk.write("models.toml", models(fast=""))

    seen = desk.go_live()

    assert (seen.gone, seen.revoked, seen.revoked_payload) == (("models.slow",), None, None)
    (why,) = seen.remains
    assert (why.key, why.code) == ("clients.c.model", "reference")
    assert names(desk.content, "models") == ["fast"]


def test_a_whole_look_says_it_too(desk: Desk) -> None:
    (desk.directory / "sources/a.toml").unlink()
    desk.write("sources/c.toml", source("c"))

    assert names(desk.remaining(desk.seen(whole=True))) == ["b"]
