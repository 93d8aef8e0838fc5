"""Doing what the fleet decided: one short method for each effect.

Decided here: nothing. Each method performs one effect, in the order in which the fleet gave them, and never waits.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from nexus_supervisor.core import canonical, effects, says
from nexus_supervisor.core.changes import Impact
from nexus_supervisor.core.content import EMPTY, Version
from nexus_supervisor.core.control import Answer, Ended
from nexus_supervisor.core.events import (
    Archived,
    GateEnded,
    LookFailed,
    Measured,
    Prepared,
    PrepareFailed,
    Recalled,
    RecordFailed,
    Rehearsed,
    SpawnFailed,
    UpgradeFailed,
)
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.errors import NexusError
from nexus_supervisor.supervisor import clock

if TYPE_CHECKING:
    import asyncio

    from nexus_supervisor.core.effects import Effect, Outcome
    from nexus_supervisor.core.events import Event
    from nexus_supervisor.core.settings import Settings
    from nexus_supervisor.supervisor.archive import Stored
    from nexus_supervisor.supervisor.compiling import Compiling
    from nexus_supervisor.supervisor.contents import Contents
    from nexus_supervisor.supervisor.gates import Gates
    from nexus_supervisor.supervisor.listeners import Listeners
    from nexus_supervisor.supervisor.output import Notices
    from nexus_supervisor.supervisor.records import Records
    from nexus_supervisor.supervisor.rows import Rows
    from nexus_supervisor.supervisor.signing import Signer
    from nexus_supervisor.supervisor.upgrade import Upgrade
    from nexus_supervisor.supervisor.workers import Workers
    from nexus_supervisor.supervisor.zygotes import Zygotes

    Recordable = (
        effects.Record
        | effects.Commit
        | effects.Archive
        | effects.Burn
        | effects.End
        | effects.Note
        | effects.Pin
        | effects.Quarantine
        | effects.Release
    )

__all__ = ["Performer"]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Hold where the answer of a request goes, and its id."""

    reply: Callable[[Answer], None]
    push_id: str


