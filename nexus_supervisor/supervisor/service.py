"""The running supervisor: the one owner of the fleet, and everything that reaches it.

Decided here: which source of events posts what, and when the timer rings. Not decided here: what events lead to
(``core/fleet.py``) and how effects are done (``perform.py``).
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self, assert_never

from nexus_supervisor.core import canonical, effects, says, status
from nexus_supervisor.core.control import (
    Ended,
    FollowNotices,
    PushRequest,
    Request,
    RestartRequest,
    RollbackRequest,
    StatusReport,
    StatusRequest,
    SteerRequest,
    StopRequest,
)
from nexus_supervisor.core.events import Elapsed, Event, StopAsked, Touched
from nexus_supervisor.core.fleet import Fleet
from nexus_supervisor.supervisor import clock
from nexus_supervisor.supervisor.asking import asks
from nexus_supervisor.supervisor.control_server import ControlServer, Reply, Requester
from nexus_supervisor.supervisor.gates import Gates
from nexus_supervisor.supervisor.listeners import bound
from nexus_supervisor.supervisor.mailbox import Mailbox
from nexus_supervisor.supervisor.output import NoticeLog, NoticeRing, Notices
from nexus_supervisor.supervisor.perform import Performer, Sockets, listening
from nexus_supervisor.supervisor.records import Records
from nexus_supervisor.supervisor.rows import Rows
from nexus_supervisor.supervisor.start import Beginning, begin
from nexus_supervisor.supervisor.store import Retention
from nexus_supervisor.supervisor.watcher import Watcher
from nexus_supervisor.supervisor.workers import Identity, Workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nexus_supervisor.core.notices import Notice

__all__ = ["Service", "start"]

SPARE_COLUMNS = 8
MIN_COLUMNS = 32
"""Room in the counters for processes: two for each slot (a restart has the old and the new one), some that drain
longer, and some for a restart that brings more slots."""


async def start(directory: Path, overrides: Mapping[str, Any], *, allow_unsigned: bool) -> Service:
    """Return a service that is about to run; raise NexusError where it can't."""
    return Service(directory, await begin(directory, overrides, allow_unsigned=allow_unsigned))


