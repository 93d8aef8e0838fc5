"""``unit``: systemd units that run a directory, from its settings.

Decided here: what the units say, and what they take away from the daemon that it doesn't need. Not decided here: what
the daemon tells systemd (``supervisor/notify.py``), and where the units are put.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from nexus_supervisor.cli.options import with_directory
from nexus_supervisor.core.roster import KILL_GRACE_SECONDS
from nexus_supervisor.core.settings import Settings, parse
from nexus_supervisor.errors import DirectoryError, RejectedError, UsageError

__all__ = ["Place", "service_unit", "socket_unit", "unit"]

DAEMON_FILE = "daemon.toml"
WATCHDOG_SECONDS = 30
"""How long the event loop may stand still; it shows twice in that time that it doesn't."""

_MARGIN_SECONDS = 10
_SPARE_SOCKETS = 8
_FIRST_FREE_PORT = 1_024
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - compared with, not used
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,10}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[^\s\"'\\;]+")
_IP = re.compile(r"[0-9.]+|\[[0-9A-Fa-f:.]+\]")
_ROOT_NEEDS = "CAP_CHOWN CAP_KILL CAP_SETGID CAP_SETUID"
_LOW_PORTS = "CAP_NET_BIND_SERVICE"

_Values = dict[str, str | list[str]]
"""The settings of a section of a unit; a list is one line for each."""


@dataclass(frozen=True, slots=True)
class Place:
    """Hold where the daemon runs and as whom: absolute paths, the words that call it, a name or number of a user."""

    directory: Path
    executable: tuple[str, ...]
    user: str


@click.command
@with_directory()
@click.option("--user", metavar="USER", help="Who runs it; default: the owner of DIR.")
@click.option("--socket", "of_socket", is_flag=True, help="Print the .socket unit, for socket activation.")
def unit(directory: Path, *, user: str | None, of_socket: bool) -> None:
    """Print a systemd unit that runs a directory.

    It says what systemd needs to know about the daemon, and takes away from it what it doesn't need.
    """
    directory = directory.resolve()
    settings = _settings(directory)
    place = Place(directory, _executable(), _user(user, directory, settings))
    _refuse_control(place)
    click.echo(socket_unit(place, settings) if of_socket else service_unit(place, settings), nl=False)


def service_unit(place: Place, settings: Settings) -> str:
    """Return the text of the .service unit."""
    sections: dict[str, _Values] = {
        "Unit": {
            "Description": f"nexus-supervisor {settings.supervisor.name}, {_specifiers(str(place.directory))}",
            "After": "network.target",
            "StartLimitIntervalSec": "60",
            "StartLimitBurst": "5",
        },
        "Service": _running(place, settings) | _hardening(place, settings),
        "Install": {"WantedBy": "multi-user.target"},
    }
    return _text("service", sections)


def socket_unit(place: Place, settings: Settings) -> str:
    """Return the text of the .socket unit; raise RejectedError where systemd can't listen on an address."""
    addresses = [address for program in settings.programs for address in program.addresses]
    streams = [_stream(address, place.directory) for address in addresses if not address.startswith("fd://")]
    if not streams:
        message = f"{place.directory} listens nowhere: there is nothing that a .socket unit could listen on"
        raise RejectedError(message)
    sections: dict[str, _Values] = {
        "Unit": {"Description": f"Sockets of nexus-supervisor {settings.supervisor.name}"},
        "Socket": {
            "ListenStream": streams,
            "Backlog": "2048",
            "BindIPv6Only": "ipv6-only",
            "NoDelay": "yes",
            "SocketUser": place.user,
            "SocketMode": "0660",
        },
        "Install": {"WantedBy": "sockets.target"},
    }
    return _text("socket", sections)


