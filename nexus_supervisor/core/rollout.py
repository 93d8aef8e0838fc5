"""One version's journey through the fleet.

Decided here: the phases and their table, what each process is sent next, and when a version has failed. Not decided
here: which content gets a journey at all, and what follows from its end (``fleet.py``).

A process is moved in place (staged, then activated) or by replacement (a new process boots the version, then the old one
drains). A push moves every process in place, a restart replaces every one, a first start has nothing to move and starts
one. ``drive`` compares facts with what the phase needs and sends what is missing, so it may be called at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.effects import Effect, Send, SendStage, Spawn
from nexus_supervisor.core.lifecycle import Life, Word
from nexus_supervisor.core.looking import Rider
from nexus_supervisor.core.messages import Activate, Drain
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.roster import KILL_GRACE_SECONDS, Process, Roster
from nexus_supervisor.core.settings import Settings

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
    (Phase.COMMITTING, Step.FAILED): Phase.COMMITTED,
}
"""Every pair that is not listed changes nothing. A commit record that fails leaves what is live live; the notice says so."""

ENDS = frozenset({Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK})


def advance(phase: Phase, step: Step) -> Phase:
    """Return the phase that follows."""
    return TABLE.get((phase, step), phase)


@dataclass
class Rollout:
    """Hold one journey: what moves, how far it is, who waits for it.

    ``slots`` are the slots whose process is replaced, in order; all others are moved in place. ``serial`` tells the
    processes that it started from all others. ``recorded`` is False where a restart keeps the version. ``problems`` are
    those of a directory of which only the revocations go. ``riders`` are the requests that its end answers.
    """

    kind: Kind
    digest: Digest
    settings: Settings
    slots: tuple[str, ...] = ()
    binds: bool = False
    reason: str = ""
    requester: str = ""
    rollback_of: Version | None = None
    riders: tuple[Rider, ...] = ()
    held: tuple[str, ...] = ()
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

    @property
    def ended(self) -> bool:
        """Say whether it is over."""
        return self.phase in ENDS

    def step(self, step: Step) -> None:
        """Apply a step of the table."""
        self.phase = advance(self.phase, step)

    def fail(self, reason: str, *, blamed: bool = True) -> None:
        """End it. ``blamed`` says that the content is at fault, so that it is not offered again by itself."""
        if not self.ended:
            self.failure, self.blamed = self.failure or reason, blamed
            self.step(Step.FAILED)

    def strike(self, process: Process, reason: str) -> None:
        """Note that a process was lost on the way to this version; the second one ends it."""
        fresh = process.purpose == self.serial
        if fresh and self.kind is Kind.ROLLBACK:
            self.slots = tuple(slot for slot in self.slots if slot != process.slot)
        elif fresh and process.ready_since is None:
            self.fail(reason)
        elif fresh or (process.told == self.version and process.active != self.version):
            self.strikes += 1
            if self.strikes >= STRIKES and self.kind is not Kind.ROLLBACK:
                self.fail(reason)

    def moving(self, roster: Roster) -> list[Process]:
        """Return the processes that are moved in place: all that were ever told a version and are not replaced."""
        return [
            process
            for process in roster.live()
            if process.told is not None and process.purpose != self.serial and process.slot not in self.slots
        ]

    def fresh(self, roster: Roster, slot: str) -> Process | None:
        """Return the process that was started in this slot for this version."""
        return next((one for one in roster.of(slot) if one.live and one.purpose == self.serial), None)

    def drive(self, roster: Roster, now: float, running: Settings, floor: int) -> list[Effect]:
        """Send what the phase needs and move on where everything has answered; ``running`` settings judge.

        ``floor`` is the committed version, or 0.
        """
        effects: list[Effect] = []
        if self.phase in (Phase.STAGING, Phase.WAVE):
            effects += self._stage(roster, now, running)
        if self.phase is Phase.STAGING and self._all_staged(roster):
            self.step(Step.ALL_STAGED)
        if self.phase is Phase.WAVE:
            effects += self._activate(roster, now, running) + self._replace(roster, now, running, floor)
            if self._all_active(roster):
                self.step(Step.ALL_ACTIVE)
        return effects

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
                effects += drain(
                    roster, [old for old in roster.of(slot) if old.live and old is not fresh], now, running
                )
            elif fresh is not None:
                starting += 1
            elif starting < running.supervisor.rollout.max_parallel.of(len(self.slots)):
                starting += 1
                row = roster.slots[slot].number if slot in roster.slots else number
                process = roster.add(slot, row, now, self.settings, self.serial)
                effects.append(Spawn(slot, row, process.incarnation, self.digest, floor))
        return effects

    def _all_staged(self, roster: Roster) -> bool:
        """Say whether all that can be staged are; a process that still boots another version joins in the wave."""
        able = [one for one in self.moving(roster) if one.active is not None or one.told == self.version]
        return all(one.staged == self.version for one in able)

    def _all_active(self, roster: Roster) -> bool:
        replaced = all((one := self.fresh(roster, slot)) and one.life is Life.READY for slot in self.slots)
        moving = self.moving(roster)
        return replaced and all(one.active == self.version for one in moving) and bool(moving or self.slots)


def drain(roster: Roster, processes: list[Process], now: float, settings: Settings) -> list[Effect]:
    """Tell processes to finish what is in hand and go."""
    effects: list[Effect] = []
    timeout = float(settings.daemon.shutdown.drain_timeout_seconds)
    for process in processes:
        if process.life is not Life.DRAINING:
            roster.word(process, Word.DRAIN, now + timeout + KILL_GRACE_SECONDS)
            effects.append(Send(process.slot, process.incarnation, Drain(timeout)))
    return effects
