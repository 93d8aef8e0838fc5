"""A process of ours as the supervisor sees it: how it is started, its pipe, its exit.

Decided here: what a child inherits (one socket and stdio, nothing else) and how its end is noticed. Not decided here:
what it is told (``workers.py``, ``compiling.py``) and how its end reads (``exits.py``). A child is exec'd, or forked by
a process that was (``zygotes.py``), never forked from here: nothing of ours is in its memory.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from nexus_supervisor.supervisor.exits import in_words
from nexus_supervisor.supervisor.signals import GROUP_SIGNALS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from nexus_supervisor.supervisor.exits import OomKills
    from nexus_supervisor.supervisor.isolation import RunAs

__all__ = ["Adopted", "Child", "environment", "is_known", "start_child"]

_OURS = ("NEXUS_", "LISTEN_", "WATCHDOG_")
_OURS_WHOLE = frozenset({"NOTIFY_SOCKET"})

_known: set[int] = set()


def is_known(pid: int) -> bool:
    """Say whether a process is one that is held here: whoever holds it waits for it."""
    return pid in _known


def environment(inherited: Mapping[str, str], referenced: Iterable[str]) -> dict[str, str]:
    """Return what a worker inherits: everything but the supervisor's own variables and those that hold secrets."""
    secret = frozenset(referenced)
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith(_OURS) and name not in _OURS_WHOLE and name not in secret
    }


class Child:
    """Hold one child process. ``exited`` is called once, in the loop: with its status in words, and if that is 0."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        process: subprocess.Popen[bytes] | Adopted,
        exited: Callable[[str, bool], None],
        kills: OomKills | None = None,
    ) -> None:
        """Watch a process that runs; ``kills`` is the evidence for those that the kernel kills."""
        self._loop, self._process, self._exited, self._kills = loop, process, exited, kills
        self._sent: set[signal.Signals] = set()
        _known.add(process.pid)
        self._watch()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Say whether it still runs; its exit may not have been reported yet."""
        return self._process.poll() is None

    @property
    def stopped(self) -> bool:
        """Say whether a signal has stopped it (SIGSTOP, SIGTSTP)."""
        if not self.alive:
            return False
        return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; a process that is already reaped is left alone."""
        if self._process.poll() is None:
            self._sent.add(number)
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once; its exit is reported as usual. A process that is already reaped is left alone."""
        self.signal(signal.SIGKILL)

    def _watch(self) -> None:
        """Have its exit noticed: by a pidfd (Linux), by a thread that waits where there is none to be had."""
        try:
            descriptor = _pidfd(self.pid)
        except OSError:  # no descriptor is free: the process runs, and its exit must not be missed
            descriptor = None
        if descriptor is not None:
            self._loop.add_reader(descriptor, self._reap, descriptor)
            return
        waiter = threading.Thread(target=self._wait, name=f"wait-{self.pid}", daemon=True)
        waiter.start()

    def _wait(self) -> None:
        self._process.wait()
        self._loop.call_soon_threadsafe(self._report)

    def _reap(self, descriptor: int) -> None:
        if self._process.poll() is None:
            return
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._report()

    def _report(self) -> None:
        _known.discard(self.pid)
        code = self._process.poll() or 0
        killed = code == -signal.SIGKILL and signal.SIGKILL not in self._sent
        evidence = self._kills.take() if killed and self._kills is not None else ""
        self._exited(in_words(code, sent=self._sent, out_of_memory=evidence), code == 0)


class Adopted:
    """Be, for a child that somebody else has forked for us, what Popen is for one that we started.

    ``code`` is its exit code where it has been reaped before it was known whose it is.
    """

    def __init__(self, pid: int, code: int | None = None) -> None:
        self.pid, self._code = pid, code
        self._waiting = threading.Lock()

    def poll(self) -> int | None:
        """Return its exit code (below 0: the signal that ended it), None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end, and return its exit code; for a thread."""
        if self._code is None:
            with suppress(ChildProcessError):  # it is reaped just now
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return self._reap(0) or 0

    def send_signal(self, number: int) -> None:
        """Send it a signal; its number is its own until it is reaped."""
        with self._waiting:
            if self._code is None:
                os.kill(self.pid, number)

    def _reap(self, flags: int) -> int | None:
        with self._waiting:
            if self._code is None:
                pid, status = os.waitpid(self.pid, flags)
                self._code = os.waitstatus_to_exitcode(status) if pid else None
            return self._code


def start_child(
    loop: asyncio.AbstractEventLoop,
    module: str,
    variables: Mapping[str, str],
    exited: Callable[[str, bool], None],
    *,
    stdio: tuple[int, int] | None = None,
    run_as: RunAs | None = None,
    kills: OomKills | None = None,
) -> tuple[Child, socket.socket]:
    """Start ``python -m module FD``; return it, and our end of the socket whose other end it has as FD.

    ``stdio`` becomes its stdout and stderr; None: it has ours. ``run_as`` says as whom it runs;
    None: as we do. Raise OSError where the system refuses.
    """
    ours, theirs = socket.socketpair()
    out, err = stdio or (None, None)
    try:
        with _deaf():
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=[theirs.fileno()],
                env=dict(variables),
                **(run_as or {}),
            )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Child(loop, process, exited, kills), ours


def _pidfd(pid: int) -> int | None:
    return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None


@contextmanager
def _deaf() -> Iterator[None]:
    """Block the signals that are meant for the group while a process is started: the block is inherited over exec.

    So none of them ends a process before it could say that it ignores them; a worker then takes the block away.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
