"""Signals: what each one asks of the supervisor.

Decided here: which signals are meant for the supervisor, and that none of them ends or stops it before it can act on
them. Not decided here: what a signal leads to (``run.py``).

A handler only hands a call to the event loop. The loop's own way (``add_signal_handler``) is not used: it passes the
numbers through a pipe of limited room, so that a storm of one signal can push another one out.
"""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType, TracebackType

__all__ = ["GROUP_SIGNALS", "HELD_SIGNALS", "Signals", "deaf", "deafen", "pass_over"]

GROUP_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
"""What a terminal or an operator sends, maybe to the whole process group, and means for the supervisor."""

HELD_SIGNALS = frozenset({*GROUP_SIGNALS, signal.SIGTERM, signal.SIGCHLD})
"""What must not be lost while one supervisor hands over to another."""

_WAKE_BYTES = 4096


def pass_over() -> None:
    """Have signals do nothing until somebody acts on them, but INT, which ends a start like TERM.

    Each gets a function that does nothing: to ignore them would be inherited by every process that we start.
    """
    for number in GROUP_SIGNALS:
        if number is not signal.SIGINT:
            signal.signal(number, _nothing)


def deafen() -> None:
    """Have signals go to other threads than this one: one that comes while they wait for a new supervisor is kept."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)


@contextmanager
def deaf() -> Iterator[None]:
    """Hold signals back while the block runs; a thread that is started in it holds them back for ever."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Signals:
    """Call back in the event loop for each signal while the ``with`` block runs; of a burst of one, at least once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, acts: Mapping[signal.Signals, Callable[[], None]]) -> None:
        self._loop, self._acts = loop, acts
        self._waiting: set[signal.Signals] = set()
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Take over the signals."""
        with ExitStack() as taken:
            reading, writing = socket.socketpair()
            taken.callback(reading.close)
            taken.callback(writing.close)
            for end in (reading, writing):
                end.setblocking(False)  # noqa: FBT003 - the signature of the standard library
            # wakes the loop whichever thread the kernel chose; which signal came is not read from here
            taken.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False))
            self._loop.add_reader(reading, _drain, reading)
            taken.callback(self._loop.remove_reader, reading)
            for number in self._acts:
                signal.signal(number, self._arrived)
            taken.callback(_ignore, (*self._acts, *GROUP_SIGNALS))
            self._held = taken.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have all ignored from now on: whoever acted on them is about to end, and must not be cut short.

        The interpreter ends with default actions for what has a function, and leaves alone what is ignored.
        """
        self._held.close()

    def hold(self) -> None:
        """Put what came and was not acted on back among the signals that wait; the caller holds signals back."""
        for number in tuple(self._waiting):
            signal.pthread_kill(threading.get_ident(), number)

    def _arrived(self, number: int, _: FrameType | None) -> None:
        """Note a signal; called between any two steps of the main thread, so all else is left to the loop."""
        found = signal.Signals(number)
        if found not in self._waiting:
            self._waiting.add(found)
            self._loop.call_soon(self._act, found)

    def _act(self, number: signal.Signals) -> None:
        self._waiting.discard(number)
        self._acts[number]()


def _ignore(numbers: Iterable[signal.Signals]) -> None:
    for number in numbers:  # children of a process that ignores CHLD can't be waited for
        signal.signal(number, signal.SIG_DFL if number is signal.SIGCHLD else signal.SIG_IGN)


def _drain(reading: socket.socket) -> None:
    """Empty the pipe that wakes the loop."""
    try:
        while reading.recv(_WAKE_BYTES):
            continue
    except BlockingIOError:
        return


def _nothing(number: int, frame: FrameType | None) -> None:
    """Do nothing."""
