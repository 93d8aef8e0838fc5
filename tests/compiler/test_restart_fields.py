"""Fields that need a restart, inside entries of live sections: what is held, and what goes live beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.compiling import Desk, entry, names
from tests.support.tuned import DAEMON, clients, make_desk, models

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = make_desk(tmp_path / "tuner")
    desk.write("models.toml", models(fast='dsn = "first-dsn"\ntoken = "first-token"', slow=""))
    desk.go_live(whole=True)
    return desk


def test_a_marked_field_is_held_by_name_and_the_rest_of_its_entry_goes_live(desk: Desk) -> None:
    lines = 'dsn = "first-dsn"\ntoken = "first-token"\ntimeout = 5.0\ndevice = "gpu"\nlimits = {low = 2, capacity = 20}'
    desk.write("models.toml", models(fast=lines, slow="timeout = 7.0"))

    seen = desk.go_live()

    assert seen.held == ("models.fast.device", "models.fast.limits.capacity")
    assert (seen.blocked, seen.wanted != seen.digest) == ((), True)
    fast = entry(desk.content, "models", "fast")
    assert (fast["device"], fast["timeout"], fast["limits"]) == ("cpu", 5.0, {"low": 2, "capacity": 10})
    assert entry(desk.content, "models", "slow")["timeout"] == 7.0


def test_a_restart_applies_what_was_held(desk: Desk) -> None:
    desk.write("models.toml", models(fast='device = "gpu"', slow=""))
    desk.go_live()

    seen = desk.go_live(whole=True)

    assert (seen.held, seen.wanted) == ((), seen.digest)
    assert entry(desk.content, "models", "fast")["device"] == "gpu"
    assert desk.seen().held == ()


def test_what_is_held_is_held_again_by_the_next_look_and_by_a_new_compiler(desk: Desk) -> None:
    desk.write("models.toml", models(fast='device = "gpu"\ntimeout = 5.0', slow=""))
    desk.go_live()

    for _ in range(2):
        seen = desk.seen()
        assert (seen.held, seen.payload) == (("models.fast.device", "models.fast.dsn"), None)
        desk.restart()


def test_new_and_removed_entries_are_live_whatever_they_hold(desk: Desk) -> None:
    fast = 'dsn = "first-dsn"\ntoken = "first-token"'
    desk.write("models.toml", models(fast=fast, new='device = "gpu"'))

    seen = desk.go_live()

    assert (seen.held, seen.gone) == ((), ("models.slow",))
    assert names(desk.content, "models") == ["fast", "new"]
    assert entry(desk.content, "models", "new")["device"] == "gpu"


def test_a_held_secret_stays_the_one_that_runs_and_a_live_one_is_the_new_one(desk: Desk) -> None:
    desk.write("models.toml", models(fast='dsn = "second-dsn"\ntoken = "second-token"', slow=""))

    seen = desk.go_live()

    assert seen.held == ("models.fast.dsn",)
    assert sorted(desk.secrets.values()) == ["first-dsn", "second-token"]

    desk.go_live(whole=True)
    assert sorted(desk.secrets.values()) == ["second-dsn", "second-token"]


def test_fields_of_named_tables_are_held_one_by_one_and_lists_as_a_whole(desk: Desk) -> None:
    desk.write("models.toml", models(fast="pools.a = {size = 1}\npools.b = {size = 1}\nsteps = [{size = 1}]", slow=""))
    desk.go_live(whole=True)
    changed = "pools.a = {size = 2, timeout = 2.0}\npools.c = {size = 1}\nsteps = [{size = 1, timeout = 2.0}]"
    desk.write("models.toml", models(fast=changed, slow=""))

    seen = desk.go_live()

    assert seen.held == ("models.fast.pools.a.size", "models.fast.pools.b", "models.fast.pools.c", "models.fast.steps")
    fast = entry(desk.content, "models", "fast")
    assert fast["pools"] == {"a": {"size": 1, "timeout": 2.0}, "b": {"size": 1, "timeout": 1.0}}
    assert fast["steps"] == [{"size": 1, "timeout": 1.0}]


def test_what_does_not_validate_beside_what_is_held_blocks_all_and_says_why(desk: Desk) -> None:
    before = desk.go_live()
    desk.write("models.toml", models(fast='token = "a-new-token"\nlimits = {low = 15, capacity = 20}', slow=""))
    desk.write("clients/second.toml", clients("c", c="tier = 0"))

    seen = desk.seen()

    assert seen.held == ("models.fast.dsn", "models.fast.limits.capacity")
    assert (seen.digest, seen.payload) == (before.digest, None)
    (blocked,) = seen.blocked
    assert (blocked.file, blocked.line, blocked.key) == ("models.toml", 3, "models.fast.limits")
    assert "waits for a restart" in blocked.message
    assert blocked.message.endswith("low is 15 and capacity 10")
    assert "first-dsn" not in repr(seen)

    assert desk.go_live(whole=True).blocked == ()


def test_what_is_gone_is_revoked_also_while_a_field_blocks_all(desk: Desk) -> None:
    desk.write("models.toml", models(fast="limits = {low = 15, capacity = 20}", slow=""))
    (desk.directory / "clients/second.toml").unlink()

    seen = desk.seen()

    assert (bool(seen.blocked), seen.gone) == (True, ("clients.c",))
    assert names(desk.remaining(seen), "clients") == ["a", "b"]


def test_with_hold_every_live_change_waits_with_a_held_field(tmp_path: Path) -> None:
    daemon = DAEMON.replace('program = "asgi"', 'program = "asgi"\non_restart_required = "hold"')
    desk = make_desk(tmp_path / "tuner", daemon=daemon)
    before = desk.go_live(whole=True)
    desk.write("models.toml", models(fast='device = "gpu"\ntimeout = 5.0', slow="timeout = 9.0"))

    seen = desk.seen()

    assert (seen.held, seen.digest) == (("models.fast.device",), before.digest)
    assert str(seen.blocked[0]).startswith("daemon.toml:3: supervisor.on_restart_required")


def test_fields_beside_a_held_change_of_sections_are_held_too(desk: Desk) -> None:
    desk.write("daemon.toml", DAEMON.replace("clients/*.toml", "others/*.toml"))
    (desk.directory / "others").mkdir()
    fast = 'dsn = "first-dsn"\ntoken = "first-token"\ntimeout = 5.0\ndevice = "gpu"'
    desk.write("models.toml", models(fast=fast, slow=""))

    seen = desk.go_live()

    assert seen.held == ("models.fast.device", "supervisor.section")
    assert entry(desk.content, "models", "fast")["timeout"] == 5.0


def test_a_table_of_the_users_with_the_keys_of_a_stored_secret_is_an_ordinary_one(tmp_path: Path) -> None:
    plain = """[[supervisor.section]]\nname = "plain"\nfiles = "plain.toml"\napply = "restart"\nentries = "tables"\n"""
    desk = make_desk(tmp_path / "tuner", daemon=f"{DAEMON}\n{plain}")
    desk.write("models.toml", models(fast='token = "first-token"'))
    desk.write("plain.toml", "[x]\nodd = {digest = [1], ref = 2}\n[y]\n")
    desk.go_live(whole=True)
    desk.write("plain.toml", "[x]\nodd = {digest = [2], ref = 3}\n[y]\nodd = {digest = {}, ref = 3}\n")

    seen = desk.go_live()

    assert seen.held == ("plain.x.odd.digest", "plain.x.odd.ref", "plain.y.odd")
