"""Signals: what each one asks of the supervisor.

Decided here: which signals mean something, and that those which other daemons give a meaning to end or stop nothing
here. Not decided here: what a signal leads to (whoever ``act`` belongs to).

A handler only hands a call to the event loop. The loop's own way (``add_signal_handler``) is not used: it passes the
numbers through a pipe of limited room, so that a storm of one signal can push another one out.
"""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType, TracebackType

__all__ = ["WITHOUT_MEANING", "Signals", "pass_over"]

WITHOUT_MEANING = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
"""Signals that mean something to other daemons, and by default end or stop a process."""

_WAKE_BYTES = 4096


def pass_over() -> None:
    """Have signals do nothing that mean nothing here, nor HUP until somebody acts on it: a start looks anyway.

    Each gets a function that does nothing: to ignore them would be inherited by every process that we start.
    """
    for number in (*WITHOUT_MEANING, signal.SIGHUP):
        signal.signal(number, _nothing)


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
            taken.callback(_ignore, (*self._acts, *WITHOUT_MEANING))
            self._held = taken.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have all ignored from now on: whoever acted on them is about to end, and must not be cut short.

        The interpreter ends with default actions for what has a function, and leaves alone what is ignored.
        """
        self._held.close()

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
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _drain(reading: socket.socket) -> None:
    """Empty the pipe that wakes the loop."""
    try:
        while reading.recv(_WAKE_BYTES):
            continue
    except BlockingIOError:
        return


def _nothing(number: int, frame: FrameType | None) -> None:
    """Do nothing."""
