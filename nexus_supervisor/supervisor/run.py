"""``nexus-supervisor run``: from a directory to a serving daemon, and to its end.

Decided here: the order in which a supervisor comes up and goes down. Not decided here: everything in between
(``core/fleet.py`` decides, ``perform.py`` does). What is acquired is acquired in a ``with`` and released in reverse.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core.settings import overrides_from_environment
from nexus_supervisor.errors import RejectedError, UsageError
from nexus_supervisor.supervisor.lock import DirectoryLock
from nexus_supervisor.supervisor.process import harden
from nexus_supervisor.supervisor.rehearsal import rehearse
from nexus_supervisor.supervisor.service import Service, start
from nexus_supervisor.supervisor.signals import HELD_SIGNALS, Signals, pass_over
from nexus_supervisor.supervisor.upgrade import READY, arrived

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nexus_supervisor.supervisor.upgrade import Arrived

__all__ = ["run"]

_ENDING: dict[signal.Signals, Callable[[Service, str], None]] = {
    signal.SIGTERM: Service.stop,
    signal.SIGINT: Service.stop,
    signal.SIGQUIT: Service.dump_and_stop,
}
"""Signals that end it, in the middle of a start too."""

_MEANING: dict[signal.Signals, Callable[[Service], None]] = {
    signal.SIGCHLD: Service.reap,
    signal.SIGHUP: Service.look,
    signal.SIGUSR1: Service.reopen_log,
    signal.SIGUSR2: lambda service: service.upgrade(signal.SIGUSR2.name),
    signal.SIGTTIN: lambda service: service.scale(1, signal.SIGTTIN.name),
    signal.SIGTTOU: lambda service: service.scale(-1, signal.SIGTTOU.name),
}
"""Signals that ask something of a supervisor that runs; before, they do nothing."""


def run(directory: Path, overrides: dict[str, Any], *, allow_unsigned: bool) -> int:
    """Run the daemon of a directory in the foreground until it is told to stop; return the exit code.

    ``overrides`` are the settings that the command line gives; the environment's come below them.
    """
    if sys.platform not in ("linux", "darwin"):
        message = f"nexus-supervisor runs on Linux and macOS; this is {sys.platform}"
        raise UsageError(message)
    if not directory.is_dir():
        message = f"{directory} is not a directory: make one with 'nexus-supervisor init {directory}'"
        raise RejectedError(message)
    environment, mistakes = overrides_from_environment(os.environ)
    if mistakes:
        text = "; ".join(f"{one.key}: {one.message}" for one in mistakes)
        message = f"the environment holds settings that can't be used: {text}"
        raise UsageError(message)
    harden()
    handed = arrived(os.environ)
    pass_over()
    directory = directory.resolve()
    joined = _joined(environment, overrides)
    if handed is not None and handed.rehearsed:
        rehearse(directory, joined, handed.handover)
        sys.stdout.write(f"{READY}\n")
        return 0
    with DirectoryLock(directory, None if handed is None else handed.handover.lock) as lock:
        return asyncio.run(_run(directory, joined, lock.descriptor, handed, allow_unsigned=allow_unsigned))


async def _run(
    directory: Path, overrides: Mapping[str, Any], lock: int, handed: Arrived | None, *, allow_unsigned: bool
) -> int:
    """Come up, run, go down. An order to end that comes while it comes up is followed at once: nothing serves yet.

    Where another one handed over, workers serve: what comes meanwhile is done as soon as it is up.
    """
    loop = asyncio.get_running_loop()
    starting = loop.create_task(start(directory, overrides, lock, handed, allow_unsigned=allow_unsigned))
    running: Service | None = None
    asked: list[Callable[[Service], None]] = []

    def end(act: Callable[[Service, str], None], signal_name: str) -> None:
        if running is not None:
            act(running, signal_name)
            return
        asked.append(lambda service: act(service, signal_name))
        if handed is None:
            starting.cancel()

    def tell(act: Callable[[Service], None]) -> None:
        if running is not None:
            act(running)
        elif handed is not None:
            asked.append(act)

    acts = {number: partial(end, act, number.name) for number, act in _ENDING.items()}
    with Signals(loop, acts | {number: partial(tell, act) for number, act in _MEANING.items()}) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
        try:
            service = await starting
        except asyncio.CancelledError:
            return 0
        service.hold_signals(signals.hold)
        async with service:
            running = service
            for act in asked:
                act(service)
            return await service.ended


def _joined(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two trees of settings as one; ``above`` wins."""
    joined = dict(below)
    for key, value in above.items():
        held = joined.get(key)
        joined[key] = _joined(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return joined
