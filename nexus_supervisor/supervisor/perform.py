"""Doing what the fleet decided: one short method for each effect.

Decided here: nothing. Each method performs one effect, in the order in which the fleet gave them, and never waits.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, assert_never

from nexus_supervisor.core import canonical, effects, says
from nexus_supervisor.core.changes import Impact
from nexus_supervisor.core.control import Ended
from nexus_supervisor.core.events import Archived, BindFailed, Bound, LookFailed, RecordFailed, SpawnFailed
from nexus_supervisor.core.notices import SECURITY_KINDS, Notice
from nexus_supervisor.errors import NexusError
from nexus_supervisor.supervisor import clock
from nexus_supervisor.supervisor.listeners import Listener, bound

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.core.control import Answer
    from nexus_supervisor.core.effects import Effect, Outcome
    from nexus_supervisor.core.events import Event
    from nexus_supervisor.core.settings import Settings
    from nexus_supervisor.supervisor.compiling import Compiling
    from nexus_supervisor.supervisor.contents import Contents
    from nexus_supervisor.supervisor.output import NoticeLog, NoticeRing
    from nexus_supervisor.supervisor.records import Records
    from nexus_supervisor.supervisor.rows import Rows
    from nexus_supervisor.supervisor.signing import Signer
    from nexus_supervisor.supervisor.workers import Workers

KEPT_SECURITY_NOTICES = 20

__all__ = ["Notices", "Performer", "Sockets"]


class Notices:
    """Hand each notice to its readers: the log, those who follow, and the status for what concerns security."""

    def __init__(self, log: NoticeLog, ring: NoticeRing) -> None:
        self._log, self.ring = log, ring
        self._security: deque[tuple[float, Notice]] = deque(maxlen=KEPT_SECURITY_NOTICES)

    @property
    def security(self) -> tuple[tuple[float, Notice], ...]:
        """Return the newest security notices with their unix times, oldest first."""
        return tuple(self._security)

    def tell(self, notice: Notice) -> None:
        """Tell one notice, from the loop's thread."""
        self.ring.add(notice)
        self._log.write(notice)
        if notice.kind in SECURITY_KINDS:
            self._security.append((clock.wall(), notice))


class Sockets:
    """Hold the listening sockets in use, if any, and those that a restart is about to use."""

    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        self.current = listeners
        self._next: tuple[Listener, ...] | None = None

    @property
    def newest(self) -> tuple[Listener, ...]:
        """Return the sockets that a process gets which is started now."""
        return self.current if self._next is None else self._next

    def bind(self, settings: Settings) -> None:
        """Bind beside the sockets in use; raise NexusError where that can't be."""
        self._next = bound(settings.daemon.bind, settings.daemon.port)

    def settle(self, *, adopted: bool) -> None:
        """Close what is no longer needed: the old sockets or the new ones; the old ones stay where none were bound."""
        if self._next is None:
            return
        leaving, self.current = (self.current, self._next) if adopted else (self._next, self.current)
        self._next = None
        for listener in leaving:
            listener.close()

    def close(self) -> None:
        """Close all."""
        for listener in (*self.current, *(self._next or ())):
            listener.close()


