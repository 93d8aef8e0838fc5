"""Isolation: as whom compiler and workers run, and what they may do less than the supervisor.

Decided here: which user, groups and bounds ``[supervisor.isolation]`` means on this machine, when a start is refused
because of it, and what of DIR that user should not reach. Not decided here: how a process is started (``child.py``,
``zygotes.py``) and how it bounds itself (``agent/confine.py``).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

from nexus_supervisor.core import canonical
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.options import IsolationSettings
from nexus_supervisor.errors import RejectedError

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.settings import Settings

__all__ = ["Isolation", "RunAs", "isolation_asked", "weakness"]

_MODULE = "nexus_supervisor.compiler.isolating"
_PATIENCE_SECONDS = 60.0
_MAX_FILE_BYTES = 64 << 20

_NOBODY = 65_534
_MIB = 1 << 20
_OURS = ("daemon.toml", "keys", "state", "compiled")


class RunAs(TypedDict, total=False):
    """Hold the arguments of ``subprocess.Popen`` that have a process run as somebody else."""

    user: int
    group: int
    extra_groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Isolation:
    """Hold as whom a process runs, None where as the supervisor, and its bounds.

    ``limits`` are those that ``agent.confine.confine`` takes; ``variables`` come in place of what is inherited.
    """

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    limits: tuple[int, int, int] = (0, 0, 0)
    no_new_privs: bool = True
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, settings: Settings) -> Isolation:
        """Return what the settings mean here; raise RejectedError where that can't be had."""
        return cls.meant(settings.supervisor.isolation)

    @classmethod
    def meant(cls, asked: IsolationSettings) -> Isolation:
        """Return what ``[supervisor.isolation]`` means here; raise RejectedError where that can't be had."""
        limits = (asked.max_open_files, asked.max_memory_mb * _MIB, asked.max_processes)
        uid, gid, groups, variables = _identity(asked)
        if os.geteuid() != 0:
            _refuse_others(asked, uid, gid)
            return cls(limits=limits, no_new_privs=asked.no_new_privs)
        return cls(uid, gid, groups, limits, asked.no_new_privs, variables)

    @property
    def run_as(self) -> RunAs:
        """Return what ``subprocess.Popen`` is told about it."""
        told = RunAs()
        if self.uid is not None:
            told["user"] = self.uid
        if self.gid is not None:
            told["group"], told["extra_groups"] = self.gid, self.groups
        return told

    @property
    def word(self) -> str:
        """Return the word of the status."""
        return "same-uid" if self.uid in (None, os.geteuid()) else "own-uid"


def isolation_asked(directory: Path, overrides: Mapping[str, Any]) -> Isolation:
    """Return as whom the first compiler runs; raise RejectedError where that can't be had.

    Nobody but a compiler parses files, and it imports code of the application: as root, it has to know as whom before.
    So where daemon.toml may say so, a process of its own is asked, which parses that file as nobody. A directory that
    doesn't say it for certain is read as nobody. Who isn't root needs none of that. Blocks: for a thread.
    """
    if os.geteuid() != 0 or not _mentioned(directory, overrides):
        return Isolation()
    request = canonical.encode({"directory": str(directory), "overrides": overrides})
    line = [sys.executable, "-P", "-m", _MODULE]
    try:
        asked = subprocess.run(line, input=request, stdout=subprocess.PIPE, check=True, timeout=_PATIENCE_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{directory / 'daemon.toml'} could not be asked for [supervisor.isolation] ({type(error).__name__})"
        raise RejectedError(message) from error
    answer = canonical.decode(asked.stdout)
    return Isolation(_NOBODY, _NOBODY) if answer is None else Isolation.meant(IsolationSettings(**answer))


def _mentioned(directory: Path, overrides: Mapping[str, Any]) -> bool:
    """Say whether isolation may be asked for: by its name, or by an escape that could spell it."""
    try:
        with (directory / "daemon.toml").open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES)
    except OSError:
        raw = b""
    return b"isolation" in raw or b"\\" in raw or "isolation" in overrides.get("supervisor", {})


@cache
def _identity(
    asked: IsolationSettings,
) -> tuple[int | None, int | None, tuple[int, ...], Mapping[str, str]]:
    """Return user, group and groups, as far as any are asked for, and the variables that name them.

    They are looked up once: a name server that hangs must not stop a daemon that runs.
    """
    if not asked.user:
        gid = _gid(asked.group) if asked.group else None
        return None, gid, () if gid is None else (gid,), {}
    found = _entry(asked.user)
    if found is None:
        if not asked.user.isdecimal():
            message = f"[supervisor.isolation] user: this machine has no user {asked.user!r}: make it, or name another"
            raise RejectedError(message)
        if not asked.group:
            message = (
                f"[supervisor.isolation] user: no user has the number {asked.user} here, so nobody knows its group: "
                "name the group, too"
            )
            raise RejectedError(message)
        gid = _gid(asked.group)
        return int(asked.user), gid, (gid,), {}
    gid = _gid(asked.group) if asked.group else found.pw_gid
    groups = tuple(os.getgrouplist(found.pw_name, gid))
    return found.pw_uid, gid, groups, {"HOME": found.pw_dir, "USER": found.pw_name, "LOGNAME": found.pw_name}


def _entry(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        return None


def _gid(group: str) -> int:
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        message = f"[supervisor.isolation] group: this machine has no group {group!r}: make it, or name another"
        raise RejectedError(message) from error


def _refuse_others(asked: IsolationSettings, uid: int | None, gid: int | None) -> None:
    """Raise RejectedError where workers are to run as somebody else: only root can have that."""
    for key, text, wanted, own in (
        ("user", asked.user, uid, os.geteuid()),
        ("group", asked.group, gid if asked.group else None, os.getegid()),
    ):
        if wanted is not None and wanted != own:
            message = (
                f"[supervisor.isolation] {key} is {text!r}, and the supervisor runs as {key} {own}: only root can "
                f"start processes as another {key}. Start it as root, or leave {key} out"
            )
            raise RejectedError(message)


def weakness(isolation: Isolation, directory: Path, key_file: str) -> Notice | None:
    """Return a warning where the workers' user can read the signing key, or write what makes a version; None if not.

    Mode bits and owners are judged, as the kernel does for files without an access control list.
    """
    if isolation.word == "same-uid":
        return None
    found = [f"read {key_file}"] if _may(isolation, directory / key_file, stat.S_IROTH) else []
    found += [f"write {name}" for name in (".", *_OURS) if _may(isolation, directory / name, stat.S_IWOTH)]
    if not found:
        return None
    reached = ", ".join(found)
    text = (
        f"The user of the workers ({isolation.uid}) can {reached}: a worker that was taken over can then have versions "
        "signed or pick its own user. Give these to root, and take the rights of others away."
    )
    return Notice("isolation_weak", "warning", text, {"uid": isolation.uid, "reached": tuple(found)})


def _may(isolation: Isolation, path: Path, right: int) -> bool:
    """Say whether the user of an isolation has a right to a file that is there: the bit of others says which."""
    try:
        found = path.stat()
    except OSError:
        return False
    if found.st_uid == isolation.uid:
        return bool(found.st_mode & right << 6)
    if found.st_gid in {isolation.gid, *isolation.groups}:
        return bool(found.st_mode & right << 3)
    return bool(found.st_mode & right)
