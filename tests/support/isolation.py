"""What a test of isolation needs: an interpreter and a directory that somebody else can use, and an attacker."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import nexus_supervisor
from tests.support.chaos import make_stall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "EVERYTHING",
    "HARMLESS",
    "LOOKING",
    "NOBODY",
    "attacked",
    "python_for_nobody",
    "shared_stall",
    "surroundings",
]

NOBODY = 65_534

_PTRACE_ATTACH, _PTRACE_SEIZE = 16, 0x4206
_SYS_PIDFD_GETFD = 438  # the same on every architecture
_ROOT = Path(nexus_supervisor.__file__).parent.parent


def surroundings() -> dict[str, str]:
    """Return the variables by which another interpreter of the same version finds this project."""
    paths = [str(_ROOT), *site.getsitepackages(), *(path for path in sys.path if path.endswith("site-packages"))]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    return ours | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def python_for_nobody() -> str:
    """Return an interpreter that user 65534 can run the project with; skip the test where there is none."""
    if os.geteuid() != 0:
        pytest.skip("only root can start processes as another user")
    same = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in filter(None, (sys.executable, shutil.which(same, path="/usr/local/bin:/usr/bin"))):
        line = [python, "-c", "import nexus_supervisor.supervisor.run, nexus_supervisor.compiler.compile"]
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                line, check=False, capture_output=True, user=NOBODY, group=NOBODY, extra_groups=[], env=surroundings()
            )
            if tried.returncode == 0:
                return python
    pytest.skip(f"no {same} here can be used by user {NOBODY}: it lies in somebody's home directory")


@contextlib.contextmanager
def shared_stall(code: str = "", *, settings: str = "") -> Iterator[Path]:
    """Give a directory that everybody can read, less the keys: those of pytest are its user's alone."""
    with tempfile.TemporaryDirectory(prefix="nexus-isolation-") as parent:
        Path(parent).chmod(0o755)
        yield make_stall(Path(parent), code, settings=settings)


def attacked(pid: int, attacks: tuple[str, ...], *, uid: int = NOBODY) -> dict[str, bool]:
    """Return which attacks on a process succeed for a user: tried in a child that has become that user."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            os.write(writing, json.dumps({name: _succeeds(_ATTACKS[name], pid) for name in attacks}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        answer: dict[str, bool] = json.loads(told.read())
    os.waitpid(child, 0)
    return answer


def _succeeds(attack: Callable[[int], object], pid: int) -> bool:
    try:
        attack(pid)
    except OSError:
        return False
    return True


def _memory(pid: int) -> None:
    Path(f"/proc/{pid}/mem").open("rb").close()


def _maps(pid: int) -> None:
    Path(f"/proc/{pid}/maps").read_bytes()


def _environment(pid: int) -> None:
    Path(f"/proc/{pid}/environ").read_bytes()


def _descriptors(pid: int) -> None:
    next(Path(f"/proc/{pid}/fd").iterdir())


def _executable(pid: int) -> None:
    Path(f"/proc/{pid}/exe").readlink()


def _attach(pid: int) -> None:
    _called("ptrace", _PTRACE_ATTACH, pid, None, None)


def _seize(pid: int) -> None:
    _called("ptrace", _PTRACE_SEIZE, pid, None, None)


def _take_descriptor(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    _called("syscall", _SYS_PIDFD_GETFD, pidfd, 0, 0)


def _read_memory(pid: int) -> None:
    with Path(f"/proc/{os.getpid()}/maps").open() as maps:
        start = int(maps.readline().split("-")[0], 16)
    there, here = (ctypes.c_size_t * 2)(start, 8), ctypes.create_string_buffer(8)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
    _called("process_vm_readv", pid, ctypes.byref(local), 1, ctypes.byref(there), 1, 0, but=14)


def _signal(pid: int) -> None:
    os.kill(pid, 0)


def _called(name: str, *arguments: object, but: int = 0) -> None:
    """Call a function of the C library; raise OSError where it fails with another error than ``but``."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_long
    if function(*arguments) == -1 and (error := ctypes.get_errno()) != but:
        raise OSError(error, os.strerror(error))


_ATTACKS: Mapping[str, Callable[[int], object]] = {
    "memory": _memory,
    "maps": _maps,
    "environment": _environment,
    "descriptors": _descriptors,
    "executable": _executable,
    "ptrace attach": _attach,
    "ptrace seize": _seize,
    "pidfd_getfd": _take_descriptor,
    "process_vm_readv": _read_memory,
    "signal": _signal,
}
EVERYTHING = tuple(_ATTACKS)

LOOKING = tuple(name for name in _ATTACKS if name != "signal")
"""What the kernel asks for the rights of ptrace(2) for; who has them can read the key."""

HARMLESS = ("memory", "environment", "pidfd_getfd", "process_vm_readv")
"""Those that leave no trace in a process where they succeed."""
