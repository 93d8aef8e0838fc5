"""What the directory wants, and what of it can go live: against real files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core import delta
from nexus_supervisor.core.changes import Impact
from nexus_supervisor.core.compilation import Adopt, Adopted
from nexus_supervisor.core.content import EMPTY, Digest
from nexus_supervisor.errors import ProtocolError
from tests.support.compiling import (
    DAEMON,
    PEPPER,
    Desk,
    assert_problem,
    destination,
    entry,
    lines,
    make_directory,
    names,
    source,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(make_directory(tmp_path / "shop"))


def test_a_valid_directory_becomes_content_with_daemon_and_all_sections(desk: Desk) -> None:
    seen = desk.go_live(whole=True)

    assert seen.wanted == seen.digest == desk.content.digest
    assert sorted(desk.content.sections) == ["daemon", "destinations", "sources"]
    assert names(desk.content) == ["a", "b"]
    assert desk.content.sections["sources"].apply == "live"
    assert entry(desk.content, "daemon", "daemon") == {"port": 8080}
    assert (seen.files, seen.parsed) == (4, 4)


def test_nothing_is_held_while_nothing_runs(desk: Desk) -> None:
    assert desk.seen(whole=False).held == ()


def test_defaults_are_part_of_the_content_so_spelling_them_out_changes_nothing(desk: Desk) -> None:
    before = desk.go_live(whole=True)

    desk.write("sources/b.toml", source("b", "# nothing new", "tier = 3", "can_write = false"))
    after = desk.seen()

    assert (after.digest, after.payload) == (before.digest, None)


def test_a_changed_file_travels_as_a_delta_of_one_entry(desk: Desk) -> None:
    desk.go_live(whole=True)

    desk.write("sources/b.toml", source("b", "tier = 1"))
    seen = desk.seen(hints=("sources/b.toml",))

    change = delta.decode(seen.payload or b"")
    assert change.base == desk.content.digest
    assert list(change.sections["sources"].changed) == ["b"]
    assert change.sections.keys() == {"sources"}
    assert desk.applied(seen).digest == seen.digest


def test_unchanged_files_are_not_parsed_again(desk: Desk) -> None:
    desk.go_live(whole=True)
    assert desk.seen().parsed == 0

    desk.write("sources/b.toml", source("b", "tier = 1"))

    assert desk.seen(hints=("sources/b.toml", "sources/a.toml")).parsed == 1
    assert desk.seen().parsed == 0


def test_hints_name_added_renamed_and_deleted_files(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.write("sources/c.toml", source("c"))
    (desk.directory / "sources/a.toml").rename(desk.directory / "sources/z.toml")
    (desk.directory / "sources/b.toml").unlink()

    seen = desk.seen(hints=("sources/c.toml", "sources/a.toml", "sources/z.toml", "sources/b.toml"))

    assert names(desk.applied(seen)) == ["a", "c"]
    assert seen.gone == ("sources.b",)


@pytest.mark.parametrize("hint", ["sources", "sources/..data", ".", ""])
def test_a_hint_that_may_mean_any_file_compares_the_whole_section(desk: Desk, hint: str) -> None:
    desk.go_live(whole=True)
    (desk.directory / "sources/b.toml").unlink()

    assert desk.seen(hints=(hint,)).gone == ("sources.b",)


def test_a_hint_about_something_else_changes_nothing(desk: Desk) -> None:
    desk.go_live(whole=True)

    assert desk.seen(hints=("keys/signing.key", "sources/.a.toml.swp", "README")).payload is None


def test_editor_files_are_no_entries(desk: Desk) -> None:
    desk.go_live(whole=True)
    for name in (".#a.toml", ".a.toml.swp", "a.toml~", "#a.toml#", "4913", "notes.txt"):
        (desk.directory / "sources" / name).write_text("not toml [")

    assert desk.seen().payload is None


def test_every_mistake_of_every_file_is_reported_at_once(desk: Desk) -> None:
    desk.write("sources/a.toml", source("a", 'tier = "3"', "can_write = 1", "tierr = 2"))
    desk.write("sources/c.toml", "[source]\napi_key = 'x'\n")
    desk.write("destinations/main.toml", destination("main", 'type = "mysql"'))

    refused = desk.refused()

    name_words = "expected a name of 1 to 64 lower-case letters, digits, _ and -"
    assert lines(refused) == [
        "destinations/main.toml:3: destination.type: expected 'sqlite' or 'postgres', found 'mysql'",
        "sources/a.toml:4: source.tier: expected a whole number, found a text in quotes",
        "sources/a.toml:5: source.can_write: expected true or false, found 1",
        "sources/a.toml:6: source.tierr: expected a known key, found an unknown one: did you mean tier?",
        f"sources/c.toml:1: source.name: {name_words}, found none: write it",
    ]


def test_two_entries_of_one_name_name_both_files_and_lines(desk: Desk) -> None:
    desk.write("sources/c.toml", "\n\n" + source("b", key="another"))

    refused = desk.refused()

    assert_problem(refused, r"sources/c\.toml:4: source\.name: expected the name 'b' .* that of sources/b\.toml:2")
    assert refused.problems[0].code == "duplicate"


def test_two_sources_that_resolve_to_one_key_name_both_files_but_never_the_key(desk: Desk) -> None:
    (desk.directory / "key").write_text("key-of-b\n")
    desk.write("sources/c.toml", source("c", key="file:key"))

    refused = desk.refused()

    assert_problem(refused, r"sources/c\.toml:3: source\.api_key: expected a value that no other entry has, found that")
    assert "sources/b.toml:3" in refused.problems[0].message
    assert "key-of-b" not in repr(refused)


def test_an_unknown_destination_is_refused_with_the_name_that_was_meant(desk: Desk) -> None:
    desk.write("sources/b.toml", source("b", "", "[source.policy]", 'allowed = ["main", "mian"]'))

    assert_problem(desk.refused(), r"sources/b\.toml:6: source\.policy\.allowed\[1\]: .* 'mian': did you mean main\?")


def test_a_reference_to_a_file_that_is_broken_is_no_second_mistake(desk: Desk) -> None:
    desk.write("destinations/main.toml", "[destination")

    assert len(desk.refused().problems) == 1


def test_the_number_of_problems_is_bounded(desk: Desk) -> None:
    desk.write("daemon.toml", DAEMON + "\n[supervisor.limits]\nmax_problems = 3\n")
    for number in range(10):
        desk.write(f"sources/x{number}.toml", "broken [")

    found = lines(desk.refused())

    assert len(found) == 4
    assert found[-1] == "7 more problems are not shown: mend these first"


def test_mistakes_in_settings_have_file_and_line(desk: Desk) -> None:
    desk.write("daemon.toml", DAEMON + '\n[supervisor.rollout]\nbake_secondz = 1\ncanary = "x"\n')

    refused = desk.refused()

    assert_problem(refused, r"daemon\.toml:24: supervisor\.rollout\.bake_secondz: ")
    assert_problem(refused, r"daemon\.toml:25: supervisor\.rollout\.canary: ")


def test_a_broken_first_daemon_toml_is_the_only_problem(desk: Desk) -> None:
    desk.write("daemon.toml", "[daemon")

    assert [problem.file for problem in desk.refused().problems] == ["daemon.toml"]


def test_a_missing_daemon_toml_is_said(desk: Desk) -> None:
    (desk.directory / "daemon.toml").unlink()

    assert_problem(desk.refused(), r"daemon\.toml: expected the file daemon\.toml, found none")


def test_application_keys_get_one_warning_with_a_line(desk: Desk) -> None:
    desk.write("daemon.toml", DAEMON.replace("port = 8080", "port = 8080\nflavor = 'mild'"))

    (warning,) = desk.seen().warnings

    assert str(warning).startswith("daemon.toml:1: daemon: ")
    assert "flavor" in warning.message


def test_overrides_decide_settings_but_are_not_content(tmp_path: Path) -> None:
    plain = Desk(make_directory(tmp_path / "a"))
    overridden = Desk(make_directory(tmp_path / "b"), {"supervisor": {"workers": 3}, "daemon": {"port": 1}})

    assert plain.seen().wanted == overridden.seen().wanted


def test_a_missing_section_directory_is_an_error_and_revokes_nothing(desk: Desk) -> None:
    desk.go_live(whole=True)
    (desk.directory / "sources").rename(desk.directory / "elsewhere")

    refused = desk.refused()

    assert_problem(refused, r"sources: expected the directory sources/ to exist, found nothing")
    assert refused.gone == ()

    (desk.directory / "elsewhere").rename(desk.directory / "sources")
    assert desk.seen(hints=("sources/a.toml",)).payload is None


def test_a_missing_dir_is_an_error_and_revokes_nothing(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.directory.rename(desk.directory.with_name("moved"))

    refused = desk.refused()

    assert_problem(refused, r"expected DIR to exist")
    assert (refused.gone, refused.revoked) == ((), None)


def test_a_symlinked_dir_is_followed(tmp_path: Path) -> None:
    make_directory(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")

    assert Desk(tmp_path / "link").seen().files == 4


def test_a_model_that_can_not_be_loaded_is_a_problem_of_daemon_toml(desk: Desk) -> None:
    desk.write("daemon.toml", DAEMON.replace("tests.support.shop:Source", "tests.support.shop:Sauce"))

    assert_problem(desk.refused(), r"daemon\.toml:11: supervisor\.section\[0\]\.model: .* has no Sauce")


def test_a_section_without_model_takes_plain_documents_named_by_their_file(tmp_path: Path) -> None:
    section = '[supervisor]\nprogram = "asgi"\n[[supervisor.section]]\nname = "rooms"\nfiles = "rooms/*.toml"\n'
    directory = tmp_path / "house"
    (directory / "rooms").mkdir(parents=True)
    (directory / "daemon.toml").write_text(section + 'apply = "live"\n')
    (directory / "rooms/kitchen.toml").write_text("size = 3\nbuilt = 2020-01-02\n")
    desk = Desk(directory)

    desk.go_live(whole=True)

    assert entry(desk.content, "rooms", "kitchen") == {"size": 3, "built": "2020-01-02"}


def test_a_section_may_be_one_file_and_a_deleted_one_is_a_deleted_entry(tmp_path: Path) -> None:
    section = '[supervisor]\nprogram = "asgi"\n[[supervisor.section]]\nname = "models"\nfiles = "models.toml"\n'
    directory = tmp_path / "zoo"
    directory.mkdir()
    (directory / "daemon.toml").write_text(section + 'apply = "live"\n')
    (directory / "models.toml").write_text("a = 1\n")
    desk = Desk(directory)
    desk.go_live(whole=True)

    (directory / "models.toml").unlink()

    assert desk.seen(hints=("models.toml",)).gone == ("models.models",)


def test_the_admin_token_is_stored_as_reference_and_digest_and_travels(desk: Desk) -> None:
    (desk.directory / "token").write_text("very-secret-token")
    desk.write("daemon.toml", DAEMON.replace("port = 8080", 'port = 8080\nadmin_token = "file:token"'))

    desk.go_live(whole=True)

    stored = entry(desk.content, "daemon", "daemon")["admin_token"]
    assert stored["ref"] == "file:token"
    assert desk.secrets[stored["digest"]] == "very-secret-token"


def test_only_secrets_that_travel_are_beside_the_content(desk: Desk) -> None:
    desk.go_live(whole=True)

    assert list(desk.secrets.values()) == ["first-dsn"]
    assert entry(desk.content, "sources", "a")["api_key"]["ref"] is None


def test_names_of_environment_variables_in_use_are_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "from-outside")
    monkeypatch.setenv("SHOP_DSN", "sqlite://")
    desk.write("sources/b.toml", source("b", key="env:SHOP_KEY"))
    desk.write("destinations/main.toml", destination("main", 'dsn = "env:SHOP_DSN"'))

    assert desk.seen().environment == ("SHOP_DSN", "SHOP_KEY")


def test_a_secret_file_with_another_value_is_noticed_by_a_whole_comparison(desk: Desk) -> None:
    key = desk.directory / "key"
    key.write_text("one")
    desk.write("sources/b.toml", source("b", key="file:key"))
    before = desk.go_live(whole=True)

    key.write_text("another")

    assert desk.seen().digest != before.digest


def test_a_secret_that_was_missing_is_found_once_its_file_is_there(desk: Desk) -> None:
    desk.write("sources/b.toml", source("b", key="file:key"))
    assert_problem(desk.refused(), r"sources/b\.toml:3: source\.api_key: .* 'key', which does not exist")

    (desk.directory / "key").write_text("one")

    assert desk.seen().files == 4


# what is held


def test_a_restart_required_change_is_held_and_live_ones_go_on(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.write("destinations/main.toml", destination("main", 'dsn = "second-dsn"', 'path = "x.db"'))
    desk.write("sources/b.toml", source("b", "tier = 0"))

    seen = desk.go_live()

    assert seen.held == ("destinations.main.dsn", "destinations.main.path")
    assert seen.wanted != seen.digest
    assert entry(desk.content, "sources", "b")["tier"] == 0
    assert entry(desk.content, "destinations", "main")["path"] == ""
    assert list(desk.secrets.values()) == ["first-dsn"]


def test_a_look_for_everything_holds_nothing(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.write("destinations/main.toml", destination("main", 'dsn = "second-dsn"'))
    desk.go_live()

    seen = desk.go_live(whole=True)

    assert (seen.held, seen.wanted) == ((), seen.digest)
    assert list(desk.secrets.values()) == ["second-dsn"]


def test_secrets_of_held_entries_survive_another_compiler(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.write("destinations/main.toml", destination("main", 'dsn = "second-dsn"'))
    desk.compiler = desk.fresh()
    payload = delta.encode(desk.content.delta_from(None))
    desk.compiler._running.adopt(desk.content.digest, payload, desk.secrets)

    desk.go_live()

    assert list(desk.secrets.values()) == ["first-dsn"]


def test_settings_are_held_or_live_key_by_key(desk: Desk) -> None:
    desk.go_live(whole=True)
    changed = DAEMON.replace("port = 8080", 'port = 9090\nlog_level = "debug"')
    desk.write("daemon.toml", changed.replace('program = "asgi"', 'program = "asgi"\nworkers = 7'))

    seen = desk.go_live()

    assert seen.held == ("daemon.port", "supervisor.workers")
    assert entry(desk.content, "daemon", "daemon") == {"port": 8080, "log_level": "debug"}


def test_a_key_that_the_command_line_gives_is_never_pending(tmp_path: Path) -> None:
    desk = Desk(make_directory(tmp_path / "shop"), {"daemon": {"port": 1}})
    desk.go_live(whole=True)

    desk.write("daemon.toml", DAEMON.replace("8080", "9090"))

    assert desk.seen().held == ()


def test_a_live_change_that_needs_what_is_held_blocks_all(desk: Desk) -> None:
    before = desk.go_live(whole=True)
    desk.write("destinations/new.toml", destination("new"))
    desk.write("sources/b.toml", source("b", 'target = "new"'))

    seen = desk.seen()

    assert seen.held == ("destinations.new",)
    assert seen.digest == before.digest
    (blocked,) = seen.blocked
    assert str(blocked).startswith("sources/b.toml:4: source.target: expected the name of an entry of destinations")
    assert str(blocked).endswith("found 'new': it is there, but waits for a restart")


def test_what_is_gone_is_revoked_also_where_all_else_is_blocked(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.write("destinations/new.toml", destination("new"))
    desk.write("sources/b.toml", source("b", 'target = "new"'))
    (desk.directory / "sources/a.toml").unlink()

    seen = desk.seen()

    assert seen.blocked
    assert (seen.digest, seen.payload) == (desk.content.digest, None)
    assert seen.gone == ("sources.a",)
    after = desk.remaining(seen)
    assert names(after) == ["b"]
    assert entry(after, "sources", "b")["target"] is None


def test_a_held_removal_keeps_what_refers_to_it_valid(desk: Desk) -> None:
    desk.go_live(whole=True)
    (desk.directory / "destinations/main.toml").unlink()
    desk.write("sources/a.toml", source("a"))

    seen = desk.go_live()

    assert seen.held == ("destinations.main",)
    assert entry(desk.content, "sources", "a")["target"] is None
    assert names(desk.content, "destinations") == ["main"]


def test_with_hold_every_live_change_waits_with_the_held_one(tmp_path: Path) -> None:
    daemon = DAEMON.replace('program = "asgi"', 'program = "asgi"\non_restart_required = "hold"')
    desk = Desk(make_directory(tmp_path / "shop", daemon=daemon))
    before = desk.go_live(whole=True)
    desk.write("destinations/main.toml", destination("main", 'path = "x.db"'))
    desk.write("sources/b.toml", source("b", "tier = 0"))

    seen = desk.seen()

    assert (seen.digest, seen.payload) == (before.digest, None)
    assert str(seen.blocked[0]).startswith("daemon.toml:6: supervisor.on_restart_required: live changes wait")


def test_a_change_of_sections_is_held_and_live_changes_go_on_by_the_running_ones(desk: Desk) -> None:
    desk.go_live(whole=True)
    (desk.directory / "origins").mkdir()
    desk.write("origins/o.toml", source("o"))
    desk.write("daemon.toml", DAEMON.replace("sources/*.toml", "origins/*.toml"))
    desk.write("sources/b.toml", source("b", "tier = 0"))
    (desk.directory / "sources/a.toml").unlink()

    seen = desk.go_live()

    assert seen.held == ("supervisor.section",)
    assert seen.gone == ("sources.a",)
    assert names(desk.content) == ["b"]
    assert entry(desk.content, "sources", "b")["tier"] == 0

    desk.go_live(whole=True)
    assert names(desk.content) == ["o"]


# what is gone


def test_a_deleted_file_is_gone_while_another_file_is_broken(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.write("sources/a.toml", "[source")
    (desk.directory / "sources/b.toml").unlink()

    refused = desk.refused()

    assert refused.gone == ("sources.b",)
    assert refused.revoked == desk.applied(refused).digest
    assert names(desk.applied(refused)) == ["a"]


def test_a_broken_file_keeps_the_entry_that_it_held(desk: Desk) -> None:
    desk.go_live(whole=True)
    (desk.directory / "sources/b.toml").rename(desk.directory / "sources/renamed.toml")
    assert desk.seen().gone == ()

    desk.write("sources/renamed.toml", "[source")

    assert desk.refused().gone == ()


def test_a_file_that_is_back_but_not_whole_holds_what_it_held(desk: Desk) -> None:
    desk.go_live(whole=True)
    (desk.directory / "sources/b.toml").unlink()
    assert desk.seen().gone == ("sources.b",)

    (desk.directory / "sources/b.toml").write_text('[source]\nname = "b')

    assert desk.refused().gone == ()


def test_an_entry_whose_file_now_holds_another_is_gone_though_others_are_broken(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.write("sources/b.toml", source("c"))
    desk.write("sources/a.toml", "broken [")

    assert desk.refused().gone == ("sources.b",)


def test_a_renamed_file_revokes_nothing(desk: Desk) -> None:
    desk.go_live(whole=True)
    (desk.directory / "sources/b.toml").rename(desk.directory / "sources/other.toml")

    seen = desk.seen()

    assert (seen.gone, seen.payload) == ((), None)


def test_a_new_compiler_knows_by_file_name_what_a_broken_file_holds(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.write("sources/a.toml", "broken [")
    (desk.directory / "sources/b.toml").unlink()
    desk.restart()

    refused = desk.refused()

    assert (refused.gone, refused.doubtful) == (("sources.b",), ())


def test_a_new_compiler_revokes_nothing_while_a_file_of_another_name_is_broken(desk: Desk) -> None:
    desk.go_live(whole=True)
    (desk.directory / "sources/b.toml").rename(desk.directory / "sources/moved.toml")
    desk.write("sources/moved.toml", "broken [")
    desk.restart()

    refused = desk.refused()

    assert refused.gone == ()
    assert refused.doubtful == ("sources.b",)


def test_a_broken_daemon_toml_blocks_no_revocation(desk: Desk) -> None:
    desk.go_live(whole=True)
    desk.write("daemon.toml", "[daemon")
    (desk.directory / "sources/b.toml").unlink()

    assert desk.refused().gone == ("sources.b",)

    desk.restart()
    assert desk.refused().gone == ("sources.b",)


def test_a_revocation_that_leaves_an_invalid_rest_says_why(tmp_path: Path) -> None:
    daemon = DAEMON.replace('apply = "restart"', 'apply = "live"')
    desk = Desk(make_directory(tmp_path / "shop", daemon=daemon))
    desk.go_live(whole=True)
    (desk.directory / "destinations/main.toml").unlink()

    refused = desk.refused()

    assert refused.gone == ("destinations.main",)
    assert refused.revoked is None
    assert str(refused.remains[0]).startswith("sources.a.target: expected the name of an entry of destinations")


# what runs


def test_an_adopted_payload_must_lead_to_its_digest(desk: Desk) -> None:
    payload = desk.seen(whole=True).payload

    with pytest.raises(ProtocolError, match="as announced"):
        desk.adopt_message(Adopt(1, Digest("0" * 64), payload, False, False, False), payload)


def test_content_that_was_answered_is_adopted_without_a_payload(desk: Desk) -> None:
    digest = desk.seen(whole=True).digest

    adopted = desk.adopt_message(Adopt(7, digest, None, False, False, False), None)

    assert (adopted.ticket, adopted.digest) == (7, digest)
    assert desk.seen().payload is None


def test_unknown_content_is_not_adopted_without_a_payload(desk: Desk) -> None:
    with pytest.raises(ProtocolError, match="not known here"):
        desk.adopt_message(Adopt(1, Digest("0" * 64), None, False, False, False), None)


def test_references_of_what_runs_are_resolved_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "k")
    monkeypatch.setenv("SHOP_DSN", "from-outside")
    desk.write("sources/b.toml", source("b", key="env:SHOP_KEY"))
    desk.write("destinations/main.toml", destination("main", 'dsn = "env:SHOP_DSN"'))
    desk.go_live(whole=True)
    (desk.directory / "destinations/main.toml").unlink()
    payload = delta.encode(desk.content.delta_from(None))
    desk.compiler = desk.fresh()

    answer = desk.compiler.adopt(Adopt(1, desk.content.digest, payload, False, False, True), payload, None)

    assert isinstance(answer.message, Adopted)
    assert answer.message.problems == ()
    assert answer.message.environment == ("SHOP_DSN", "SHOP_KEY")
    assert b"from-outside" in (answer.secrets or b"")


@pytest.mark.parametrize(
    ("now", "words"), [(None, "which is not set"), ("another", "leads to now is not the one of the stored version")]
)
def test_a_stored_reference_whose_value_is_missing_or_differs_is_refused_by_name(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, now: str | None, words: str
) -> None:
    monkeypatch.setenv("SHOP_DSN", "from-outside")
    desk.write("destinations/main.toml", destination("main", 'dsn = "env:SHOP_DSN"'))
    desk.go_live(whole=True)
    payload = delta.encode(desk.content.delta_from(None))
    if now is None:
        monkeypatch.delenv("SHOP_DSN")
    else:
        monkeypatch.setenv("SHOP_DSN", now)
    desk.compiler = desk.fresh()

    answer = desk.compiler.adopt(Adopt(1, desk.content.digest, payload, False, False, True), payload, None)

    assert isinstance(answer.message, Adopted)
    assert [one.key for one in answer.message.problems] == ["destinations.main.dsn"]
    assert words in answer.message.problems[0].message


def test_a_stored_literal_is_taken_from_the_directory(desk: Desk) -> None:
    desk.go_live(whole=True)
    payload = delta.encode(desk.content.delta_from(None))
    desk.write("destinations/main.toml", destination("main", 'path = "new"', 'dsn = "first-dsn"'))
    desk.compiler = desk.fresh()
    message = Adopt(1, desk.content.digest, payload, False, False, True)

    answer = desk.compiler.adopt(message, payload, None)
    assert b"first-dsn" in (answer.secrets or b"")

    desk.write("destinations/main.toml", destination("main"))
    desk.compiler = desk.fresh()
    refused = desk.compiler.adopt(message, payload, None).message
    assert isinstance(refused, Adopted)
    assert "no longer in the directory" in refused.problems[0].message


def test_no_secret_is_in_any_verdict_or_its_repr(desk: Desk) -> None:
    canaries = {"canary-key-1", "canary-dsn-2", "canary-bad-3"}
    desk.write("sources/a.toml", source("a", 'target = "nowhere"', key="canary-key-1"))
    desk.write("destinations/main.toml", destination("main", 'dsn = "canary-dsn-2"', 'password = "canary-bad-3"'))
    refused = desk.answer()
    desk.write("sources/a.toml", source("a", key="canary-key-1"))
    desk.write("destinations/main.toml", destination("main", 'dsn = "canary-dsn-2"'))
    seen = desk.answer(whole=True)

    shown = repr(refused) + repr(seen) + repr(getattr(seen.message, "payload", None))

    assert not [canary for canary in canaries if canary in shown]


def test_what_changed_is_told_by_names(desk: Desk) -> None:
    desk.go_live(whole=True)
    before = desk.content
    desk.write("sources/c.toml", source("c"))
    desk.write("sources/b.toml", source("b", "tier = 0"))
    (desk.directory / "sources/a.toml").unlink()
    desk.go_live()

    assert str(Impact.of(before, desk.content)) == "sources: 1 added, 1 removed, 1 changed"
    assert Impact.of(EMPTY, before).sections["sources"].added == ("a", "b")


def test_neither_the_pepper_nor_the_path_of_the_directory_is_part_of_the_content(desk: Desk) -> None:
    payload = desk.seen(whole=True).payload or b""

    assert PEPPER not in payload
    assert os.fspath(desk.directory).encode() not in payload


def test_the_size_of_a_secret_file_is_bounded_by_the_settings(desk: Desk) -> None:
    (desk.directory / "key").write_text("x" * 101)
    desk.write("daemon.toml", DAEMON + "\n[supervisor.limits]\nmax_secret_bytes = 100\n")
    desk.write("sources/b.toml", source("b", key="file:key"))

    assert_problem(desk.refused(), r"sources/b\.toml:3: source\.api_key: .* at most 100 bytes, found more")