def _running(place: Place, settings: Settings) -> _Values:
    """Return how it is started, told to look, and ended."""
    directory, drain = _word(str(place.directory)), settings.daemon.shutdown.drain_timeout_seconds
    call = " ".join(map(_word, place.executable))
    rollout, limits = settings.supervisor.rollout, settings.supervisor.limits
    start = limits.compile_timeout_seconds + rollout.start_timeout_seconds + _MARGIN_SECONDS
    sockets = sum(len(program.addresses) for program in settings.programs)
    return {
        "Type": "notify",
        "NotifyAccess": "main",
        "User": place.user,
        "ExecStart": f"{call} run {directory}",
        "ExecReload": f'{call} push {directory} --reason "systemctl reload"',
        "KillMode": "mixed",
        "Restart": "on-failure",
        "RestartSec": "1",
        "RestartPreventExitStatus": "2 3",
        "TimeoutStartSec": f"{start:g}",
        "TimeoutStopSec": f"{drain + KILL_GRACE_SECONDS + _MARGIN_SECONDS:g}",
        "WatchdogSec": str(WATCHDOG_SECONDS),
        "FileDescriptorStoreMax": str(sockets + _SPARE_SOCKETS),
        "OOMPolicy": "continue",
        "LimitNOFILE": "65536",
        "LimitCORE": "0",
    }


def _hardening(place: Place, settings: Settings) -> _Values:
    """Return what it may not do. Workers under a user of their own need a supervisor that may become that user."""
    isolated = place.user in ("root", "0")
    capabilities = " ".join([_ROOT_NEEDS] * isolated + [_LOW_PORTS] * _has_low_port(settings))
    return {
        "CapabilityBoundingSet": capabilities,
        "AmbientCapabilities": "" if isolated else capabilities,
        "NoNewPrivileges": "yes",
        "PrivateUsers": _yes(not capabilities),
        "ProtectSystem": "strict",
        "ReadWritePaths": " ".join(_writable(place.directory, settings)),
        "ProtectHome": "read-only" if _in_a_home(place) else "yes",
        "PrivateTmp": _yes(not _is_below(place.directory, _TEMPORARY)),
        "PrivateDevices": "yes",
        "DevicePolicy": "closed",
        "PrivateIPC": "yes",
        "PrivateMounts": "yes",
        "ProtectProc": "default" if isolated else "invisible",
        "ProtectClock": "yes",
        "ProtectControlGroups": "yes",
        "ProtectHostname": "yes",
        "ProtectKernelLogs": "yes",
        "ProtectKernelModules": "yes",
        "ProtectKernelTunables": "yes",
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
        "RestrictNamespaces": "yes",
        "RestrictRealtime": "yes",
        "RestrictSUIDSGID": "yes",
        "LockPersonality": "yes",
        "MemoryDenyWriteExecute": "yes",
        "KeyringMode": "private",
        "RemoveIPC": "yes",
        "SystemCallArchitectures": "native",
        "SystemCallFilter": ["@system-service", *["~@privileged"] * (not isolated)],
        "SystemCallErrorNumber": "EPERM",
        "UMask": "0077",
    }


# --- facts -----------------------------------------------------------------------------------------------------------


