"""The running supervisor: the one owner of the fleet, and everything that reaches it.

Decided here: which source of events posts what, and when the timer rings. Not decided here: what events lead to
(``core/fleet.py``) and how effects are done (``perform.py``).
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self, assert_never

from nexus_supervisor.core import canonical, effects, says, status, upgrade_says, upgrading
from nexus_supervisor.core.control import (
    Ended,
    FollowNotices,
    FollowOutput,
    PushRequest,
    Request,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    StatusReport,
    StatusRequest,
    SteerRequest,
    StopRequest,
    UpgradeRequest,
)
from nexus_supervisor.core.events import Elapsed, Event, ScaleAsked, StopAsked, Touched, UpgradeAsked, WorkerExited
from nexus_supervisor.core.fleet import Fleet
from nexus_supervisor.core.handover import Handover
from nexus_supervisor.core.programs import MAX_WORKERS
from nexus_supervisor.package import package_version
from nexus_supervisor.supervisor import clock
from nexus_supervisor.supervisor.asking import asks
from nexus_supervisor.supervisor.capture import Capture
from nexus_supervisor.supervisor.control_server import ControlServer, Reply, Requester
from nexus_supervisor.supervisor.exits import OomKills
from nexus_supervisor.supervisor.gates import Gates
from nexus_supervisor.supervisor.inherited import Inherited
from nexus_supervisor.supervisor.isolation import weakness
from nexus_supervisor.supervisor.listeners import Listeners
from nexus_supervisor.supervisor.log_orders import LogOrders
from nexus_supervisor.supervisor.mailbox import Mailbox
from nexus_supervisor.supervisor.notify import Notifier
from nexus_supervisor.supervisor.output import NoticeLog, NoticeRing, Notices
from nexus_supervisor.supervisor.perform import Performer, listening
from nexus_supervisor.supervisor.process import gain_no_rights
from nexus_supervisor.supervisor.reaper import Reaper
from nexus_supervisor.supervisor.records import Records
from nexus_supervisor.supervisor.rows import Rows
from nexus_supervisor.supervisor.sampler import Sampler
from nexus_supervisor.supervisor.signals import deaf
from nexus_supervisor.supervisor.start import Beginning, begin, resume
from nexus_supervisor.supervisor.store import Retention
from nexus_supervisor.supervisor.upgrade import Arrived, Upgrade
from nexus_supervisor.supervisor.watcher import Watcher
from nexus_supervisor.supervisor.workers import Identity, Workers
from nexus_supervisor.supervisor.zygotes import Zygotes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nexus_supervisor.core.notices import Notice
    from nexus_supervisor.core.settings import Settings

__all__ = ["Service", "start"]

SPARE_COLUMNS = 8
MIN_ROOM = 16
"""Room in the counters for processes: two for each slot there may be (a restart has the old and the new one), and some
that drain longer. There may be twice as many slots as at the start, or these few, for a restart or somebody who scales
may bring more."""


_FLUSH_SECONDS = 5.0
"""How long the disk may take before the supervisor is handed over."""


async def start(
    directory: Path, overrides: Mapping[str, Any], lock: int, handed: Arrived | None = None, *, allow_unsigned: bool
) -> Service:
    """Return a service that is about to run, or to go on with what was handed over; raise NexusError where it can't.

    ``lock`` is the descriptor by which this process holds the directory.
    """
    if handed is None:
        return Service(directory, await begin(directory, overrides, allow_unsigned=allow_unsigned), lock)
    beginning = resume(directory, overrides, handed.handover, allow_unsigned=allow_unsigned)
    return Service(directory, beginning, lock, handed)


class Service:
    """Hold the fleet and its shell; enter it to run, leave it when ``ended`` is done."""

    def __init__(self, directory: Path, beginning: Beginning, lock: int, handed: Arrived | None = None) -> None:
        self._directory, self._beginning, self._lock, self._arrived = directory, beginning, lock, handed
        self._handed = None if handed is None else handed.handover
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        settings = beginning.settings
        self._settings = settings
        with deaf():
            self._log = NoticeLog(settings.daemon.log_level, settings.daemon.log_format)
        self._notices = Notices(self._log, NoticeRing(settings.supervisor.limits.max_notices))
        self._log_orders = LogOrders(self._log, directory, settings.daemon, self._tell_from_thread)
        with deaf():
            self._capture = Capture(self._loop, self._log, settings.supervisor.output)
        self._mailbox = Mailbox(self._loop, self._take)
        self._room = _room(settings) if self._handed is None else self._handed.room
        self._began = self._compared = clock.monotonic()
        self._started = self._began if self._handed is None else self._handed.started
        self._fleet = Fleet(
            settings,
            beginning.history,
            self._began,
            jitter=lambda: random.uniform(0.5, 1.5),  # noqa: S311 - spreads load, hides nothing
            incarnations=beginning.store.recovered.incarnations,
            fallback=beginning.fallback,
            answered=beginning.answered,
            room=self._room,
        )
        self._hold_signals: Callable[[], None] = lambda: None
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

    def dump_and_stop(self, requester: str) -> None:
        """Write down all stacks, those of the workers too, and end as soon as there was time for that."""
        self._log_orders.dump()
        self._mailbox.post(StopAsked(requester, now=True, dump=True))

    def scale(self, by: int, requester: str) -> None:
        """Have one worker of the first program more or less; nobody waits for the answer, a notice tells it."""
        self._mailbox.post(ScaleAsked(0, "", None, by, "", requester))

    def reopen_log(self) -> None:
        """Open the log's file anew."""
        self._log_orders.reopen()

    def upgrade(self, requester: str) -> None:
        """Have the code as it is now take over; nobody waits for the answer, a notice tells it."""
        self._mailbox.post(UpgradeAsked(0, "", requester))

    def hold_signals(self, hold: Callable[[], None]) -> None:
        """Have signals that were not acted on handed over, too, by calling this."""
        self._hold_signals = hold

    def look(self) -> None:
        """Look at the directory now."""
        self._mailbox.post(Touched(None, urgent=True))

    def reap(self) -> None:
        """Look for children that have ended: one has, or may have."""
        self._reaper.look()

    def _submit(self, request: Request, requester: Requester, reply: Reply) -> None:
        who = f"{requester.name} (uid {requester.uid}, pid {requester.pid})"
        match request:
            case StatusRequest(sizes=True):
                self._sampler.measure(lambda: reply(StatusReport(canonical.encode(self._status()))))
            case StatusRequest():
                reply(StatusReport(canonical.encode(self._status())))
            case (
                PushRequest()
                | RestartRequest()
                | RollbackRequest()
                | ScaleRequest()
                | SteerRequest()
                | UpgradeRequest()
            ):
                asked = asks(request)
                ticket = self._performer.ticket(reply, asked.push_id)
                self._mailbox.post(asked.event(ticket, who))
            case StopRequest():
                reply(Ended(0, "ACCEPTED", "The supervisor is stopping.", (), canonical.encode({})))
                self._mailbox.post(StopAsked(who, now=request.now))
            case FollowNotices():
                reply.when_left(self._notices.ring.follow(request.since, reply))
            case FollowOutput():
                self._capture.serve(request, reply, self._fleet.board.roster.slots)
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
        self._notifier.note(event, self._fleet)

    def _perform(self, decided: list[effects.Effect]) -> None:
        for effect in decided:
            if isinstance(effect, effects.Look) and effect.hints is None:
                self._compared = clock.monotonic()
            self._performer.attempt(effect, self._fleet.board.settings)
        if self._fleet.board.settings is not self._settings:
            self._apply_settings()
        if self._fleet.board.ending is not None:
            self._listeners.leave(kept=self._notifier.keeps_sockets)
        self._arm()

    def _arm(self) -> None:
        """Set the timer to the fleet's deadline."""
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._fleet.deadline()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._mailbox.post, Elapsed())

    def _leave(self, code: int, reason: str) -> None:
        if not self.ended.done():
            self._notices.tell(says.daemon_stopped(code, reason))
            self.ended.set_result(code)

    # --- coming up -----------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        beginning, settings = self._beginning, self._settings
        release = self._releases.callback
        if beginning.isolation.no_new_privs:
            gain_no_rights()
        release(self._log.close)
        release(self._log.overhear("asyncio"))
        release(self._capture.close)
        release(beginning.contents.close)
        handed = self._handed
        if handed is None:
            listeners = Listeners(self._directory, Inherited.take(os.environ))
            release(listeners.close)
            listeners.prepare(settings)
            listeners.settle(adopted=True)
        else:
            listeners = Listeners.resumed(self._directory, handed.listeners)
            release(listeners.close)
        self._notifier = Notifier(self._loop, os.environ, listeners, self._notices.tell)
        release(self._notifier.close)
        measures = settings.supervisor.limits.counter_rows, 2 * self._room + SPARE_COLUMNS
        rows = Rows(*measures) if handed is None else Rows.resumed(handed.rows)
        release(rows.close)
        records = Records(beginning.store, self._mailbox.post, self._tell_from_thread)
        release(records.close)
        gates = Gates(self._loop, self._directory, self._mailbox.post)
        release(gates.close)
        release(beginning.compiling.close)
        identity = Identity(
            str(self._directory), beginning.signer.trust.audience, beginning.signer.trust.public_key, beginning.pepper
        )
        self._reaper, kills = Reaper(self._loop), OomKills()
        release(self._reaper.close)
        zygotes = Zygotes(
            self._loop,
            str(self._directory),
            self._reaper,
            lambda: beginning.compiling.environment,
            self._notices.tell,
            kills,
        )
        release(zygotes.close)
        workers = Workers(
            self._loop,
            identity,
            beginning.contents,
            rows,
            self._mailbox.post,
            self._notices.tell,
            zygotes=zygotes,
            capture=self._capture,
            kills=kills,
        )
        release(workers.close)
        self._sampler = Sampler(self._loop, rows, workers.pids)
        release(self._sampler.close)
        self._workers, self._listeners, self._records = workers, listeners, records
        self._zygotes, self._rows = zygotes, rows
        upgrade = Upgrade(self._loop, self._mailbox.post, self._log, self._gathered, self._let_go)
        upgrade.hold_signals = self._hold_signals
        release(upgrade.close)
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
            listeners=listeners,
            zygotes=zygotes,
            notices=self._notices,
            upgrade=upgrade,
            slots=lambda: len(self._fleet.board.roster.slots),
            leave=self._leave,
        )
        await self._serve_control()
        release(self._stop_watching)
        if self._arrived is None:
            self._begin()
        else:
            self._resume(self._arrived)

    async def _serve_control(self) -> None:
        limits = self._settings.supervisor.limits
        server = ControlServer(
            self._directory,
            self._submit,
            limits.max_clients,
            announce=self._notices.tell,
            idle_seconds=limits.client_idle_seconds,
            handed=None if self._handed is None else self._handed.control,
        )
        await server.start()
        self._control = server
        self._releases.push_async_callback(server.close)

    def _begin(self) -> None:
        beginning = self._beginning
        for alarm in beginning.store.recovered.alarms:
            self._notices.tell(alarm)
        if beginning.signer.trust.public_key is None:
            self._notices.tell(says.signing_off())
        key_file = self._settings.daemon.signing.key_file
        if (weak := weakness(beginning.isolation, self._directory, key_file)) is not None:
            self._notices.tell(weak)
        if beginning.warnings:
            self._notices.tell(says.warned(beginning.warnings))
        self._notices.tell(listening(self._listeners.addresses()))
        beginning.verdicts.to = self._mailbox.post
        self._watch()
        now = clock.monotonic()
        self._perform(self._fleet.begin(beginning.candidate, beginning.problems, now, rest=beginning.rest))
        self._mailbox.post(Touched(None, urgent=False))

    # --- handing over --------------------------------------------------------------------------------------------

    def _resume(self, arrived: Arrived) -> None:
        """Go on where another one was, with everything that it handed over."""
        handed, settings = arrived.handover, self._settings
        self._notices.resume(handed.notices)
        for alarm in self._beginning.store.recovered.alarms:
            self._notices.tell(alarm)
        self._beginning.verdicts.to = self._mailbox.post
        self._capture.resume(handed.output)
        self._zygotes.resume(handed.generation, handed.zygotes, settings)
        gone = self._workers.resume(handed.workers, self._reaper.adopt)
        self._watch()
        now = clock.monotonic()
        self._perform(self._fleet.resume(handed.fleet, now))
        for slot, incarnation in gone:
            self._mailbox.post(WorkerExited(slot, incarnation, "ended while the supervisor was upgraded", clean=False))
        seconds = now - handed.began
        self._notices.tell(
            upgrade_says.resumed(arrived.package, package_version(), seconds, len(handed.workers) - len(gone))
        )
        self._mailbox.post(Touched(None, urgent=False))

    @contextmanager
    def _gathered(self) -> Iterator[Handover]:
        """Give everything that another one needs to go on, while nothing of it changes."""
        beginning, workers, began = self._beginning, self._workers.handed(), clock.monotonic()
        trust, (generation, zygotes) = beginning.signer.trust, self._zygotes.handed()
        with self._capture.paused({(one.slot, one.incarnation) for one in workers}) as output:
            yield Handover(
                began=began,
                started=self._started,
                upgrades=self._upgrades + 1,
                audience=trust.audience,
                public_key=trust.public_key,
                lock=self._lock,
                control=self._control.handed(),
                environment=tuple(sorted(beginning.compiling.environment)),
                room=self._room,
                fleet=upgrading.give(self._fleet.board),
                contents=beginning.contents.handed(),
                listeners=self._listeners.handed(),
                rows=self._rows.handed(),
                workers=workers,
                generation=generation,
                zygotes=zygotes,
                output=output,
                notices=self._notices.handed(),
            )

    def _let_go(self) -> None:
        """Write down what is not yet, and end what is not handed over; all of it comes back where that is needed."""
        self._records.flush(_FLUSH_SECONDS)
        self._notifier.leave()
        self._beginning.compiling.close()

    @property
    def _upgrades(self) -> int:
        return 0 if self._handed is None else self._handed.upgrades

    # --- settings and the watcher --------------------------------------------------------------------------------

    def _apply_settings(self) -> None:
        """Follow settings that are in force from now on."""
        before, self._settings = self._settings, self._fleet.board.settings
        self._log_orders.follow(self._settings.daemon)
        self._capture.show(self._settings.supervisor.output)
        if before.supervisor.limits != self._settings.supervisor.limits:
            self._records.keep(Retention.of(self._settings.supervisor.limits))
        if before.supervisor.sections != self._settings.supervisor.sections:
            self._stop_watching()
            self._watch()
            self._mailbox.post(Touched(None, urgent=False))

    def _watch(self) -> None:
        watched = ("daemon.toml", *(spec.files for spec in self._settings.supervisor.sections))
        self._watcher = Watcher(self._directory, watched, self._touched, self._degraded)
        with deaf():
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
        programs = [program.name for program in self._fleet.board.settings.programs]
        around = status.Surroundings(
            now=now,
            wall_offset=clock.wall() - now,
            started=self._started,
            pid=os.getpid(),
            directory=str(self._directory),
            addresses=self._listeners.addresses(),
            signing=self._beginning.signer.trust.public_key is not None,
            watch_mode=self._watcher.mode if self._watcher is not None else "stopped",
            last_compare=self._compared,
            figures=self._sampler.figures(self._workers.figures()),
            isolation=self._beginning.isolation.word,
            listening={name: tuple(one.address for one in self._listeners.of(name)) for name in programs},
            preloaded=frozenset(filter(self._zygotes.preloads, programs)),
            security=self._notices.security,
            began=self._began,
            package=package_version(),
            upgrades=self._upgrades,
        )
        return status.document(self._fleet.board, self._fleet.trying.process, around)


def _room(settings: Settings) -> int:
    """Return how many slots there may be for as long as this supervisor runs."""
    begun = sum(program.workers for program in settings.programs)
    return max(begun, min(MAX_WORKERS, max(MIN_ROOM, 2 * begun)))


def _is_text(name: str) -> bool:
    """Say whether a file's name is UTF-8: other bytes reach us as surrogates (PEP 383)."""
    return not any("\udc80" <= character <= "\udcff" for character in name)
