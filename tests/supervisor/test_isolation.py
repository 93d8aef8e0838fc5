"""Isolation: which user, groups and bounds the settings mean on this machine."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.compiler.isolating import asked_of
from nexus_supervisor.core.options import IsolationSettings
from nexus_supervisor.core.settings import Settings
from nexus_supervisor.errors import RejectedError
from nexus_supervisor.supervisor.isolation import Isolation, isolation_asked, weakness
from tests.support.chaos import as_root, make_stall

if TYPE_CHECKING:
    from pathlib import Path

ME = pwd.getpwuid(os.geteuid())
OTHERS = 4_242_424


def isolated(**asked: Any) -> Isolation:
    settings = Settings()
    return Isolation.of(
        replace(settings, supervisor=replace(settings.supervisor, isolation=IsolationSettings(**asked)))
    )


def test_without_a_user_everything_runs_as_the_supervisor_does() -> None:
    plain = isolated()

    assert (plain.run_as, plain.limits, plain.word, dict(plain.variables)) == ({}, (0, 0, 0), "same-uid", {})


def test_bounds_are_counts_and_bytes() -> None:
    assert isolated(max_open_files=7, max_memory_mb=3, max_processes=9).limits == (7, 3 << 20, 9)


def test_our_own_user_is_no_other_user() -> None:
    assert isolated(user=ME.pw_name).word == "same-uid"
    assert isolated(user=str(ME.pw_uid)).word == "same-uid"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may have any user")
@pytest.mark.parametrize("asked", [{"user": "root"}, {"group": str(OTHERS)}])
def test_only_root_can_have_another_user(asked: dict[str, str]) -> None:
    with pytest.raises(RejectedError, match="only root can start processes as another"):
        isolated(**asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"user": "no-such-user"}, "this machine has no user 'no-such-user': make it"),
        ({"group": "no-such-group"}, "this machine has no group 'no-such-group': make it"),
        ({"user": str(OTHERS)}, "name the group, too"),
    ],
)
def test_who_is_unknown_here_is_refused(asked: dict[str, str], said: str) -> None:
    with pytest.raises(RejectedError, match=said):
        isolated(**asked)


@as_root
def test_a_user_brings_its_groups_its_home_and_its_name_and_none_of_ours() -> None:
    nobody = pwd.getpwnam("nobody")

    found = isolated(user="nobody")

    groups = tuple(os.getgrouplist("nobody", nobody.pw_gid))
    assert found.run_as == {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": groups}
    assert found.variables == {"HOME": nobody.pw_dir, "USER": "nobody", "LOGNAME": "nobody"}
    assert found.word == "own-uid"


@as_root
def test_a_group_takes_the_place_of_the_user_s() -> None:
    daemon = grp.getgrnam("daemon").gr_gid

    assert isolated(user="nobody", group="daemon").run_as["group"] == daemon
    assert isolated(group="daemon").run_as == {"group": daemon, "extra_groups": (daemon,)}
    assert isolated(user=str(OTHERS), group=str(OTHERS)).run_as == {
        "user": OTHERS,
        "group": OTHERS,
        "extra_groups": (OTHERS,),
    }


# --- what the first compiler runs as --------------------------------------------------------------------------------


@as_root
def test_daemon_toml_says_as_whom_it_is_read_whatever_else_of_it_is_wrong(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, settings='"isol\\u0061tion".user = "daemon"\nhooks = 5\n')

    assert isolation_asked(directory, {}).uid == pwd.getpwnam("daemon").pw_uid


@as_root
@pytest.mark.parametrize("broken", ["isolation", "[supervisor]\nisolation = 5\n", "[supervisor.isolation]\nuser = 5\n"])
def test_a_directory_that_does_not_say_it_for_certain_is_read_as_nobody(tmp_path: Path, broken: str) -> None:
    (tmp_path / "daemon.toml").write_text(broken)

    assert isolation_asked(tmp_path, {}).uid == 65_534


@as_root
def test_the_command_line_and_the_environment_decide_over_daemon_toml(tmp_path: Path) -> None:
    (tmp_path / "daemon.toml").write_text('[supervisor.isolation]\nuser = "no-such-user"\n')

    given = {"supervisor": {"isolation": {"user": "daemon"}}}

    assert isolation_asked(tmp_path, given).uid == pwd.getpwnam("daemon").pw_uid


def test_where_nobody_asks_for_isolation_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere")

    assert isolation_asked(make_stall(tmp_path), {}) == Isolation()


def test_what_daemon_toml_asks_for_is_read_without_the_rest() -> None:
    raw = b'[supervisor]\nisolation.user = "app"\n[daemon]\nport = "none"\n'

    asked = asked_of(raw, {})

    assert asked is not None
    assert IsolationSettings(**asked) == IsolationSettings(user="app")


# --- what of DIR is open to that user -------------------------------------------------------------------------------


def someone(uid: int = OTHERS, gid: int = OTHERS, *groups: int) -> Isolation:
    return Isolation(uid, gid, groups)


def reached(isolation: Isolation, directory: Path) -> object:
    found = weakness(isolation, directory, "keys/signing.key")
    return None if found is None else found.fields["reached"]


def test_a_directory_of_ours_alone_is_closed_to_the_workers(tmp_path: Path) -> None:
    assert reached(someone(), make_stall(tmp_path)) is None


def test_a_key_that_the_workers_group_can_read_is_told(tmp_path: Path) -> None:
    directory = make_stall(tmp_path)
    key = directory / "keys" / "signing.key"
    key.chmod(0o640)

    assert reached(someone(OTHERS, key.stat().st_gid), directory) == ("read keys/signing.key",)
    assert reached(someone(OTHERS, OTHERS, key.stat().st_gid), directory) == ("read keys/signing.key",)
    assert reached(someone(), directory) is None


@as_root
def test_what_belongs_to_the_workers_user_is_told(tmp_path: Path) -> None:
    directory = make_stall(tmp_path)
    os.chown(directory / "keys" / "signing.key", OTHERS, -1)
    os.chown(directory / "daemon.toml", OTHERS, -1)

    assert reached(someone(), directory) == ("read keys/signing.key", "write daemon.toml")


def test_who_runs_as_the_supervisor_is_not_warned_at_each_start(tmp_path: Path) -> None:
    assert weakness(Isolation(), make_stall(tmp_path), "keys/signing.key") is None