class Service:
    """Hold the fleet and its shell; enter it to run, leave it when ``ended`` is done."""

    def __init__(self, directory: Path, beginning: Beginning) -> None:
        self._directory, self._beginning = directory, beginning
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        settings = beginning.settings
        self._settings = settings
        self._log = NoticeLog(settings.daemon.log_level, settings.daemon.log_format)
        self._notices = Notices(self._log, NoticeRing(settings.supervisor.limits.max_notices))
        self._mailbox = Mailbox(self._loop, self._take)
        self._started = self._compared = clock.monotonic()
        self._fleet = Fleet(
            settings,
            beginning.history,
            self._started,
            jitter=lambda: random.uniform(0.5, 1.5),  # noqa: S311 - spreads load, hides nothing
            incarnations=beginning.store.recovered.incarnations,
            fallback=beginning.fallback,
            answered=beginning.answered,
        )
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: Watcher | None = None
        self._releases = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Bind, listen, watch, and begin."""
        try:
            await self._open()
        except BaseException:
            await self._releases.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release everything, in reverse."""
        await self._releases.aclose()

    # --- what reaches the fleet ----------------------------------------------------------------------------------

    def stop(self, requester: str) -> None:
        """Drain and end; a second time, end now."""
        self._mailbox.post(StopAsked(requester, now=False))

    def look(self) -> None:
        """Look at the directory now."""
        self._mailbox.post(Touched(None, urgent=True))

    def _submit(self, request: Request, requester: Requester, reply: Reply) -> None:
        who = f"{requester.name} (uid {requester.uid}, pid {requester.pid})"
        match request:
            case StatusRequest():
                reply(StatusReport(canonical.encode(self._status())))
            case PushRequest() | RestartRequest() | RollbackRequest() | SteerRequest():
                asked = asks(request)
                ticket = self._performer.ticket(reply, asked.push_id)
                self._mailbox.post(asked.event(ticket, who))
            case StopRequest():
                reply(Ended(0, "ACCEPTED", "The supervisor is stopping.", (), canonical.encode({})))
                self._mailbox.post(StopAsked(who, now=request.now))
            case FollowNotices():
                reply.when_left(self._notices.ring.follow(request.since, reply))
            case _:
                assert_never(request)

    def _touched(self, hints: frozenset[str] | None) -> None:
        """Note a hint of the watcher; called in its thread. A name that is no text can't be told: look at all then."""
        told = hints is not None and all(map(_is_text, hints))
        self._mailbox.post(Touched(tuple(sorted(hints)) if hints is not None and told else None, urgent=False))

    def _degraded(self, sentence: str) -> None:
        self._loop.call_soon_threadsafe(self._notices.tell, says.watch_degraded(sentence))

    # --- the loop ------------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        """Hand one event to the fleet and perform what it decides."""
        self._perform(self._fleet.handle(event, clock.monotonic()))

    def _perform(self, decided: list[effects.Effect]) -> None:
        for effect in decided:
            if isinstance(effect, effects.Look) and effect.hints is None:
                self._compared = clock.monotonic()
            self._performer.attempt(effect, self._fleet.board.settings)
        if self._fleet.board.settings is not self._settings:
            self._apply_settings()
        self._arm()

    def _arm(self) -> None:
        """Set the timer to the fleet's deadline."""
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._fleet.deadline()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._mailbox.post, Elapsed())

    def _leave(self, code: int) -> None:
        if not self.ended.done():
            self._notices.tell(says.daemon_stopped(code))
            self.ended.set_result(code)

    # --- coming up -----------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        beginning, settings = self._beginning, self._settings
        release = self._releases.callback
        release(self._log.close)
        release(self._log.overhear("asyncio"))
        release(beginning.contents.close)
        sockets = Sockets(bound(settings.daemon.bind, settings.daemon.port))
        release(sockets.close)
        columns = max(MIN_COLUMNS, 2 * settings.supervisor.workers + SPARE_COLUMNS)
        rows = Rows(settings.supervisor.limits.counter_rows, columns)
        release(rows.close)
        records = Records(beginning.store, self._mailbox.post, self._tell_from_thread)
        release(records.close)
        gates = Gates(self._loop, self._directory, self._mailbox.post)
        release(gates.close)
        release(beginning.compiling.close)
        identity = Identity(
            str(self._directory), beginning.signer.trust.audience, beginning.signer.trust.public_key, beginning.pepper
        )
        workers = Workers(self._loop, identity, beginning.contents, rows, self._mailbox.post, self._notices.tell)
        release(workers.close)
        self._workers, self._sockets, self._records = workers, sockets, records
        self._performer = Performer(
            loop=self._loop,
            post=self._mailbox.post,
            contents=beginning.contents,
            rows=rows,
            workers=workers,
            compiling=beginning.compiling,
            records=records,
            gates=gates,
            signer=beginning.signer,
            sockets=sockets,
            notices=self._notices,
            leave=self._leave,
        )
        await self._serve_control()
        release(self._stop_watching)
        self._begin()

    async def _serve_control(self) -> None:
        limits = self._settings.supervisor.limits
        server = ControlServer(
            self._directory,
            self._submit,
            limits.max_clients,
            announce=self._notices.tell,
            idle_seconds=limits.client_idle_seconds,
        )
        await server.start()
        self._releases.push_async_callback(server.close)

    def _begin(self) -> None:
        beginning = self._beginning
        for alarm in beginning.store.recovered.alarms:
            self._notices.tell(alarm)
        if beginning.signer.trust.public_key is None:
            self._notices.tell(says.signing_off())
        if beginning.warnings:
            self._notices.tell(says.warned(beginning.warnings))
        self._notices.tell(listening(tuple(one.address for one in self._sockets.current)))
        beginning.verdicts.to = self._mailbox.post
        self._watch()
        now = clock.monotonic()
        self._perform(self._fleet.begin(beginning.candidate, beginning.problems, now, rest=beginning.rest))
        self._mailbox.post(Touched(None, urgent=False))

    # --- settings and the watcher --------------------------------------------------------------------------------

    def _apply_settings(self) -> None:
        """Follow settings that are in force from now on."""
        before, self._settings = self._settings, self._fleet.board.settings
        self._log.show(self._settings.daemon.log_level, self._settings.daemon.log_format)
        if before.supervisor.limits != self._settings.supervisor.limits:
            self._records.keep(Retention.of(self._settings.supervisor.limits))
        if before.supervisor.sections != self._settings.supervisor.sections:
            self._stop_watching()
            self._watch()
            self._mailbox.post(Touched(None, urgent=False))

    def _watch(self) -> None:
        watched = ("daemon.toml", *(spec.files for spec in self._settings.supervisor.sections))
        self._watcher = Watcher(self._directory, watched, self._touched, self._degraded)
        self._watcher.start()
        self._check_later()

    def _check_later(self) -> None:
        self._checking = self._loop.call_later(self._settings.supervisor.watch.reconcile_seconds, self._check_watcher)

    def _check_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.check()
            self._check_later()

    def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            self._checking.cancel()
            watcher.stop()
        if self._timer is not None:
            self._timer.cancel()

    # --- what is told --------------------------------------------------------------------------------------------

    def _tell_from_thread(self, notice: Notice) -> None:
        self._loop.call_soon_threadsafe(self._notices.tell, notice)

    def _status(self) -> dict[str, Any]:
        now = clock.monotonic()
        around = status.Surroundings(
            now=now,
            wall_offset=clock.wall() - now,
            started=self._started,
            pid=os.getpid(),
            directory=str(self._directory),
            addresses=tuple(one.address for one in self._sockets.current),
            signing=self._beginning.signer.trust.public_key is not None,
            watch_mode=self._watcher.mode if self._watcher is not None else "stopped",
            last_compare=self._compared,
            figures=self._workers.figures(),
            security=self._notices.security,
        )
        return status.document(self._fleet.board, self._fleet.trying.process, around)


def _is_text(name: str) -> bool:
    """Say whether a file's name is UTF-8: other bytes reach us as surrogates (PEP 383)."""
    return not any("\udc80" <= character <= "\udcff" for character in name)
