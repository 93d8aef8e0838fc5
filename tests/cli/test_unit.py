"""The systemd units that are printed: what they say, and what systemd's own tools say about them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_supervisor.cli.unit import WATCHDOG_SECONDS, Place, service_unit, socket_unit
from nexus_supervisor.core.settings import Settings, parse
from nexus_supervisor.errors import RejectedError
from tests.support.nexus import command

MOST_EXPOSURE = 2.0
SHOP = Place(Path("/srv/shop"), ("/usr/bin/nexus-supervisor",), "shop")

with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings(text: dict[str, object]) -> Settings:
    parsed = parse(text, cpu_count=1)
    assert parsed.errors == ()
    return parsed.settings


def values(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit, flags=re.MULTILINE)


def value(unit: str, name: str) -> str:
    (found,) = values(unit, name)
    return found


def make(directory: Path, text: str = "") -> Path:
    directory.mkdir(parents=True)
    (directory / "daemon.toml").write_text(text)
    return directory


# --- what systemd has to know ----------------------------------------------------------------------------------------


def test_the_unit_runs_the_directory_and_reloads_it_by_a_push_that_waits_for_the_verdict() -> None:
    unit = service_unit(SHOP, Settings())
    assert value(unit, "Type") == "notify"
    assert value(unit, "NotifyAccess") == "main"
    assert value(unit, "User") == "shop"
    assert value(unit, "ExecStart") == "/usr/bin/nexus-supervisor run /srv/shop"
    assert value(unit, "ExecReload").startswith("/usr/bin/nexus-supervisor push /srv/shop ")


def test_the_times_of_the_unit_leave_room_for_those_of_the_settings() -> None:
    slow = settings(
        {
            "daemon": {"shutdown": {"drain_timeout_seconds": 300.0}},
            "supervisor": {"rollout": {"start_timeout_seconds": 500.0}},
        }
    )
    unit = service_unit(SHOP, slow)
    assert float(value(unit, "TimeoutStopSec")) > 300
    assert float(value(unit, "TimeoutStartSec")) > 500
    assert value(unit, "WatchdogSec") == str(WATCHDOG_SECONDS)


def test_workers_are_left_to_the_supervisor_and_a_mistake_is_not_tried_again() -> None:
    unit = service_unit(SHOP, Settings())
    assert value(unit, "KillMode") == "mixed"
    assert value(unit, "OOMPolicy") == "continue"
    assert value(unit, "Restart") == "on-failure"
    assert value(unit, "RestartPreventExitStatus") == "2 3"


def test_every_listening_socket_can_be_kept() -> None:
    many = settings({"daemon": {"bind": [f"127.0.0.1:{port}" for port in range(9_000, 9_016)]}})
    assert int(value(service_unit(SHOP, many), "FileDescriptorStoreMax")) >= 16


@pytest.mark.parametrize(
    ("name", "started"),
    [
        ("/srv/a shop", '/bin/nexus-supervisor run "/srv/a shop"'),
        ("/srv/100%", "/bin/nexus-supervisor run /srv/100%%"),
        ("/srv/$HOME", "/bin/nexus-supervisor run /srv/$$HOME"),
        ('/srv/"a"', r'/bin/nexus-supervisor run "/srv/\"a\""'),
        ("/srv/a;b", '/bin/nexus-supervisor run "/srv/a;b"'),
    ],
)
def test_a_path_means_itself_whatever_it_holds(name: str, started: str) -> None:
    unit = service_unit(Place(Path(name), ("/bin/nexus-supervisor",), "shop"), Settings())
    assert value(unit, "ExecStart") == started
    assert shlex.split(value(unit, "ReadWritePaths")) == [name.replace("%", "%%")]


# --- what is taken away ----------------------------------------------------------------------------------------------


def test_only_the_directory_can_be_written() -> None:
    unit = service_unit(SHOP, Settings())
    assert value(unit, "ProtectSystem") == "strict"
    assert value(unit, "ReadWritePaths") == "/srv/shop"


def test_what_the_settings_place_elsewhere_can_be_written_too() -> None:
    elsewhere = settings({"daemon": {"bind": ["unix:/run/shop/http", "unix:here"], "log_file": "/var/log/shop/log"}})
    assert value(service_unit(SHOP, elsewhere), "ReadWritePaths") == "/srv/shop -/run/shop -/var/log/shop"


def test_no_capability_is_left_but_the_one_for_a_low_port() -> None:
    unit = service_unit(SHOP, Settings())
    assert (value(unit, "CapabilityBoundingSet"), value(unit, "PrivateUsers")) == ("", "yes")

    low = service_unit(SHOP, settings({"daemon": {"port": 443}}))
    assert value(low, "AmbientCapabilities") == value(low, "CapabilityBoundingSet") == "CAP_NET_BIND_SERVICE"
    assert value(low, "PrivateUsers") == "no"


def test_a_supervisor_that_gives_workers_another_user_may_do_that_and_little_else() -> None:
    isolated = settings({"supervisor": {"isolation": {"user": "worker"}}})
    unit = service_unit(Place(Path("/srv/shop"), ("/bin/nexus-supervisor",), "root"), isolated)
    assert value(unit, "CapabilityBoundingSet") == "CAP_CHOWN CAP_KILL CAP_SETGID CAP_SETUID"
    assert values(unit, "SystemCallFilter") == ["@system-service"]


@pytest.mark.parametrize(
    ("directory", "home", "temporary"),
    [("/srv/shop", "yes", "yes"), ("/home/me/shop", "read-only", "yes"), ("/tmp/shop", "yes", "no")],
)
def test_a_directory_is_not_hidden_from_its_own_daemon(directory: str, home: str, temporary: str) -> None:
    unit = service_unit(Place(Path(directory), ("/usr/bin/nexus-supervisor",), "shop"), Settings())
    expected = "read-only" if sys.prefix.startswith(("/home", "/root")) else home
    assert (value(unit, "ProtectHome"), value(unit, "PrivateTmp")) == (expected, temporary)


# --- the .socket unit ------------------------------------------------------------------------------------------------


def test_the_socket_unit_listens_where_the_settings_say() -> None:
    several = settings({"daemon": {"bind": ["127.0.0.1:8080", "[::1]:8081", "unix:http", "fd://admin"]}})
    unit = socket_unit(SHOP, several)
    assert values(unit, "ListenStream") == ["127.0.0.1:8080", "[::1]:8081", "/srv/shop/http"]
    assert value(unit, "BindIPv6Only") == "ipv6-only"
    assert value(unit, "SocketMode") == "0660"


@pytest.mark.parametrize(
    ("bind", "reason"),
    [("localhost:80", "not on names"), ("127.0.0.1:0", "needs a port"), ("", "listens nowhere")],
)
def test_what_systemd_can_not_listen_on_is_refused(bind: str, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason):
        socket_unit(SHOP, settings({"daemon": {"bind": bind}}))


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_unit_for_the_directory_and_the_way_it_was_called(tmp_path: Path) -> None:
    directory = make(tmp_path / "shop", "[daemon.shutdown]\ndrain_timeout_seconds = 77\n")
    printed = command("unit", directory, "--user", "shop")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert value(printed.stdout, "ExecStart") == f"{sys.executable} -m nexus_supervisor run {directory}"
    assert float(value(printed.stdout, "TimeoutStopSec")) > 77


def test_the_command_prints_a_socket_unit(tmp_path: Path) -> None:
    printed = command("unit", make(tmp_path / "shop"), "--user", "shop", "--socket")
    assert printed.returncode == 0
    assert values(printed.stdout, "ListenStream") == ["127.0.0.1:8080"]


def test_the_owner_of_the_directory_runs_it_but_never_root(tmp_path: Path) -> None:
    directory = make(tmp_path / "shop")
    printed = command("unit", directory)
    if os.geteuid() == 0:
        assert (printed.returncode, printed.stdout) == (2, "")
        assert "--user" in printed.stderr
    else:
        assert value(printed.stdout, "User") == directory.owner()


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("[daemon]\nport = 99999\n", 3, "daemon.port"),
        ("[daemon", 3, "not valid"),
        (None, 3, "has no daemon.toml"),
    ],
)
def test_a_directory_that_can_not_run_gets_no_unit(tmp_path: Path, text: str | None, code: int, reason: str) -> None:
    if text is not None:
        make(tmp_path / "shop", text)
    printed = command("unit", tmp_path / "shop", "--user", "shop")
    assert (printed.returncode, printed.stdout) == (code, "")
    assert reason in printed.stderr


@pytest.mark.parametrize("user", ["a b", "x\nExecStart=/bin/sh", "%i"])
def test_a_user_is_a_name_or_a_number(tmp_path: Path, user: str) -> None:
    printed = command("unit", make(tmp_path / "shop"), f"--user={user}")
    assert (printed.returncode, printed.stdout) == (2, "")


# --- systemd's own judgement -----------------------------------------------------------------------------------------


def analyzed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder, timeout=60)


def written(folder: Path) -> tuple[Path, Path]:
    """Both units, in files as systemd wants them."""
    place = Place(Path("/srv/shop"), (sys.executable, "-m", "nexus_supervisor"), "shop")
    (folder / "shop.service").write_text(service_unit(place, Settings()))
    (folder / "shop.socket").write_text(socket_unit(place, Settings()))
    return folder / "shop.service", folder / "shop.socket"


@with_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    verified = analyzed(tmp_path, "verify", *map(str, written(tmp_path)))
    told = [line for line in verified.stderr.splitlines() if str(tmp_path) in line or "shop." in line]
    assert told == []


@with_systemd
def test_systemd_finds_the_service_little_exposed(tmp_path: Path) -> None:
    judged = analyzed(tmp_path, "security", "--offline=true", str(written(tmp_path)[0]))
    if "Unknown option" in judged.stderr or "unrecognized option" in judged.stderr:
        pytest.skip("this systemd-analyze judges no unit that is not loaded")
    found = re.search(r"exposure level for shop\.service: ([\d.]+)", judged.stdout)
    assert found is not None, judged.stdout + judged.stderr
    assert float(found[1]) <= MOST_EXPOSURE, judged.stdout
