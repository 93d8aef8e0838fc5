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
from nexus_supervisor.supervisor.service import Service, start
from nexus_supervisor.supervisor.signals import Signals, pass_over

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["run"]

_ENDING = (signal.SIGTERM, signal.SIGINT)


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
    pass_over()
    directory = directory.resolve()
    with DirectoryLock(directory):
        return asyncio.run(_run(directory, _joined(environment, overrides), allow_unsigned=allow_unsigned))


async def _run(directory: Path, overrides: Mapping[str, Any], *, allow_unsigned: bool) -> int:
    """Come up, run, go down. An order to end that comes while it comes up is followed at once: nothing serves yet."""
    loop = asyncio.get_running_loop()
    starting = loop.create_task(start(directory, overrides, allow_unsigned=allow_unsigned))
    running: Service | None = None
    asked: list[str] = []

    def stop(signal_name: str) -> None:
        if running is not None:
            running.stop(signal_name)
        else:
            asked.append(signal_name)
            starting.cancel()

    def look() -> None:
        if running is not None:
            running.look()

    with Signals(loop, {**{number: partial(stop, number.name) for number in _ENDING}, signal.SIGHUP: look}):
        try:
            service = await starting
        except asyncio.CancelledError:
            return 0
        async with service:
            running = service
            for signal_name in asked:
                service.stop(signal_name)
            return await service.ended


def _joined(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two trees of settings as one; ``above`` wins."""
    joined = dict(below)
    for key, value in above.items():
        held = joined.get(key)
        joined[key] = _joined(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return joined
