"""The upgrade in place: this process goes on with newer code, and everything else in it stays.

Decided here: how the new code is tried, in which order the old one lets go, and that it goes on where it can't. Not
decided here: when that may happen (``core/upgrading.py``), what crosses (``core/handover.py``), and how the new code
goes on (``start.py``, ``service.py``).

The kernel keeps what matters over an exec (execve(2)): the process id, the children, the lock, every descriptor that is
not closed by it, blocked signals, and those that wait. Threads and memory end. So the state is written into sealed
memory, of which the new code finds the descriptor in its environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_supervisor.core import handover as handovers
from nexus_supervisor.core.events import Event, Rehearsed, UpgradeFailed
from nexus_supervisor.core.handover import Handover
from nexus_supervisor.errors import NexusError
from nexus_supervisor.package import package_version
from nexus_supervisor.supervisor.signals import HELD_SIGNALS
from nexus_supervisor.wire import close_all, open_sealed, sealed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, MutableMapping

    from nexus_supervisor.supervisor.output import NoticeLog

__all__ = ["HANDOVER", "READY", "REHEARSAL", "Arrived", "Upgrade", "arrived"]

HANDOVER, REHEARSAL = "NEXUS_HANDOVER", "NEXUS_REHEARSAL"
"""Variables of the new code: the descriptor of the hand-over, and that it is only to say whether it could take it."""

READY = "ready"
"""What it says then."""

_MAX_BYTES = 1 << 30
_STDERR = 2
_DESCRIPTORS = "/dev/fd"
_TAIL_LINES = 40
_REASON_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Arrived:
    """Hold a hand-over as the new code finds it, and which version of the package wrote it."""

    package: str
    handover: Handover
    rehearsed: bool


def arrived(environment: MutableMapping[str, str]) -> Arrived | None:
    """Return what was handed over to this process, None where nothing was; the variables that say so are cleared.

    Raise RejectedError where this code can't take it, ProtocolError where it is no hand-over.
    """
    told, rehearsed = environment.pop(HANDOVER, ""), bool(environment.pop(REHEARSAL, ""))
    if not told.isdecimal():
        return None
    descriptor = int(told)
    try:
        preface, handover = handovers.decode(open_sealed(descriptor, _MAX_BYTES))
    finally:
        with suppress(OSError):
            os.close(descriptor)
    if not rehearsed:
        for number in _descriptors(handover):
            os.set_inheritable(number, False)  # noqa: FBT003 - the signature of the standard library
    return Arrived(preface.package, handover, rehearsed)


class Upgrade:
    """Try the new code, and leave to it. ``gathered`` gives the state while nothing changes it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        post: Callable[[Event], None],
        log: NoticeLog,
        gathered: Callable[[], AbstractContextManager[Handover]],
        let_go: Callable[[], None],
    ) -> None:
        """Do nothing yet; ``let_go`` writes down what is not yet, and ends what is not handed over."""
        self._loop, self._post, self._log = loop, post, log
        self._gathered, self._let_go = gathered, let_go
        self.hold_signals: Callable[[], None] = lambda: None
        self._trying: subprocess.Popen[str] | None = None

    def rehearse(self, seconds: float) -> None:
        """Start the new code as it would be started, only to have it say whether it can go on; Rehearsed follows."""
        try:
            with self._gathered() as handover:
                descriptor = sealed(handovers.encode(handover, package_version()), "nexus-rehearsal")
            self._trying = process = _rehearsing(descriptor)
        except (NexusError, OSError) as error:
            self._post(Rehearsed(f"the new code can't be tried ({error})"))
            return
        waiter = threading.Thread(target=self._wait, args=(process, seconds), name="rehearsal", daemon=True)
        waiter.start()

    def close(self) -> None:
        """End a rehearsal that is under way."""
        if self._trying is not None:
            self._trying.kill()

    def hand_over(self) -> None:
        """Go on as the new code. UpgradeFailed follows where that can't be, and everything is as before."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
        try:
            self._let_go()
            with self._gathered() as handover:
                self._exec(handover)
        except (NexusError, OSError) as error:
            self._post(UpgradeFailed(f"it could not be handed over ({error})"))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)

    def _exec(self, handover: Handover) -> None:
        """End here; raise OSError where the system refuses, or ProtocolError where the state can't be said."""
        crossing = sealed(handovers.encode(handover, package_version()), "nexus-handover")
        descriptors = [crossing, *_descriptors(handover)]
        try:
            _close_at_exec(all_but=descriptors)
            for descriptor in descriptors:
                os.set_inheritable(descriptor, True)  # noqa: FBT003 - the signature of the standard library
            self._log.flush(1.0)
            self.hold_signals()
            os.execve(sys.executable, _command(), {**os.environ, HANDOVER: str(crossing)})  # noqa: S606 - no shell
        finally:
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)  # noqa: FBT003 - the signature of the standard library
            close_all([crossing])

    def _wait(self, process: subprocess.Popen[str], seconds: float) -> None:
        """Be the thread that waits for what the rehearsal says."""
        try:
            said, complaint = process.communicate(timeout=seconds)
            failure = "" if process.returncode == 0 and said.split()[:1] == [READY] else _reason(process, complaint)
        except subprocess.TimeoutExpired:
            process.kill()
            _, complaint = process.communicate()
            failure = f"the new code was not ready within {seconds:g} s (limits.upgrade_timeout_seconds)"
        if failure and complaint:
            self._log.say("warning", "what the new code said when it was tried:", complaint.splitlines()[-_TAIL_LINES:])
        if not self._loop.is_closed():
            self._post(Rehearsed(failure))


def _close_at_exec(*, all_but: list[int]) -> None:
    """Have every descriptor closed by an exec but stdio and these: a library may open some without that flag."""
    with suppress(OSError):  # there is no list of them here
        for number in map(int, os.listdir(_DESCRIPTORS)):  # noqa: PTH208 - names only
            if number > _STDERR and number not in all_but:
                with suppress(OSError):  # that of the listing, closed again
                    os.set_inheritable(number, False)  # noqa: FBT003 - the signature of the standard library


def _rehearsing(descriptor: int) -> subprocess.Popen[str]:
    """Start the new code with a hand-over of which it gets none of the descriptors; ``descriptor`` is closed here."""
    try:
        return subprocess.Popen(
            _command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[descriptor],
            env={**os.environ, HANDOVER: str(descriptor), REHEARSAL: "1"},
            text=True,
            errors="backslashreplace",
        )
    finally:
        os.close(descriptor)


def _command() -> list[str]:
    """Return how this process was started."""
    return [sys.executable, *sys.orig_argv[1:]]


def _reason(process: subprocess.Popen[str], complaint: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    last = lines[-1].removeprefix("nexus-supervisor: ") if lines else f"it ended with {process.returncode}"
    place = next((line for line in reversed(lines[:-1]) if line.startswith("File ")), "")
    return f"the new code can't take over: {f'{place}: ' if place else ''}{last}"[:_REASON_CHARACTERS]


def _descriptors(handover: Handover) -> list[int]:
    """Return every descriptor that crosses."""
    listeners = handover.listeners
    return [
        handover.lock,
        handover.control.descriptor,
        handover.rows.descriptor,
        *(one.secrets for one in handover.contents),
        *(one.descriptor for one in listeners.sockets),
        *listeners.inherited.sockets,
        *(one.pipe.descriptor for one in handover.workers),
        *(one.pipe.descriptor for one in handover.zygotes),
        *(stream.descriptor for one in handover.output for stream in one.streams),
    ]
