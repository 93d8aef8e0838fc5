"""One trial: a function of the application runs in a child, which may do there whatever it likes.

Decided here: what the child may cost, and how its end reads as a sentence. Not decided here: what is tried
(``resident.py``).

The child is forked, so it holds what its parent has loaded, and costs milliseconds. It leads a process group of its
own, which is killed once the verdict is known: what it started ends with it, unless that left the group. Its verdict is
one write to a pipe, small enough to be one piece (pipe(7)): whoever can read has all of it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import warnings
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Self

from nexus_supervisor.errors import NexusError
from nexus_supervisor.models.importing import place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.core.messages import Limit

__all__ = ["Trial", "flush", "threads"]

_MAX_VERDICT_BYTES = 4_000  # less than PIPE_BUF
_PASSED, _FAILED = b"+", b"-"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_DATA_PAGES = 5  # the sixth number of /proc/PID/statm: data and stack, in pages
_UNFINISHED = 70  # EX_SOFTWARE of sysexits.h


class Trial:
    """Hold one child from its fork to its end: a context manager that leaves nothing of it behind."""

    def __init__(self, limits: Limit, tried: Callable[[], None]) -> None:
        """Fork; the child calls ``tried``, which raises where the version is not to be used."""
        self._limits, self._threads = limits, threads()
        self._code: int | None = None
        flush()  # or the child would write it again
        self.verdict_pipe, told = os.pipe()
        os.set_blocking(self.verdict_pipe, False)
        parent = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads beside a fork; they are the application's, which is told (``resident.py``)
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            _be_tried(parent, limits, tried, told)
        os.close(told)
        with suppress(OSError):  # it did so itself, or is gone: whoever comes first
            os.setpgid(self._pid, self._pid)
        self.exit_descriptor = os.pidfd_open(self._pid)

    def __enter__(self) -> Self:
        """Let it run."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and whatever it started, at once."""
        self._end()
        os.close(self.verdict_pipe)
        os.close(self.exit_descriptor)

    def verdict(self) -> str:
        """Return why the version is not to be used, or nothing, of a child that has said so or is gone."""
        try:
            said = os.read(self.verdict_pipe, _MAX_VERDICT_BYTES)
        except BlockingIOError:  # something that it started still has the other end
            said = b""
        if said[:1] == _PASSED:
            return ""
        return said[1:].decode("utf-8", "replace") if said[:1] == _FAILED else self._died()

    def overdue(self) -> str:
        """Return why a version is not to be used whose trial goes on."""
        text = f"the trial did not end within {self._limits.timeout_seconds:g} s"
        if self._threads > 1:
            text += (
                f" (it was forked from a process in which the application runs {self._threads - 1} threads, which can "
                "make it hang: start none where the environment has NEXUS_TRIAL)"
            )
        return text

    def _died(self) -> str:
        code = self._end()
        if code == -signal.SIGXCPU:
            return f"the trial used more than {_cpu_seconds(self._limits)} s of processor time"
        if code >= 0:
            return f"the trial ended with exit status {code} before it was done"
        try:
            return f"the trial was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"the trial was killed by signal {-code}"

    def _end(self) -> int:
        """Kill the child's group and reap the child, whose number can't be another's before that; return its status."""
        if self._code is None:
            ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            with suppress(OSError):
                os.killpg(self._pid, signal.SIGKILL)
            if ended is None:
                os.kill(self._pid, signal.SIGKILL)  # it may have left its group
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._code


def threads() -> int:
    """Return how many threads this process has, those included that no Python code started."""
    return os.stat("/proc/self/task").st_nlink - 2  # noqa: PTH116 - of a directory: one for each in it, and two


def _be_tried(parent: int, limits: Limit, tried: Callable[[], None], told: int) -> None:
    """Be the child: never return, and run nothing at the end that the parent registered."""
    status = _UNFINISHED
    try:
        os.setpgid(0, 0)
        _die_with(parent)
        os.write(told, _verdict(limits, tried))
        status = os.EX_OK
    finally:
        os._exit(status)


def _verdict(limits: Limit, tried: Callable[[], None]) -> bytes:
    try:
        _confine(limits)
        try:
            tried()
        finally:
            flush()
    except NexusError as refusal:
        said = str(refusal)
    except BaseException as error:  # noqa: BLE001 - such as MemoryError, wherever it met us
        said = f"the trial raised {type(error).__name__}{place_of(error)}"
    else:
        return _PASSED
    return (_FAILED + said.encode("utf-8", "backslashreplace"))[:_MAX_VERDICT_BYTES]


def flush() -> None:
    """Write what was printed; where that can't be written, nobody would read that."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # it is closed, or there is none
            stream.flush()


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit()


def _confine(limits: Limit) -> None:
    """Limit what this process may use: what it has now, and so much more.

    Memory is what only it can write (RLIMIT_DATA, setrlimit(2)): address space that is merely reserved, as the C
    library and threads do, costs nothing.
    """
    _lower(resource.RLIMIT_CORE, 0, 0)
    seconds = _cpu_seconds(limits)
    _lower(resource.RLIMIT_CPU, seconds, seconds + 1)
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - no objects more than needed, in each trial
        present = int(file.read().split()[_DATA_PAGES]) * resource.getpagesize()
    most = present + (limits.memory_mb << 20)
    _lower(resource.RLIMIT_DATA, most, most)


def _lower(kind: int, soft: int, hard: int) -> None:
    _, highest = resource.getrlimit(kind)
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(kind, (soft, hard))


def _cpu_seconds(limits: Limit) -> int:
    """Return the limit as the kernel takes it: in whole seconds."""
    return ceil(limits.cpu_seconds)