class Performer:
    """Perform effects with what it was given."""

    def __init__(  # noqa: PLR0913 - one for each part of the shell, all by name
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        post: Callable[[Event], None],
        contents: Contents,
        rows: Rows,
        workers: Workers,
        compiling: Compiling,
        records: Records,
        gates: Gates,
        signer: Signer,
        listeners: Listeners,
        zygotes: Zygotes,
        notices: Notices,
        upgrade: Upgrade,
        slots: Callable[[], int],
        leave: Callable[[int, str], None],
    ) -> None:
        self._loop, self._gates = loop, gates
        self._post, self._contents, self._rows = post, contents, rows
        self._workers, self._compiling, self._records = workers, compiling, records
        self._signer, self._listeners, self._zygotes, self._notices = signer, listeners, zygotes, notices
        self._upgrade, self._slots, self._leave = upgrade, slots, leave
        self._replies: dict[int, _Asked] = {}
        self._tickets = 0
        self._recalled: Stored | None = None

    def ticket(self, reply: Callable[[Answer], None], push_id: str = "") -> int:
        """Return a ticket for a request; its answer goes to ``reply``, under the id of the request."""
        self._tickets += 1
        self._replies[self._tickets] = _Asked(reply, push_id)
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
            case (
                effects.Record()
                | effects.Commit()
                | effects.Archive()
                | effects.Burn()
                | effects.End()
                | effects.Note()
                | effects.Pin()
                | effects.Quarantine()
                | effects.Release()
            ):
                self._keep_record(effect)
            case effects.Look():
                timeout = settings.supervisor.limits.compile_timeout_seconds
                self._compiling.look(effect.ticket, effect.hints, timeout, whole=effect.whole)
            case effects.Recall():
                self._recall(effect, settings.supervisor.limits.compile_timeout_seconds)
            case effects.Measure():
                self._post(Measured(self._workers.readings()))
            case effects.RunGate():
                self._gates.run(effect, settings.supervisor.external_gate, self._compiling.environment)
            case effects.Complete():
                self._rows.complete(effect.version)
            case effects.Spawn():
                self._spawn(effect)
            case effects.SendStage():
                self._workers.stage(effect, self._records.issued(effect.version))
            case effects.Send():
                self._workers.send(effect.slot, effect.incarnation, effect.message)
            case effects.Dump():
                self._workers.signal(effect.slot, effect.incarnation, signal.SIGQUIT)
            case effects.Terminate():
                self._workers.signal(effect.slot, effect.incarnation, signal.SIGTERM)
            case effects.Kill():
                self._workers.kill(effect.slot, effect.incarnation)
            case effects.Prepare():
                self._prepare(effect)
            case effects.Settle():
                self._listeners.settle(adopted=effect.adopted)
                self._zygotes.settle(adopted=effect.adopted)
            case effects.Adopt():
                self._compiling.adopt(effect.digest)
            case effects.Keep():
                self._rows.drop(self._contents.keep((*effect.digests, *self._compiling.needed)))
            case effects.Announce():
                self._notices.tell(effect.notice)
            case effects.Answer():
                self._answer(effect.ticket, effect.outcome)
            case effects.Rehearse():
                self._upgrade.rehearse(settings.supervisor.limits.upgrade_timeout_seconds)
            case effects.HandOver():
                self._upgrade.hand_over()
            case effects.Exit():
                self._leave(effect.code, effect.reason)
            case _:
                assert_never(effect)

    def _keep_record(self, effect: Recordable) -> None:
        """Perform one effect that reaches the disk."""
        match effect:
            case effects.Record():
                self._record(effect)
            case effects.Commit():
                self._records.commit(effect.version)
            case effects.Archive():
                self._records.archive(effect.version)
            case effects.Burn():
                self._records.burn(effect.version, effect.reason)
            case effects.End():
                self._records.ended(effect)
            case effects.Note():
                self._records.answered(effect)
            case effects.Pin():
                self._records.pin(effect.digest)
            case effects.Quarantine():
                self._records.quarantine(effect.digest, effect.reason)
            case effects.Release():
                self._records.release(effect)
            case _:
                assert_never(effect)

    def _record(self, effect: effects.Record) -> None:
        content = self._contents.get(effect.digest).content
        parent = self._records.committed
        stored = self._signer.issue(
            content,
            version=effect.version,
            parent=parent,
            created_at=clock.stamp(),
            rollback_of=self._repeated(effect),
        )
        before = None if parent is None else parent.content
        change = self._contents.encoded(None if before is None else before.digest, effect.digest)
        impact = Impact.of(before or EMPTY, content)
        self._records.candidate(stored, change, effect, impact.summary)
        if before is not None:
            self._notices.tell(says.holds(effect.version, impact))

    def _repeated(self, effect: effects.Record) -> int | None:
        """Return the version whose content this one repeats: not one that was recalled and had to lose entries."""
        recalled = self._recalled
        if recalled is None or recalled.version != effect.rollback_of or recalled.content.digest == effect.digest:
            return effect.rollback_of
        return None

    def _recall(self, effect: effects.Recall, timeout_seconds: float) -> None:
        def loaded(stored: Stored | None, problems: tuple[Problem, ...]) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(judge, stored, problems)

        def judge(stored: Stored | None, problems: tuple[Problem, ...]) -> None:
            if stored is None:
                self._post(Recalled(effect.ticket, Version(effect.version or 0), None, problems))
            else:
                self._recalled, version = stored, stored.manifest.version
                self._compiling.recall(effect.ticket, version, stored.content, timeout_seconds)

        self._records.recall(effect.version, loaded)

    def _spawn(self, effect: effects.Spawn) -> None:
        settings = self._contents.get(effect.digest).settings
        held = () if effect.trial else self._listeners.of(effect.program, fresh=effect.fresh)
        self._workers.spawn(effect, settings, held, self._compiling.environment, self._records.spawned)

    def _prepare(self, effect: effects.Prepare) -> None:
        """Bind what is new, then import what may be; one answer, once both are there."""
        settings = self._contents.get(effect.digest).settings

        def imported(failure: str) -> None:
            if failure:
                self._post(PrepareFailed(failure, effect.serial))
                return
            self._notices.tell(listening(self._listeners.addresses(fresh=True)))
            self._post(Prepared(effect.serial))

        try:
            self._listeners.prepare(settings)
            self._zygotes.prepare(settings, imported)
        except NexusError as error:
            self._post(PrepareFailed(str(error), effect.serial))

    def _answer(self, ticket: int, outcome: Outcome) -> None:
        asked = self._replies.pop(ticket, None)
        if asked is None:
            return
        facts = {
            "version": outcome.version,
            "workers": outcome.workers,
            "slots": self._slots(),
            "held": list(outcome.held),
            "numbers": outcome.numbers,
            "push_id": asked.push_id,
        }
        problems = tuple(str(problem) for problem in outcome.problems)
        asked.reply(Ended(outcome.exit_code, outcome.word, outcome.text, problems, canonical.encode(facts)))


def _failure(effect: Effect, reason: str) -> Event | None:  # noqa: C901, PLR0911 - one line for each effect
    """Return the event by which the fleet learns that an effect has failed; None where it doesn't wait for it."""
    match effect:
        case effects.Look():
            return LookFailed(effect.ticket, reason)
        case effects.Recall():
            return Recalled(effect.ticket, Version(effect.version or 0), None, (_mistake(reason),))
        case effects.RunGate():
            return GateEnded(effect.version, passed=False, reason=reason)
        case effects.Measure():
            return Measured({})
        case effects.Record() | effects.Commit():
            return RecordFailed(effect.version, reason)
        case effects.Archive():
            return Archived(effect.version, reason)
        case effects.Spawn():
            return SpawnFailed(effect.slot, effect.incarnation, reason)
        case effects.Prepare():
            return PrepareFailed(reason, effect.serial)
        case effects.Rehearse():
            return Rehearsed(reason)
        case effects.HandOver():
            return UpgradeFailed(reason)
        case _:
            return None


def _mistake(reason: str) -> Problem:
    return Problem(".", 0, "", "internal", reason)


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
