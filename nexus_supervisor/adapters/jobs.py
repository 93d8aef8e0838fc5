"""Jobs: a function that is called again and again, each call with one snapshot.

Decided here: when it is called, what its answer and its exceptions lead to, and that the worker ends between two calls.
Not decided here: what a job is; the function looks for one itself.

``True`` says that there was a job, so there may be another one; a number that there was one, and that the next call is
wanted after so many seconds; ``None`` and ``False`` that there was nothing to do. A new version and the order to end
cut a wait short. Every call counts as a request except those that found nothing to do; one that raised is an error too.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, Any, cast

from nexus_supervisor.agent import current, pinned
from nexus_supervisor.agent.context import PINNED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.agent import Agent

__all__ = ["Answer", "Handle", "serve"]

Answer = bool | float | None
Handle = Callable[[], Answer] | Callable[[], Awaitable[Answer]]

_logger = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.1, 30.0
_STRAYS = (asyncio.CancelledError, GeneratorExit)  # what else is meant for a part of a job, and escaped from there
_TURN_SECONDS = 0.5  # how long a wait lasts at most until the loop says that it turns


def serve(agent: Agent, handle: Handle) -> None:
    """Call a function, plain or ``async``, until the agent drains; one call at a time, none within a running loop."""
    pace = _Pace(agent)
    if inspect.iscoroutinefunction(handle) or inspect.iscoroutinefunction(getattr(handle, "__call__", None)):  # noqa: B004
        asyncio.run(_run_async(agent, handle, pace))
    else:
        _run(agent, handle, pace)


def _run(agent: Agent, handle: Callable[[], Any], pace: _Pace) -> None:
    """Call a plain function. A call that goes on after the deadline ends with the process."""
    woken = Event()
    agent.on_activated(lambda _: woken.set())
    agent.on_drain(woken.set)
    agent.ready()
    while True:
        woken.clear()
        if agent.draining:
            return
        agent.progress.pace()
        agent.progress.works()
        try:
            with pace.job():
                seconds = pace.answered(handle())
        except (Exception, *_STRAYS) as error:  # noqa: BLE001 - logged and counted
            seconds = pace.failed(error)
        agent.progress.rests()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not woken.wait(min(left, _TURN_SECONDS)):
            agent.progress.pace()


async def _run_async(agent: Agent, handle: Callable[[], Any], pace: _Pace) -> None:
    """Call an ``async`` function, in one event loop that turns between the calls too; cut it off at the deadline."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    pacing = loop.create_task(_pace(agent))
    try:
        async with asyncio.timeout(None) as limit:

            def wake() -> None:
                woken.set()
                if agent.drain.deadline is not None and limit.when() is None:
                    limit.reschedule(loop.time() + agent.drain.deadline - time.monotonic())

            agent.on_activated(lambda _: _call_soon(loop, wake))
            agent.on_drain(lambda: _call_soon(loop, wake))
            agent.ready()
            while True:
                woken.clear()
                if agent.draining:
                    return
                agent.progress.holds()
                seconds = await _call(handle, pace)
                agent.progress.rests()
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), seconds)
    except TimeoutError:
        _logger.warning("the drain timeout is over: the job in hand is cut off")
        agent.drain.note_cut(1)
    finally:
        pacing.cancel()


async def _call(handle: Callable[[], Any], pace: _Pace) -> float:
    try:
        with pace.job():
            return pace.answered(await handle())
    except asyncio.CancelledError as error:
        if cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():  # the deadline
            raise
        return pace.failed(error)  # of something that the job has waited for
    except (Exception, GeneratorExit) as error:  # noqa: BLE001 - logged and counted
        return pace.failed(error)


async def _pace(agent: Agent) -> None:
    while True:
        agent.progress.pace()
        await asyncio.sleep(_TURN_SECONDS)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended before: there is nothing to wake
        loop.call_soon_threadsafe(callback)


class _Pace:
    """Count what was done, and say how many seconds to wait until the next call."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._failures = 0
        self._version, self._began = 0, 0.0  # of the call in hand

    @contextmanager
    def job(self) -> Iterator[None]:
        """Pin one snapshot for one call. It can't be taken away, so what held it for too long is only told."""
        with pinned():
            self._version, self._began = current().version, time.monotonic()
            try:
                yield
            finally:
                self._tell_overdue()

    def answered(self, answer: Any) -> float:
        """Take the answer of a call; raise TypeError for what is none."""
        if answer is None or answer is False:
            self._failures = 0
            return _IDLE_SECONDS
        if not isinstance(answer, int | float) or not 0 <= answer <= sys.float_info.max:
            found = repr(answer) if isinstance(answer, int | float) else type(answer).__name__  # a text may be a secret
            message = f"a job answers True, False, None or a number of seconds from 0; found {found:.80}"
            raise TypeError(message)
        self._failures = 0
        self._count(failed=False)
        return 0.0 if answer is True else float(answer)

    def failed(self, error: BaseException) -> float:
        """Take an exception of a call: the pauses double as long as there is nothing else."""
        self._count(failed=True)
        self._agent.erred(self._version, error)
        seconds = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 16), _LAST_PAUSE_SECONDS)
        self._failures += 1
        _logger.error("the job raised an exception; the next call is in %g seconds", seconds, exc_info=error)
        return seconds

    def _count(self, *, failed: bool) -> None:
        progress = self._agent.progress
        progress.request()
        if failed:
            progress.error()
        progress.ended(self._version, time.monotonic() - self._began, failed)

    def _tell_overdue(self) -> None:
        cell, limit = PINNED.get(), self._agent.max_snapshot_seconds
        if cell is None or cell.snapshot is None or cell.replaced_at is None or not limit:
            return
        if (age := time.monotonic() - cell.replaced_at) > limit:
            _logger.warning(
                "a job has used version %d until now, %.0f seconds after it was replaced, and "
                "supervisor.limits.max_snapshot_seconds is %g; a long job takes the newest version by refresh()",
                cell.snapshot.version,
                age,
                limit,
            )