class Performer:
    """Perform effects with what it was given."""

    def __init__(  # noqa: PLR0913 - one for each part of the shell, all by name
        self,
        *,
        post: Callable[[Event], None],
        contents: Contents,
        rows: Rows,
        workers: Workers,
        compiling: Compiling,
        records: Records,
        signer: Signer,
        sockets: Sockets,
        notices: Notices,
        leave: Callable[[int], None],
    ) -> None:
        self._post, self._contents, self._rows = post, contents, rows
        self._workers, self._compiling, self._records = workers, compiling, records
        self._signer, self._sockets, self._notices = signer, sockets, notices
        self._leave = leave
        self._replies: dict[int, Callable[[Answer], None]] = {}
        self._tickets = 0

    def ticket(self, reply: Callable[[Answer], None]) -> int:
        """Return a ticket for a request; its answer goes to ``reply``."""
        self._tickets += 1
        self._replies[self._tickets] = reply
        return self._tickets

    def attempt(self, effect: Effect, settings: Settings) -> None:
        """Perform one effect; a mistake of ours is told and becomes the failure that the fleet knows how to take."""
        try:
            self.perform(effect, settings)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the fleet must hear of it and go on
            reason = f"{type(effect).__name__} raised {type(error).__name__} at {_place(error)}"
            self._notices.tell(says.effect_failed(reason))
            failure = _failure(effect, reason)
            if failure is not None:
                self._post(failure)

    def perform(self, effect: Effect, settings: Settings) -> None:  # noqa: C901, PLR0912 - one line for each effect
        """Perform one effect; ``settings`` are those that are in force."""
        match effect:
            case effects.Look():
                timeout = settings.supervisor.limits.compile_timeout_seconds
                self._compiling.look(effect.ticket, effect.hints, timeout, whole=effect.whole, bare=effect.bare)
            case effects.Record():
                self._record(effect)
            case effects.Commit():
                self._records.commit(effect.version)
            case effects.Burn():
                self._records.burn(effect.version, effect.reason)
            case effects.End():
                self._records.ended(effect.version, effect.outcome, effect.reason, effect.requester)
            case effects.Quarantine():
                self._records.quarantine(effect.digest, effect.reason)
            case effects.Archive():
                self._records.archive(effect.version)
            case effects.Complete():
                self._rows.complete(effect.version)
            case effects.Spawn():
                self._spawn(effect)
            case effects.SendStage():
                self._workers.stage(effect, self._records.issued(effect.version))
            case effects.Send():
                self._workers.send(effect.slot, effect.incarnation, effect.message)
            case effects.Kill():
                self._workers.kill(effect.slot, effect.incarnation)
            case effects.Bind():
                self._bind(effect)
            case effects.CloseListeners():
                self._sockets.settle(adopted=effect.adopted)
            case effects.Adopt():
                self._compiling.adopt(effect.digest)
            case effects.Keep():
                self._rows.drop(self._contents.keep((*effect.digests, *self._compiling.needed)))
            case effects.Announce():
                self._notices.tell(effect.notice)
            case effects.Answer():
                self._answer(effect.ticket, effect.outcome, settings.supervisor.workers)
            case effects.Exit():
                self._leave(effect.code)
            case _:
                assert_never(effect)

    def _record(self, effect: effects.Record) -> None:
        content = self._contents.get(effect.digest).content
        parent = self._records.committed
        created = datetime.fromtimestamp(clock.wall(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        stored = self._signer.issue(
            content, version=effect.version, parent=parent, created_at=created, rollback_of=effect.rollback_of
        )
        change = self._contents.encoded(None if parent is None else parent.content.digest, effect.digest)
        origin = "rollback" if effect.rollback_of is not None else "directory"
        self._records.candidate(stored, change, effect.reason, origin, revokes=effect.revokes)
        if parent is not None:
            self._notices.tell(says.holds(effect.version, Impact.of(parent.content, content)))

    def _spawn(self, effect: effects.Spawn) -> None:
        settings = self._contents.get(effect.digest).settings
        sockets = self._sockets.newest if effect.fresh else self._sockets.current
        record = self._workers.spawn(effect, settings, sockets, self._compiling.environment)
        if record is not None:
            self._records.spawned(record)

    def _bind(self, effect: effects.Bind) -> None:
        try:
            self._sockets.bind(self._contents.get(effect.digest).settings)
        except NexusError as error:
            self._post(BindFailed(str(error)))
            return
        addresses = tuple(listener.address for listener in self._sockets.newest)
        self._notices.tell(listening(addresses))
        self._post(Bound())

    def _answer(self, ticket: int, outcome: Outcome, slots: int) -> None:
        reply = self._replies.pop(ticket, None)
        if reply is None:
            return
        facts = {"version": outcome.version, "workers": outcome.workers, "slots": slots, "held": list(outcome.held)}
        problems = tuple(str(problem) for problem in outcome.problems)
        reply(Ended(outcome.exit_code, outcome.word, outcome.text, problems, canonical.encode(facts)))


def _failure(effect: Effect, reason: str) -> Event | None:
    """Return the event by which the fleet learns that an effect has failed; None where it doesn't wait for it."""
    match effect:
        case effects.Look():
            return LookFailed(effect.ticket, reason)
        case effects.Record() | effects.Commit():
            return RecordFailed(effect.version, reason)
        case effects.Archive():
            return Archived(effect.version, reason)
        case effects.Spawn():
            return SpawnFailed(effect.slot, effect.incarnation, reason)
        case effects.Bind():
            return BindFailed(reason)
        case _:
            return None


def _place(error: BaseException) -> str:
    """Return the module and line where an error came up: never its text, which may hold anything."""
    trace, place = error.__traceback__, "an unknown place"
    while trace is not None:
        place = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def listening(addresses: tuple[str, ...]) -> Notice:
    """Tell where the daemon listens, if it does."""
    fields: dict[str, str | int | float | bool | tuple[str, ...] | None] = {"address": ", ".join(addresses)}
    where = ", ".join(addresses) or "nothing: [daemon] bind is empty"
    return Notice("listening", "info", f"Listening on {where}.", fields)
