"""A process of ours as the supervisor sees it: how it is started, its pipe, its exit.

Decided here: what a child inherits (one socket and stdio, nothing else) and how its end is noticed. Not decided here:
what it is told (``perform.py``, ``compiling.py``). A child is exec'd, never only forked: its memory holds nothing of
ours.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nexus_supervisor.supervisor.signals import WITHOUT_MEANING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Child", "environment"]

_GROUP_SIGNALS = (signal.SIGHUP, signal.SIGINT, *WITHOUT_MEANING)
_OURS = ("NEXUS_", "LISTEN_", "WATCHDOG_")
_OURS_WHOLE = frozenset({"NOTIFY_SOCKET"})


def environment(inherited: Mapping[str, str], referenced: Iterable[str]) -> dict[str, str]:
    """Return what a worker inherits: everything but the supervisor's own variables and those that hold secrets."""
    secret = frozenset(referenced)
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith(_OURS) and name not in _OURS_WHOLE and name not in secret
    }


class Child:
    """Hold one started process. ``exited`` is called once, in the loop: with its status in words, and if that is 0."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        module: str,
        variables: Mapping[str, str],
        exited: Callable[[str, bool], None],
    ) -> None:
        """Start ``python -m module FD``; raise OSError where the system refuses."""
        ours, theirs = socket.socketpair()
        try:
            with _deaf():
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=dict(variables),
                )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.connection = ours
        self._loop, self._exited = loop, exited
        self._watch()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Say whether it still runs; its exit may not have been reported yet."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once; its exit is reported as usual. A process that is already reaped is left alone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

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
        code = self._process.returncode
        self._exited(_in_words(code), code == 0)


def _pidfd(pid: int) -> int | None:
    return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None


@contextmanager
def _deaf() -> Iterator[None]:
    """Block the signals that are meant for the group while a process is started: the block is inherited over exec.

    So none of them ends a process before it could say that it ignores them; a worker then takes the block away.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
