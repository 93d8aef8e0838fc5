"""One version's journey through the fleet.

Decided here: the phases and their table, what each process is sent next, and when a version has failed. Not decided
here: which content gets a journey at all, and what follows from its end (``fleet.py``).

A process is moved in place (staged, then activated) or by replacement (a new process boots the version, then the old
one drains). A push moves every process in place, a restart replaces every one, a first start has nothing to move and
starts one. ``drive`` compares facts with what the phase needs and sends what is missing, so it may be called at any
time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.effects import Effect, Send, SendStage, Spawn
from nexus_supervisor.core.events import RestartAsked
from nexus_supervisor.core.lifecycle import Life, Word
from nexus_supervisor.core.looking import Rider
from nexus_supervisor.core.messages import Activate, Drain
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.roster import KILL_GRACE_SECONDS, Process, Roster
from nexus_supervisor.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TABLE", "Kind", "Phase", "Rollout", "Step", "advance"]

NO_VERSION = Version(0)
STRIKES = 2
"""So many processes lost on one version are the version's fault; one may be anybody's."""


class Kind(StrEnum):
    """Why a version is on its way."""

    BOOT = "boot"
    PUSH = "push"
    REVOCATION = "revocation"
    RESTART = "restart"
    ROLLBACK = "rollback"


class Phase(StrEnum):
    """How far it is. The last three are ends."""

    RECORDING = "recording"
    BINDING = "binding"
    STAGING = "staging"
    WAVE = "wave"
    COMMITTING = "committing"
    COMMITTED = "committed"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class Step(StrEnum):
    """What moves it on."""

    RECORDED = "recorded"
    BOUND = "bound"
    ALL_STAGED = "all_staged"
    ALL_ACTIVE = "all_active"
    COMMIT_RECORDED = "commit_recorded"
    COMMIT_FAILED = "commit_failed"
    FAILED = "failed"


TABLE: Mapping[tuple[Phase, Step], Phase] = {
    (Phase.RECORDING, Step.RECORDED): Phase.BINDING,
    (Phase.RECORDING, Step.FAILED): Phase.REJECTED,
    (Phase.BINDING, Step.BOUND): Phase.STAGING,
    (Phase.BINDING, Step.FAILED): Phase.REJECTED,
    (Phase.STAGING, Step.ALL_STAGED): Phase.WAVE,
    (Phase.STAGING, Step.FAILED): Phase.REJECTED,
    (Phase.WAVE, Step.ALL_ACTIVE): Phase.COMMITTING,
    (Phase.WAVE, Step.FAILED): Phase.ROLLED_BACK,
    (Phase.COMMITTING, Step.COMMIT_RECORDED): Phase.COMMITTED,
    (Phase.COMMITTING, Step.COMMIT_FAILED): Phase.COMMITTED,
}
"""Every pair that is not listed changes nothing. A commit record that fails leaves what is live live, and says so."""

ENDS = frozenset({Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK})


def advance(phase: Phase, step: Step) -> Phase:
    """Return the phase that follows."""
    return TABLE.get((phase, step), phase)


@dataclass
class Rollout:
    """Hold one journey: what moves, how far it is, who waits for it.

    ``base`` is the content that the candidate was judged against. ``slots`` are the slots whose process is replaced, in
    order; all others are moved in place. ``serial`` tells the processes that it started from all others. ``recorded``
    is False where a restart keeps the version. ``gone`` are the entries that it revokes, ``problems`` those of a
    directory of which only the revocations go. ``riders`` are the requests that its end answers. ``alone_until`` is
    when it ends because there is no process that could take it.
    """

    kind: Kind
    digest: Digest
    settings: Settings
    base: Digest | None = None
    slots: tuple[str, ...] = ()
    binds: bool = False
    reason: str = ""
    requester: str = ""
    rollback_of: Version | None = None
    riders: tuple[Rider, ...] = ()
    gone: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    version: Version = NO_VERSION
    serial: int = 0
    recorded: bool = True
    phase: Phase = Phase.RECORDING
    committing: bool = False
    strikes: int = 0
    failure: str = ""
    blamed: bool = True
    began: float = 0.0
    alone_until: float | None = None

    @property
    def hasty(self) -> bool:
        """Say whether somebody asked that replaced processes don't wait for requests in hand."""
        return any(isinstance(rider, RestartAsked) and rider.now for rider in self.riders)

    @property
    def ended(self) -> bool:
        """Say whether it is over."""
        return self.phase in ENDS

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

    def fail(self, reason: str, *, blamed: bool = True) -> None:
        """End it, unless all have moved. ``blamed``: the content is at fault and is not offered again by itself."""
        if (self.phase, Step.FAILED) in TABLE:
            self.failure, self.blamed = reason, blamed
            self.step(Step.FAILED)

    def commit_failed(self, reason: str) -> None:
        """Note that the commit record is not durable; what is live stays live."""
        if self.phase is Phase.COMMITTING:
            self.failure = reason
            self.step(Step.COMMIT_FAILED)

    def strike(self, process: Process, reason: str) -> None:
        """Note that a process was lost on the way to this version; the second one ends it."""
        if self.phase not in (Phase.STAGING, Phase.WAVE):
            return
        if self.started(process) and process.ready_since is None and self.kind is not Kind.ROLLBACK:
            self.fail(reason)
        elif self.concerns(process):
            self.strikes += 1
            if self.strikes >= STRIKES:
                self.fail(reason)

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

    def fresh(self, roster: Roster, slot: str) -> Process | None:
        """Return the process that was started in this slot for this version."""
        return next((one for one in roster.of(slot) if one.live and self.started(one)), None)

    def drive(self, roster: Roster, now: float, running: Settings, floor: int) -> list[Effect]:
        """Send what the phase needs and move on where everything has answered; ``running`` settings judge.

        ``floor`` is the committed version, or 0.
        """
        effects: list[Effect] = []
        if self.phase in (Phase.STAGING, Phase.WAVE):
            self._wait_for_somebody(roster, now, running)
            effects += self._stage(roster, now, running)
        if self.phase is Phase.STAGING and self._all_staged(roster):
            self.step(Step.ALL_STAGED)
        if self.phase is Phase.WAVE:
            effects += self._activate(roster, now, running) + self._replace(roster, now, running, floor)
            if self._all_active(roster):
                self.step(Step.ALL_ACTIVE)
        return effects

    def _wait_for_somebody(self, roster: Roster, now: float, running: Settings) -> None:
        """End where for as long as a start may take nobody was there to take the version."""
        if self.slots or self.moving(roster):
            self.alone_until = None
        elif self.alone_until is None:
            self.alone_until = now + running.supervisor.rollout.start_timeout_seconds
        elif self.alone_until <= now:
            self.fail("there was no worker that could take it", blamed=False)

    def _stage(self, roster: Roster, now: float, running: Settings) -> list[Effect]:
        effects: list[Effect] = []
        deadline = now + running.supervisor.rollout.stage_timeout_seconds
        for process in self.moving(roster):
            if process.active is not None and process.told != self.version:
                told = roster.tell(process, self.version, deadline)
                effects.append(SendStage(told.slot, told.incarnation, told.push, self.version, told.holds))
        return effects

    def _activate(self, roster: Roster, now: float, running: Settings) -> list[Effect]:
        effects: list[Effect] = []
        deadline = now + running.supervisor.rollout.activate_timeout_seconds
        for process in self.moving(roster):
            if process.staged == self.version and not process.activating:
                roster.put(replace(process, activating=True, deadline=deadline))
                effects.append(Send(process.slot, process.incarnation, Activate(process.push, self.version)))
        return effects

    def _replace(self, roster: Roster, now: float, running: Settings, floor: int) -> list[Effect]:
        """Start new processes, as many at a time as settings allow; drain the old one where the new one serves."""
        effects: list[Effect] = []
        starting = 0
        for number, slot in enumerate(self.slots):
            fresh = self.fresh(roster, slot)
            if fresh is not None and fresh.life is Life.READY:
                old = [one for one in roster.of(slot) if one.live and one is not fresh]
                effects += drain(roster, old, now, running, hasty=self.hasty)
            elif fresh is not None:
                starting += 1
            elif starting < running.supervisor.rollout.max_parallel.of(len(self.slots)):
                starting += 1
                row = roster.slots[slot].number if slot in roster.slots else number
                process = roster.add(slot, row, now, self.settings, self.serial)
                effects.append(Spawn(slot, row, process.incarnation, self.digest, floor, fresh=True))
        return effects

    def _all_staged(self, roster: Roster) -> bool:
        """Say whether all that can be staged are; a process that still boots another version joins in the wave."""
        able = [one for one in self.moving(roster) if one.active is not None or one.told == self.version]
        return all(one.staged == self.version for one in able)

    def _all_active(self, roster: Roster) -> bool:
        replaced = all((one := self.fresh(roster, slot)) and one.life is Life.READY for slot in self.slots)
        moving = self.moving(roster)
        return replaced and all(one.active == self.version for one in moving) and bool(moving or self.slots)


def drain(
    roster: Roster, processes: list[Process], now: float, settings: Settings, *, hasty: bool = False
) -> list[Effect]:
    """Tell processes to finish what is in hand and go; ``hasty``: to go without finishing."""
    effects: list[Effect] = []
    timeout = 0.0 if hasty else float(settings.daemon.shutdown.drain_timeout_seconds)
    for process in processes:
        if process.life is not Life.DRAINING:
            roster.word(process, Word.DRAIN, now + timeout + KILL_GRACE_SECONDS)
            effects.append(Send(process.slot, process.incarnation, Drain(timeout)))
    return effects
