"""What attackers need: processes stopped and counted, memory searched, and a small daemon whose program may be evil."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import pytest

from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import canonical
from nexus_supervisor.errors import NotRunningError
from nexus_supervisor.supervisor import keys
from tests.support.http import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.nexus import Nexus

__all__ = [
    "STALL",
    "add_item",
    "as_root",
    "await_ready",
    "children",
    "compiler",
    "count_in_memory",
    "descriptors",
    "kinds",
    "launched",
    "make_stall",
    "room_for",
    "sockets",
    "state",
    "steady",
    "stopped",
    "strace",
    "with_strace",
    "zombies",
]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")

with_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

STALL = '''
"""A worker program that only waits, and the model of what it would sell."""
from dataclasses import dataclass

@dataclass(frozen=True)
class Item:
    price: int

def serve(agent):
    agent.ready()
    agent.drain.wait()
'''

_DAEMON = """\
[supervisor]
program = "stall:serve"
workers = {workers}
rollout.bake_seconds = 0
{settings}
[[supervisor.section]]
name = "items"
files = "items/*.toml"
apply = "live"
model = "stall:Item"
"""


def make_stall(parent: Path, code: str = "", *, workers: int = 2, settings: str = "") -> Path:
    """Make a directory that runs ``serve`` of ``stall.py``; ``code`` comes after it and may replace what is there."""
    directory = parent / "dir"
    (directory / "items").mkdir(parents=True)
    (directory / "items" / "nut.toml").write_text("price = 1\n")
    (directory / "stall.py").write_text(STALL + code)
    (directory / "daemon.toml").write_text(_DAEMON.format(workers=workers, settings=settings))
    keys.generate(directory)
    return directory


@contextlib.contextmanager
def launched(directory: Path, **options: Any) -> Iterator[tuple[subprocess.Popen[bytes], ControlClient]]:
    """Run a daemon in unusual surroundings (``options`` are those of Popen) until the block ends; it ends with 0."""
    line = [sys.executable, "-m", "nexus_supervisor", "run", str(directory), "-b", "127.0.0.1:0"]
    process = subprocess.Popen([*options.pop("prefix", ()), *line], start_new_session=True, **options)
    client = ControlClient(directory)
    try:
        await_ready(process, client)
        yield process, client
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_ready(process: subprocess.Popen[bytes], client: ControlClient) -> None:
    """Wait until a daemon serves."""
    while True:
        with contextlib.suppress(NotRunningError):
            for noticed in client.notices(0, patience=PATIENCE_SECONDS):
                if canonical.decode(noticed.document)["kind"] == "daemon_ready":
                    return
        assert process.poll() is None
        os.sched_yield()


def add_item(directory: Path, name: str, price: int = 1) -> None:
    """Add or change an item, in one step."""
    fresh = directory / "items" / f".{name}.new"
    fresh.write_text(f"price = {price}\n")
    fresh.rename(directory / "items" / f"{name}.toml")


def remove_item(directory: Path, name: str) -> None:
    """Take an item away."""
    (directory / "items" / f"{name}.toml").unlink()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process while the block runs; it may be gone at the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while state(pid) not in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
            os.sched_yield()
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def strace(pid: int, calls: str, fault: str) -> Iterator[None]:
    """Inject a fault into system calls of every thread of a process while the block runs, as strace(1) puts it."""
    line = ["strace", "-f", "-qq", "-o", os.devnull, "-p", str(pid), "-e", f"inject={calls}:{fault}"]
    with subprocess.Popen([*line, "-e", f"trace={calls}"], stderr=subprocess.DEVNULL) as tracer:
        tasks = Path(f"/proc/{pid}/task")
        while any("TracerPid:\t0\n" in (task / "status").read_text() for task in tasks.iterdir()):
            if tracer.poll() is not None:
                pytest.skip("strace can't attach here")
            os.sched_yield()
        try:
            yield
        finally:
            tracer.terminate()


def state(pid: int) -> str:
    """Return what a process does, in psutil's words."""
    return psutil.Process(pid).status()


def kinds(nexus: Nexus, *wanted: str) -> list[str]:
    """Return the kinds of the notices so far, in order, as far as they are among these."""
    told = [canonical.decode(noticed.document)["kind"] for noticed in nexus.client.notices(0, follow=False)]
    return [kind for kind in told if kind in wanted]


def children(nexus: Nexus) -> list[psutil.Process]:
    """Return what the supervisor started and has not reaped."""
    return psutil.Process(nexus.process.pid).children()


def compiler(nexus: Nexus) -> psutil.Process:
    """Return the compiler process."""
    return next(child for child in children(nexus) if "nexus_supervisor.compiler" in child.cmdline())


def zombies(nexus: Nexus) -> list[psutil.Process]:
    """Return what died and was not reaped."""
    return [child for child in children(nexus) if child.status() == psutil.STATUS_ZOMBIE]


def descriptors(pid: int) -> dict[int, str]:
    """Return what a process holds open, by number."""
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[int(link.name)] = str(link.readlink())
    return found


@contextlib.contextmanager
def room_for(pid: int, more: int) -> Iterator[None]:
    """Leave a process room for so many descriptors more while the block runs."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    held, limit = descriptors(pid), 0
    while more >= 0:
        more -= limit not in held
        limit += 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit - 1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def sockets(pid: int) -> set[str]:
    """Return the sockets that a process holds."""
    return {what for what in descriptors(pid).values() if what.startswith("socket:")}


def steady(nexus: Nexus) -> Counts:
    """Count what the daemon holds once that has been the same for a while: clients that left are forgotten by then."""
    before, times = None, 0
    while times < 200:
        os.sched_yield()
        now = count(nexus)
        times = times + 1 if now == before else 0
        before = now
    assert before is not None
    return before


class Counts(NamedTuple):
    """What can leak."""

    descriptors: Counter[str]
    threads: int
    processes: int


def count(nexus: Nexus) -> Counts:
    """Count descriptors by what they are (all sockets are alike, and all pipes), threads and processes."""
    pid = nexus.process.pid
    alike = ("socket:", "pipe:")
    held = Counter(what.partition("[")[0] if what.startswith(alike) else what for what in descriptors(pid).values())
    return Counts(held, psutil.Process(pid).num_threads(), len(children(nexus)))


def count_in_memory(pid: int, wanted: bytes) -> int:
    """Return how often bytes are found in the memory of a process, its readable mappings one by one."""
    found = 0
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            places, access, *rest = line.split()
            if not access.startswith("r") or rest[-1] in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            start, end = (int(place, 16) for place in places.split("-"))
            with contextlib.suppress(OSError):  # a mapping that can't be read
                found += os.pread(memory.fileno(), end - start, start).count(wanted)
    return found
