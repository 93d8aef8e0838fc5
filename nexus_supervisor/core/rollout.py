"""One version's journey through the fleet: its phases, and what ends it.

Decided here: the phases and their table, and when a version has failed. Not decided here: what each process is sent
next (``moving.py``), which content gets a journey at all, and what follows from its end (``journeys.py``,
``endings.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from nexus_supervisor.core.bake import Bake
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.events import PushAsked, RestartAsked, RollbackAsked
from nexus_supervisor.core.notices import Facts
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.requests import Rider
from nexus_supervisor.core.settings import Settings
from nexus_supervisor.core.waves import Kind, Plan, plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexus_supervisor.core.roster import Process, Roster


__all__ = ["NO_VERSION", "STRIKES", "TABLE", "Kind", "Phase", "Rollout", "Step", "advance"]

NO_VERSION = Version(0)
STRIKES = 2
"""So many processes lost on the way to one version are the version's fault; one may be anybody's."""


class Phase(StrEnum):
    """How far it is. The last three are ends."""

    RECORDING = "recording"
    PREPARING = "preparing"
    TRIAL = "trial"
    STAGING = "staging"
    CANARY = "canary"
    BAKE = "bake"
    WAVE = "wave"
    COMMITTING = "committing"
    COMMITTED = "committed"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class Step(StrEnum):
    """What moves it on."""

    RECORDED = "recorded"
    PREPARED = "prepared"
    TRIED = "tried"
    ALL_STAGED = "all_staged"
    CANARY_ACTIVE = "canary_active"
    CANARY_GONE = "canary_gone"
    BAKED = "baked"
    ALL_ACTIVE = "all_active"
    COMMIT_RECORDED = "commit_recorded"
    COMMIT_FAILED = "commit_failed"
    FAILED = "failed"


TABLE: Mapping[tuple[Phase, Step], Phase] = {
    (Phase.RECORDING, Step.RECORDED): Phase.PREPARING,
    (Phase.RECORDING, Step.FAILED): Phase.REJECTED,
    (Phase.PREPARING, Step.PREPARED): Phase.TRIAL,
    (Phase.PREPARING, Step.FAILED): Phase.REJECTED,
    (Phase.TRIAL, Step.TRIED): Phase.STAGING,
    (Phase.TRIAL, Step.FAILED): Phase.REJECTED,
    (Phase.STAGING, Step.ALL_STAGED): Phase.CANARY,
    (Phase.STAGING, Step.FAILED): Phase.REJECTED,
    (Phase.CANARY, Step.CANARY_ACTIVE): Phase.BAKE,
    (Phase.CANARY, Step.FAILED): Phase.ROLLED_BACK,
    (Phase.BAKE, Step.CANARY_GONE): Phase.CANARY,
    (Phase.BAKE, Step.BAKED): Phase.WAVE,
    (Phase.BAKE, Step.FAILED): Phase.ROLLED_BACK,
    (Phase.WAVE, Step.ALL_ACTIVE): Phase.COMMITTING,
    (Phase.WAVE, Step.FAILED): Phase.ROLLED_BACK,
    (Phase.COMMITTING, Step.COMMIT_RECORDED): Phase.COMMITTED,
    (Phase.COMMITTING, Step.COMMIT_FAILED): Phase.COMMITTED,
}
"""Every pair that is not listed changes nothing. A commit record that fails leaves what is live live, and says so."""

ENDS = frozenset({Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK})
MOVING = frozenset({Phase.STAGING, Phase.CANARY, Phase.BAKE, Phase.WAVE})
"""The phases in which processes are sent the version."""

BEFORE_COMMIT = frozenset(Phase) - ENDS - {Phase.COMMITTING}
"""The phases in which it can still be left."""

YIELDING = frozenset({Kind.PUSH, Kind.RETURN})
"""The kinds that can be left as they are for something more urgent: who has moved to them moves on from there."""

STEERABLE = YIELDING | {Kind.RESTART}
"""The kinds that can be paused, promoted and aborted."""


def advance(phase: Phase, step: Step) -> Phase:
    """Return the phase that follows."""
    return TABLE.get((phase, step), phase)


@dataclass
class Rollout:
    """Hold one journey: what moves, how far it is, who waits for it.

    ``base`` is the content that the candidate was judged against. ``slots`` are the slots whose process is replaced,
    in order; all others are moved in place. ``canaries`` are the slots that move first. ``serial`` tells the processes
    that it started from all others. ``recorded`` is False where a restart keeps the version. ``gone`` are the entries
    that it revokes, ``problems`` those of a directory of which only the revocations go. ``wanted`` is what the
    directory held. ``riders`` are the requests that its end answers. ``automatic``: nobody asked for it.
    ``alone_until`` is when it ends because there is no process that could take it, ``hastened`` whether such were
    tried sooner for it, ``tried_by`` when it ends because there is no trial worker, ``prepared_by`` when it ends
    because nothing says whether it is prepared. ``done`` are the slots whose new process has ended already, as its
    program's restart type wants it. ``next_at`` is when the next group may move, ``grouped`` says that one is on its
    way. ``first_error`` is the first exception that came out of a process which has it first, or was started for it.
    ``refused``: what it would start processes from can't be had.
    """

    kind: Kind
    digest: Digest
    settings: Settings
    base: Digest | None = None
    slots: tuple[str, ...] = ()
    reason: str = ""
    requester: str = ""
    rollback_of: Version | None = None
    riders: tuple[Rider, ...] = ()
    gone: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    wanted: Digest | None = None
    held: tuple[str, ...] = ()
    automatic: bool = False
    version: Version = NO_VERSION
    serial: int = 0
    recorded: bool = True
    phase: Phase = Phase.RECORDING
    committing: bool = False
    canaries: tuple[str, ...] = ()
    bake: Bake | None = None
    promoted: bool = False
    singly: bool = False
    paused_since: float | None = None
    next_at: float | None = None
    grouped: bool = False
    strikes: int = 0
    failure: str = ""
    first_error: str = ""
    blamed: bool = True
    aborted: bool = False
    refused: bool = False
    numbers: Facts = field(default_factory=dict)
    began: float = 0.0
    alone_until: float | None = None
    hastened: bool = False
    tried_by: float | None = None
    prepared_by: float | None = None
    done: frozenset[str] = frozenset()

    @property
    def hasty(self) -> bool:
        """Say whether somebody asked that replaced processes don't wait for requests in hand."""
        return any(isinstance(rider, RestartAsked) and rider.now for rider in self.riders)

    @property
    def short(self) -> bool:
        """Say whether the bake is left out: somebody asked for that, or it goes by itself and is urgent."""
        return self.automatic or any(not isinstance(rider, RollbackAsked) and rider.now for rider in self.riders)

    @property
    def strategy(self) -> str:
        """Return the strategy that somebody asked for, or "" for that of the settings."""
        asked = (rider.strategy for rider in self.riders if isinstance(rider, PushAsked))
        return next((strategy for strategy in asked if strategy), "")

    @property
    def ended(self) -> bool:
        """Say whether it is over."""
        return self.phase in ENDS

    @property
    def steerable(self) -> bool:
        """Say whether it can be paused, promoted and aborted."""
        return self.kind in STEERABLE and self.phase in BEFORE_COMMIT

    @property
    def yields(self) -> bool:
        """Say whether it can be left as it is for something that is more urgent."""
        return self.kind in YIELDING and self.phase in BEFORE_COMMIT

    @property
    def is_dwelling(self) -> bool:
        """Say whether it is a restart that waits: for new code, for the first ones of it, or for somebody."""
        waits = self.phase is not Phase.WAVE or self.paused_since is not None
        return self.kind is Kind.RESTART and self.phase in BEFORE_COMMIT and waits

    @property
    def title(self) -> str:
        """Return what it is called where a sentence begins with it."""
        if self.recorded:
            return f"Version {self.version}"
        return "The restart" if self.kind is Kind.RESTART else "The way back from a restart"

    def plan(self, running: Settings) -> Plan:
        """Return how it moves, by the settings that run."""
        return plan(self.kind, running.supervisor.rollout, strategy=self.strategy, short=self.short)

    def ride(self, riders: tuple[Rider, ...]) -> None:
        """Take requests along; the first one's reason and requester are noted on the version where it has none."""
        self.riders += riders
        if self.riders:
            self.reason = self.reason or self.riders[0].reason
            self.requester = self.requester or self.riders[0].requester

    def step(self, step: Step) -> None:
        """Apply a step of the table."""
        self.phase = advance(self.phase, step)

    def started(self, process: Process) -> bool:
        """Say whether a process was started for this version."""
        return process.purpose == self.serial

    def concerns(self, process: Process) -> bool:
        """Say whether a process was started for this version or sent it."""
        return self.started(process) or (self.recorded and process.told == self.version)

    def fail(self, reason: str, *, blamed: bool = True, aborted: bool = False) -> None:
        """End it, unless all have moved. ``blamed``: the content is at fault and is not offered again by itself."""
        if (self.phase, Step.FAILED) in TABLE:
            self.failure, self.blamed, self.aborted = reason, blamed, aborted
            self.step(Step.FAILED)

    def commit_failed(self, reason: str) -> None:
        """Note that the commit record is not durable; what is live stays live."""
        if self.phase is Phase.COMMITTING:
            self.failure = reason
            self.step(Step.COMMIT_FAILED)

    def strike(self, process: Process, reason: str, *, loops: bool = False, blamed: bool = True) -> None:
        """Note that a process was lost on the way to this version.

        One that moves first, or has moved, condemns what is pushed, and so does one that was started for it and never
        served. Any other may have been lost by itself, so the second one ends it. One that still served what is to be
        left counts for nothing where that is condemned, or where its slot ``loops``: that is what it was lost on.
        """
        if self.phase not in MOVING or not self.concerns(process):
            return
        if (loops or self.automatic) and process.active not in (None, self.version) and not process.activating:
            return
        unready = self.started(process) and process.ready_since is None and self.kind is not Kind.ROLLBACK
        if unready or self._condemns(process):
            self.fail(f"{reason}{self.error}", blamed=blamed)
        elif self.phase is not Phase.BAKE:
            self.strikes += 1
            if self.strikes >= STRIKES:
                self.fail(reason, blamed=blamed)

    def _condemns(self, process: Process) -> bool:
        """Say whether the loss of this process is the fault of what is pushed, or of the new code."""
        if self.kind is Kind.RESTART:
            return self.started(process)
        return self.kind in YIELDING and (process.slot in self.canaries or process.active == self.version)

    def is_watched(self, process: Process) -> bool:
        """Say whether what comes out of a process speaks of this rollout."""
        return self.started(process) or (self.kind is not Kind.RESTART and process.slot in self.canaries)

    @property
    def error(self) -> str:
        """Return the first exception as the end of a sentence, empty where there is none."""
        return f"; the first exception was {self.first_error}" if self.first_error else ""

    def moving(self, roster: Roster) -> list[Process]:
        """Return the processes that are moved in place: all that were ever told a version and are not replaced.

        New settings need new processes, so a restart moves nobody in place: who has no slot any more is drained.
        """
        if self.kind in (Kind.BOOT, Kind.RESTART):
            return []
        return [
            process
            for process in roster.live()
            if process.told is not None and not self.started(process) and process.slot not in self.slots
        ]

    def leaders(self, roster: Roster) -> list[Process]:
        """Return the processes that moved first: in place, or the new ones of their slots."""
        moved = self.first_of(self.moving(roster))
        fresh = (self.fresh(roster, slot) for slot in self.canaries if slot in self.slots)
        return [*moved, *(one for one in fresh if one is not None)]

    def first_of(self, processes: list[Process]) -> list[Process]:
        """Return those of these that move first, one of each slot: where one leaves, the one that stays."""
        chosen: dict[str, Process] = {}
        for one in sorted(processes, key=lambda one: (one.told != self.version, one.leaving)):
            if one.slot in self.canaries:
                chosen.setdefault(one.slot, one)
        return list(chosen.values())

    def fresh(self, roster: Roster, slot: str) -> Process | None:
        """Return the process that was started in this slot for this version."""
        return next((one for one in roster.of(slot) if one.live and self.started(one)), None)

    def deadline(self, running: Settings) -> float | None:
        """Return when it has to be looked at if nothing else happens."""
        times = [self.alone_until, self.tried_by if self.phase is Phase.TRIAL else None]
        times.append(self.prepared_by if self.phase is Phase.PREPARING else None)
        if self.phase is Phase.BAKE and self.bake is not None:
            times.append(self.bake.deadline(paused=self.paused_since is not None))
        if self.phase is Phase.WAVE and self.paused_since is None:
            times.append(self.next_at)
        if self.paused_since is not None and self.phase in BEFORE_COMMIT:
            times.append(self.paused_since + running.supervisor.rollout.max_pause_seconds)
        return min((time for time in times if time is not None), default=None)
