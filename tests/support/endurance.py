"""A daemon that is pushed to and restarted very often under a light load, and what it holds before and after.

What is counted is what leaks: descriptors, threads, processes, zombies, files that nobody asked for, and memory.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import psutil

from nexus_supervisor.core.control import Ended, PushRequest, RestartRequest
from tests.support.chaos import add_item, descriptors, launched
from tests.support.http import PATIENCE_SECONDS
from tests.support.under_load import make_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.client import ControlClient
    from nexus_supervisor.core.control import Request

__all__ = ["Endurance", "Held", "Memory", "endurance"]

_THINK_SECONDS = 0.02
_SAME_TIMES = 100
_WORKING_FILES = frozenset({"journal", "lock", "ballast", "control.sock", "supervisor.pid"})


class Memory(NamedTuple):
    """Resident bytes of a process, and its share of them."""

    rss: int
    pss: int


@dataclass(frozen=True, slots=True)
class Held:
    """What the daemon holds; by role where each process counts for itself."""

    descriptors: dict[str, int]
    threads: dict[str, int]
    processes: int
    zombies: int
    files: tuple[str, ...]
    memory: dict[str, Memory]

    def counts(self) -> tuple[object, ...]:
        """Return what must be the same before and after, however long it has run."""
        return self.descriptors, self.threads, self.processes, self.zombies, self.files


class Endurance:
    """Push to a daemon and restart it, over and over, and say what it holds."""

    def __init__(self, directory: Path, temporary: Path, pid: int, client: ControlClient) -> None:
        self._directory, self._temporary, self._pid, self._client = directory, temporary, pid, client
        self._price = 1

    def push(self) -> None:
        """Change an item and have it become live."""
        self._price += 1
        add_item(self._directory, "nut", self._price)
        self._ask(PushRequest(reason="", expect=None, wait="active"))

    def restart(self) -> None:
        """Replace every worker."""
        self._ask(RestartRequest(reason="", now=False))

    def load(self) -> _Light:
        """Return a light load on the daemon, for a ``with`` block."""
        return _Light(self._client.status()["programs"][0]["addresses"][0])

    def held(self) -> Held:
        """Say what the daemon holds once that has been the same for a while: who left is forgotten by then."""
        before, times = self._held(), 0
        while times < _SAME_TIMES:
            os.sched_yield()
            now = self._held()
            times = times + 1 if now.counts() == before.counts() else 0
            before = now
        return replace(before, memory={role: _memory(pid) for role, pid in self._roles().items()})

    def _ask(self, request: Request) -> None:
        ended = self._client.ask(request, PATIENCE_SECONDS)
        assert isinstance(ended, Ended)
        assert ended.exit_code == 0, ended

    def _held(self) -> Held:
        while True:
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                return self._sample()

    def _sample(self) -> Held:
        roles = self._roles()
        return Held(
            {role: len(descriptors(pid)) for role, pid in roles.items()},
            {role: psutil.Process(pid).num_threads() for role, pid in roles.items()},
            len(roles),
            sum(_is_zombie(child) for child in psutil.Process(self._pid).children(recursive=True)),
            tuple(self._files()),
            {},
        )

    def _roles(self) -> dict[str, int]:
        """Return every process of the daemon by what it does there."""
        found = {"supervisor": self._pid}
        for child in psutil.Process(self._pid).children(recursive=True):
            found[_role(child, found)] = child.pid
        return dict(sorted(found.items()))

    def _files(self) -> Iterator[str]:
        """Yield the files that belong to no version and that a daemon doesn't keep while it runs."""
        yield from sorted(str(one) for one in self._temporary.rglob("*"))
        for folder in (self._directory / "state", self._directory / "compiled"):
            for path in sorted(folder.iterdir()):
                if path.name not in _WORKING_FILES and not path.name.isdecimal() and path.name != "current":
                    yield str(path.relative_to(self._directory))


class _Light:
    """Two clients that ask now and then until the block ends; ``failed`` counts what was not answered with 200."""

    def __init__(self, address: str) -> None:
        self.asked = self.failed = 0
        self._address, self._over = address, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        client = http.client.HTTPConnection(self._address, timeout=PATIENCE_SECONDS)
        with contextlib.closing(client):
            while not self._over.wait(_THINK_SECONDS):
                self.asked += 1
                try:
                    client.request("GET", "/")
                    answer = client.getresponse()
                    answer.read()
                    self.failed += answer.status != 200
                except (http.client.HTTPException, OSError):
                    self.failed += 1
                    client.close()


@contextlib.contextmanager
def endurance(parent: Path, *, workers: int = 2) -> Iterator[Endurance]:
    """Run a daemon for it while the block runs."""
    directory = make_web(parent, workers=workers)
    temporary = parent / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with launched(directory, env=environment, **quiet) as (process, client):
        yield Endurance(directory, temporary, process.pid, client)


def _role(process: psutil.Process, taken: dict[str, int]) -> str:
    """Return what a process does: its title says it, once it has one."""
    line = " ".join(process.cmdline())
    role = "compiler" if "nexus_supervisor.compiler" in line else line.removeprefix("nexus: ").partition(" ")[0]
    return f"{role} {len(taken)}" if role in taken else role


def _is_zombie(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return False


def _memory(pid: int) -> Memory:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = Counter({line.split(":")[0]: int(line.split()[1]) << 10 for line in rollup.splitlines()[1:]})
    return Memory(sizes["Rss"], sizes["Pss"])
