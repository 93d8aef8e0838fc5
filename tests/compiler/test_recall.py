"""An older content, judged as if the directory held it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.codec import unpack
from tests.support.compiling import DAEMON, Desk, destination, entry, make_directory, names, source
from tests.support.tuned import clients, make_desk, models
from tests.support.wide import DAEMON as WIDE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(make_directory(tmp_path / "shop"))
    desk.go_live(whole=True)
    return desk


def test_what_was_changed_is_as_it_was_and_what_is_new_is_gone(desk: Desk) -> None:
    older = desk.content
    desk.write("sources/b.toml", source("b", "tier = 1"))
    desk.write("sources/c.toml", source("c"))
    desk.go_live()

    seen = desk.recalled(older)

    assert (seen.digest, seen.held, seen.gone, seen.blocked, seen.revoked) == (older.digest, (), (), (), None)
    assert desk.applied(seen).digest == older.digest


def test_an_entry_that_no_file_has_any_more_does_not_come_back(desk: Desk) -> None:
    older = desk.content
    (desk.directory / "sources/a.toml").unlink()
    desk.write("sources/b.toml", source("b", "tier = 1"))
    desk.go_live()

    seen = desk.recalled(older)

    assert seen.gone == ("sources.a",)
    assert names(desk.applied(seen)) == ["b"]
    assert entry(desk.applied(seen), "sources", "b")["tier"] == 3


def test_an_entry_that_runs_and_is_gone_meanwhile_goes_too(desk: Desk) -> None:
    older = desk.content
    desk.write("sources/b.toml", source("b", "tier = 1"))
    desk.go_live()
    (desk.directory / "sources/a.toml").unlink()

    assert desk.recalled(older).gone == ("sources.a",)


def test_where_files_can_t_be_read_what_runs_stays_and_what_was_revoked_does_not_come_back(desk: Desk) -> None:
    older = desk.content
    (desk.directory / "sources/a.toml").unlink()
    desk.write("sources/b.toml", source("b", "tier = 1"))
    desk.go_live()
    desk.restart()
    desk.write("sources/odd.toml", "[[[")
    desk.write("sources/b.toml", "[[[")

    seen = desk.recalled(older)

    assert seen.gone == ("sources.a",)
    assert entry(desk.applied(seen), "sources", "b")["tier"] == 3


def test_where_a_section_can_t_be_read_at_all_the_same_holds(desk: Desk) -> None:
    older = desk.content
    (desk.directory / "sources/a.toml").unlink()
    desk.write("sources/b.toml", source("b", "tier = 1"))
    desk.go_live()
    (desk.directory / "sources").rename(desk.directory / "elsewhere")

    seen = desk.recalled(older)

    assert (seen.gone, names(desk.applied(seen))) == (("sources.a",), ["b"])


def test_parts_that_need_a_restart_stay_as_they_run_and_are_named(desk: Desk) -> None:
    older = desk.content
    desk.write("daemon.toml", DAEMON.replace("8080", "8081") + "\n[supervisor.rollout]\nbake_seconds = 5\n")
    desk.write("destinations/main.toml", destination("main", 'dsn = "second-dsn"', 'path = "other.db"'))
    desk.write("sources/b.toml", source("b", "tier = 1"))
    desk.go_live(whole=True)

    answer = desk.recall(older)
    seen = desk.recalled(older)

    assert seen.held == ("daemon.port", "destinations.main.dsn", "destinations.main.path")
    after = desk.applied(seen)
    assert entry(after, "daemon", "daemon") == {"port": 8081}
    assert "rollout" not in entry(after, "daemon", "supervisor")
    assert entry(after, "sources", "b")["tier"] == 3
    assert list(unpack(answer.secrets or b"").values()) == ["second-dsn"]


def test_settings_that_only_a_start_reads_stay_as_they_run(desk: Desk) -> None:
    older = desk.content
    desk.write("daemon.toml", DAEMON.replace("[supervisor]", '[supervisor]\nname = "other"', 1))
    desk.write("sources/b.toml", source("b", "tier = 1"))
    desk.restart()
    desk.content = desk.applied(desk.seen(whole=True))
    desk.restart()

    assert desk.recalled(older).held == ()  # the name never ran: it waits for a start


def test_restart_required_fields_of_live_entries_stay_as_they_run(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "tuner")
    desk.go_live(whole=True)
    older = desk.content
    desk.write("models.toml", models(fast='device = "gpu"\ntimeout = 5.0', slow="timeout = 9.0"))
    desk.go_live(whole=True)

    seen = desk.recalled(older)

    assert seen.held == ("models.fast.device",)
    fast = entry(desk.applied(seen), "models", "fast")
    assert (fast["device"], fast["timeout"]) == ("gpu", 1.0)


def test_what_is_no_entry_beside_what_runs_is_refused_by_name(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "tuner")
    desk.write("models.toml", models(fast="limits = {low = 15, capacity = 20}", slow=""))
    desk.go_live(whole=True)
    older = desk.content
    desk.write("models.toml", models(fast="", slow=""))
    desk.go_live(whole=True)

    (why,) = desk.not_recalled(older)

    assert why.startswith("models.fast.limits: a field of this entry waits for a restart")


def test_a_reference_to_what_is_not_there_any_more_is_refused_by_name(desk: Desk) -> None:
    older = desk.content
    desk.write("sources/a.toml", source("a"))
    (desk.directory / "destinations/main.toml").unlink()
    desk.go_live(whole=True)

    (why,) = desk.not_recalled(older)
    assert why.startswith("sources.a.target: expected the name of an entry of destinations, found 'main', which is not")


def test_a_reference_between_live_sections_to_an_entry_that_is_left_out_is_refused(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "tuner")
    desk.write("clients/second.toml", clients("c", c='model = "slow"'))
    desk.go_live(whole=True)
    older = desk.content
    desk.write("clients/second.toml", clients("c"))
    desk.write("models.toml", models(fast=""))
    desk.go_live()

    (why,) = desk.not_recalled(older)

    assert why.startswith("clients.c.model: expected the name of an entry of models, found 'slow'")


def secret_desk(tmp_path: Path) -> Desk:
    """Make a desk whose older content has another secret in a file: the token of a client."""
    desk = make_desk(tmp_path / "tuner")
    (desk.directory / "token").write_text("first-token\n")
    desk.write("clients/second.toml", clients("c", c='token = "file:token"'))
    desk.go_live(whole=True)
    return desk


def test_references_are_resolved_again_and_their_values_travel(tmp_path: Path) -> None:
    desk = secret_desk(tmp_path)
    older = desk.content
    desk.write("clients/second.toml", clients("c"))
    desk.go_live()

    answer = desk.recall(older)

    assert list(unpack(answer.secrets or b"").values()) == ["first-token"]
    assert desk.recalled(older).digest == older.digest


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "the file 'token', which does not exist"), ("second-token", "file:token leads to now is not the one")],
)
def test_a_value_that_is_missing_or_differs_is_refused_by_name(tmp_path: Path, value: str | None, words: str) -> None:
    desk = secret_desk(tmp_path)
    older = desk.content
    desk.write("clients/second.toml", clients("c"))
    desk.go_live()
    (desk.directory / "token").unlink()
    if value is not None:
        (desk.directory / "token").write_text(value)

    (why,) = desk.not_recalled(older)

    assert why.startswith("clients.c.token: ")
    assert words in why
    assert "-token" not in why.replace("file:token", "")


def test_what_runs_already_needs_no_value_again(tmp_path: Path) -> None:
    desk = secret_desk(tmp_path)
    older = desk.content
    desk.write("models.toml", models(fast="timeout = 5.0", slow="timeout = 9.0"))
    desk.go_live()
    (desk.directory / "token").write_text("rotated")

    answer = desk.recall(older)

    assert list(unpack(answer.secrets or b"").values()) == ["first-token"]


def test_a_literal_that_the_directory_still_holds_is_taken_from_there_and_another_one_is_refused(
    tmp_path: Path,
) -> None:
    desk = make_desk(tmp_path / "tuner")
    desk.write("clients/second.toml", clients("c", c='token = "a-literal"'))
    desk.go_live(whole=True)
    older = desk.content
    desk.write("clients/second.toml", clients("c"))
    desk.go_live()

    (why,) = desk.not_recalled(older)
    assert why.startswith("clients.c.token: ")
    assert "no longer in the directory" in why

    desk.write("clients/first.toml", clients("a", "b", b='token = "a-literal"'))
    assert desk.recalled(older).digest == older.digest


def test_what_is_widened_by_it_is_listed(tmp_path: Path) -> None:
    directory = tmp_path / "doors"
    (directory / "keys.d").mkdir(parents=True)
    desk = Desk(directory)
    desk.write("daemon.toml", WIDE)
    desk.write("keys.d/a.toml", "tier = 2\n")
    desk.go_live(whole=True)
    older = desk.content
    desk.write("keys.d/a.toml", "tier = 1\n")
    desk.go_live()

    assert desk.recalled(older).widened == ("keys.a.tier",)


def test_the_next_look_is_none_the_worse_for_it(desk: Desk) -> None:
    older = desk.content
    desk.write("sources/b.toml", source("b", "tier = 1"))
    newer = desk.go_live()
    desk.recalled(older)

    assert (desk.seen().digest, desk.seen().payload) == (newer.digest, None)


def test_a_directory_that_can_t_be_read_at_all_refuses_it(desk: Desk) -> None:
    older = desk.content
    desk.directory.rename(desk.directory.with_name("away"))

    assert desk.not_recalled(older)
