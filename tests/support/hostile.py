"""A daemon that is given bad input again and again: its directory as it should be, and a push that is held up.

Whatever was done to the files is undone by ``mend``, so that many mistakes can follow one another in one daemon.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import sys
from typing import TYPE_CHECKING

import psutil

from nexus_supervisor.core.control import ANSWERS, REQUESTS, Ended, PushRequest, StatusReport, StatusRequest
from nexus_supervisor.core.framing import FrameDecoder, frame
from nexus_supervisor.unix_path import CONTROL_SOCKET, socket_address
from tests.support.gateway_directory import key_of
from tests.support.http import PATIENCE_SECONDS
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexus_supervisor.core.control import Answer

__all__ = [
    "Baseline",
    "SteadyNexus",
    "compiler_stopped",
    "held_up_push",
    "keys_served",
    "remove",
    "unprivileged_python",
]

_DROP_CAPABILITIES = """\
#!{python}
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, from the bounding set (prctl(2), 24)
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def remove(path: Path) -> None:
    """Remove whatever the path is, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class SteadyNexus(Nexus):
    """Be a supervisor that says so much that its address is looked up only once."""

    @property
    def address(self) -> str:
        """Where it listens; that never changes here."""
        if self._address is None:
            self._address = super().address
        return self._address

    _address: str | None = None


class Baseline:
    """Know the files that a directory should have, and bring it back to them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folders = ("sources", "destinations")
        files = [directory / "daemon.toml", *(one for name in self._folders for one in (directory / name).iterdir())]
        self._texts = {path: path.read_bytes() for path in files}
        self.whole = True

    def mend(self) -> None:
        """Make the directory hold exactly the files that it had at first."""
        for name in self._folders:
            folder = self._directory / name
            if folder.is_symlink() or not folder.is_dir():
                remove(folder)
                folder.mkdir()
            for path in folder.iterdir():
                if path not in self._texts:
                    remove(path)
        for path, text in self._texts.items():
            if not _holds(path, text):
                remove(path)
                path.write_bytes(text)


def _holds(path: Path, text: bytes) -> bool:
    """Say whether a path is a file of this content; nothing else is read."""
    try:
        found = path.lstat()
    except OSError:
        return False
    known = (stat.S_ISREG(found.st_mode), found.st_mode & stat.S_IRUSR, found.st_size)
    return known == (True, stat.S_IRUSR, len(text)) and path.read_bytes() == text


def keys_served(nexus: Nexus, *sources: str) -> dict[str, set[int]]:
    """Return what the workers answer to the keys of sources: one status where all of them agree."""
    found: dict[str, set[int]] = {source: set() for source in sources}
    for connection in nexus.connections().values():
        with connection:
            for source in sources:
                found[source].add(connection.request("GET", "/whoami", key_of(source)).status)
    return found


@contextlib.contextmanager
def compiler_stopped(nexus: Nexus) -> Iterator[None]:
    """Stop the compiler while the block runs: no look at the directory ends meanwhile."""
    (compiler,) = (
        child
        for child in psutil.Process(nexus.process.pid).children()
        if "nexus_supervisor.compiler" in child.cmdline()
    )
    compiler.suspend()
    try:
        while compiler.status() != psutil.STATUS_STOPPED:
            os.sched_yield()
        yield
    finally:
        compiler.resume()


def held_up_push(nexus: Nexus) -> Ended:
    """Push, have a status answered while the look is held up, and return the verdict.

    Both requests go over one connection, so the supervisor has begun with the push when it answers the status.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_SECONDS)
        with socket_address(nexus.directory / CONTROL_SOCKET) as address:
            connection.connect(address)
        answers = _answers(connection)
        with compiler_stopped(nexus):
            for request in (PushRequest("", None, "active"), StatusRequest()):
                connection.sendall(frame(REQUESTS.encode(request)))
            assert isinstance(next(answers), StatusReport)
        ended = next(answers)
        assert isinstance(ended, Ended)
        return ended


def _answers(connection: socket.socket) -> Iterator[Answer]:
    decoder = FrameDecoder()
    while received := connection.recv(1 << 16):
        for body, _ in decoder.feed(received):
            yield ANSWERS.decode(body)


def unprivileged_python(directory: Path) -> str:
    """Return an interpreter that may not read what its user has no permission for, also where that user is root."""
    if os.geteuid() != 0:
        return sys.executable
    path = directory / "python-without-privileges"
    path.write_text(_DROP_CAPABILITIES.format(python=sys.executable))
    path.chmod(0o700)
    return str(path)