def _settings(directory: Path) -> Settings:
    """Return the settings of daemon.toml; raise RejectedError with what is wrong with it.

    The environment's are left out: what is set where the unit is printed is not set where it runs.
    """
    from nexus_supervisor.compiler.daemonfile import cpu_count
    from nexus_supervisor.compiler.parsing import parse as parse_file
    from nexus_supervisor.compiler.reading import TroubleError
    from nexus_supervisor.core.options import LimitSettings

    try:
        raw = (directory / DAEMON_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        message = f"{directory} is no directory of nexus-supervisor: it has no {DAEMON_FILE}"
        raise DirectoryError(message) from None
    try:
        read = parse_file(raw, LimitSettings())
    except TroubleError as error:
        message = f"{directory / DAEMON_FILE} is not valid: {error}"
        raise RejectedError(message) from error
    parsed = parse(read.document, cpu_count=cpu_count())
    wrong = [f"{'.'.join(map(str, one.path))}: {one.message}" for one in read.mistakes]
    wrong += [f"{one.key}: {one.message}" for one in parsed.errors]
    if wrong:
        message = f"{directory / DAEMON_FILE} is not valid: {'; '.join(wrong)}"
        raise RejectedError(message)
    return parsed.settings


def _executable() -> tuple[str, ...]:
    """Return how this program was called, in words that work from anywhere."""
    called = Path(sys.argv[0])
    if called.name == "nexus-supervisor" and (found := shutil.which(sys.argv[0])) is not None:
        return (os.fspath(Path(found).absolute()),)
    return (sys.executable, "-m", "nexus_supervisor")


def _user(given: str | None, directory: Path, settings: Settings) -> str:
    """Return who runs it; raise UsageError where that would make workers root's."""
    isolation = settings.supervisor.isolation.user
    user = given or ("root" if isolation else _owner(directory))
    if _USER.fullmatch(user) is None:
        message = f"expected the name or number of a user, found {user!r}"
        raise UsageError(message)
    if user in ("root", "0") and not isolation:
        message = (
            "workers would run as root: name a user who may write in the directory with --user, or give workers a user "
            "of their own with user in [supervisor.isolation] of daemon.toml"
        )
        raise UsageError(message)
    return user


def _owner(directory: Path) -> str:
    number = directory.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _has_low_port(settings: Settings) -> bool:
    ports = [
        int(address.rpartition(":")[2])
        for program in settings.programs
        for address in program.addresses
        if not address.startswith(("unix:", "fd://"))
    ]
    return any(0 < port < _FIRST_FREE_PORT for port in ports)


def _in_a_home(place: Place) -> bool:
    paths = (place.directory, Path(place.executable[0]), Path(sys.prefix))
    return any(_is_below(path, _HOMES) for path in paths)


def _is_below(path: Path, folders: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _writable(directory: Path, settings: Settings) -> list[str]:
    """Return where it writes: the directory, and the folders of sockets and of a log file elsewhere, if they exist."""
    addresses = [address for program in settings.programs for address in program.addresses]
    files = [Path(address.removeprefix("unix:")) for address in addresses if address.startswith("unix:")]
    files += [Path(settings.daemon.log_file)] if settings.daemon.log_file else []
    folders = sorted({str((directory / file).parent) for file in files if not _is_inside(directory / file, directory)})
    return [_path(str(directory)), *(f"-{_path(folder)}" for folder in folders)]


def _is_inside(path: Path, directory: Path) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(directory)


def _stream(address: str, directory: Path) -> str:
    """Return an address as ListenStream= takes it."""
    if address.startswith("unix:"):
        return _specifiers(str(directory / address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    if _IP.fullmatch(host) is None:
        message = f"systemd listens on addresses, not on names: write the address of {host} in bind"
        raise RejectedError(message)
    if port == "0":
        message = f"a .socket unit needs a port: give {address} one"
        raise RejectedError(message)
    return address


# --- words -----------------------------------------------------------------------------------------------------------


def _refuse_control(place: Place) -> None:
    if any(_CONTROL.search(text) for text in (str(place.directory), *place.executable)):
        message = f"{str(place.directory)!r} can't stand in a unit: its path holds control characters"
        raise RejectedError(message)


def _specifiers(text: str) -> str:
    """Return text in which nothing is a specifier (systemd.unit(5))."""
    return text.replace("%", "%%")


def _path(text: str) -> str:
    """Return a path as one word of a list."""
    text = _specifiers(text)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _word(text: str) -> str:
    """Return text as one word of a command line, in which nothing is a variable (systemd.service(5))."""
    return _path(text).replace("$", "$$")


def _yes(answer: bool) -> str:  # noqa: FBT001 - it is the value that is shown
    return "yes" if answer else "no"


def _text(kind: str, sections: dict[str, _Values]) -> str:
    lines = [f"# Printed by `nexus-supervisor unit`: put it into /etc/systemd/system/NAME.{kind}."]
    for title, values in sections.items():
        lines += ["", f"[{title}]"]
        for name, value in values.items():
            lines += [f"{name}={one}" for one in (value if isinstance(value, list) else [value])]
    return "\n".join(lines) + "\n"
