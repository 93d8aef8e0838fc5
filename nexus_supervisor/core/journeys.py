"""From content to version: which rollout begins, which one waits, and what its end leads to.

Decided here: one rollout at a time, the newest candidate waits, numbers are given and burnt, what failed is left and
gone back from. Not decided here: the steps of a rollout (``rollout.py``) and which content is offered (``directory.py``).
"""

from __future__ import annotations

from dataclasses import replace

from nexus_supervisor.core import says
from nexus_supervisor.core.answers import Answers
from nexus_supervisor.core.board import Board, slot_names
from nexus_supervisor.core.content import Digest
from nexus_supervisor.core.effects import (
    Adopt,
    Archive,
    Bind,
    Burn,
    CloseListeners,
    Commit,
    Exit,
    Keep,
    Quarantine,
    Record,
    Send,
)
from nexus_supervisor.core.events import (
    BindFailed,
    Bound,
    Candidate,
    CommitRecorded,
    Recorded,
    RecordFailed,
    RestartAsked,
)
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.looking import Rider
from nexus_supervisor.core.messages import Discard
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind, Phase, Rollout, Step, drain
from nexus_supervisor.core.roster import Process
from nexus_supervisor.core.settings import Settings

__all__ = ["Journeys"]


class Journeys:
    """Give contents their numbers and bring them to an end."""

    def __init__(self, board: Board, answers: Answers) -> None:
        self._board = board
        self._answers = answers
        self._serial = 0

    def offer(
        self,
        kind: Kind,
        digest: Digest,
        settings: Settings,
        riders: tuple[Rider, ...],
        now: float,
        *,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        """Start a rollout of a content, let it wait for the running one, or answer at once where nothing is to do."""
        running = self._board.rollout
        held = self._board.standing.held_keys
        if running is not None and running.digest == digest and running.kind is not Kind.ROLLBACK and not problems:
            running.riders += riders
            self._supersede(None)
        elif running is None and digest == self._board.history.digest:
            self._supersede(None)
            for rider in riders:
                outcome = (
                    says.rejected(problems, ())
                    if problems
                    else says.live(self._board.history.version, self._board.active_count(), held)
                )
                self._answers.close(rider, outcome)
        elif kind is Kind.PUSH and digest in self._board.history.quarantined:
            self._board.standing = self._board.standing.quarantined(now)
            for rider in riders:
                self._board.answer(rider.ticket, says.refused_content(self._board.history.quarantined[digest]))
        else:
            candidate = Rollout(kind, digest, settings, riders=riders, held=held, problems=problems)
            if running is None:
                self.go(candidate, now)
            else:
                self._supersede(candidate)

    def _supersede(self, candidate: Rollout | None) -> None:
        """Let the newest candidate wait; who waited for an older one waits for it, or for what runs."""
        waiting, self._board.waiting = self._board.waiting, candidate
        if waiting is None:
            return
        into = candidate or self._board.rollout
        if into is not None:
            into.riders += waiting.riders
        else:
            for rider in waiting.riders:
                self._answers.close(
                    rider,
                    says.live(self._board.history.version, self._board.active_count(), self._board.standing.held_keys),
                )

    def restart(self, candidate: Candidate, restart: RestartAsked, now: float) -> None:
        """Replace every process, on the content that the directory holds."""
        settings = candidate.settings
        binds = (settings.daemon.bind, settings.daemon.port) != (
            self._board.settings.daemon.bind,
            self._board.settings.daemon.port,
        )
        names = tuple(slot_names(settings))
        rollout = Rollout(
            Kind.RESTART,
            candidate.digest,
            settings,
            slots=names,
            binds=binds,
            reason=restart.reason,
            requester=restart.requester,
            riders=(restart,),
        )
        if self._board.rollout is None:
            self.go(rollout, now)
        else:
            self._supersede(rollout)

    def go(self, rollout: Rollout, now: float) -> None:
        """Give a rollout its number and have it recorded."""
        rider = rollout.riders[0] if rollout.riders else None
        if rider is not None:
            rollout.reason, rollout.requester = rollout.reason or rider.reason, rollout.requester or rider.requester
        rollout.began = now
        self._serial += 1
        rollout.serial = self._serial
        self._board.rollout = rollout
        committed = self._board.history.committed
        if rollout.kind is Kind.RESTART and committed is not None and committed.digest == rollout.digest:
            rollout.version, rollout.recorded, rollout.phase = committed.version, False, Phase.BINDING
            self._bind(rollout)
        else:
            rollout.version = self._board.history.number()
            reason = rollout.reason or "watch"
            self._board.emit(Record(rollout.version, rollout.digest, rollout.rollback_of, reason, rollout.requester))
        self._board.announce(says.started(rollout))

    def _bind(self, rollout: Rollout) -> None:
        """Have new listening sockets bound, or go on where the old ones stay."""
        if rollout.binds:
            self._board.emit(Bind(rollout.digest))
        else:
            rollout.step(Step.BOUND)

    def note(self, event: Recorded | CommitRecorded | RecordFailed | Bound | BindFailed) -> None:
        """Take one event about the running rollout's records and sockets; a late one is recognised by its version."""
        rollout = self._board.rollout
        match event:
            case Recorded() if rollout is not None and rollout.version == event.version:
                rollout.step(Step.RECORDED)
                self._bind(rollout)
            case CommitRecorded() if rollout is not None and rollout.version == event.version:
                rollout.step(Step.COMMIT_RECORDED)
            case RecordFailed():
                self._board.announce(says.journal_failed(event.version, event.reason))
                if rollout is not None and rollout.version == event.version:
                    rollout.fail(f"the journal could not be written: {event.reason}", blamed=False)
            case Bound() if rollout is not None:
                rollout.step(Step.BOUND)
            case BindFailed() if rollout is not None and rollout.phase is Phase.BINDING:
                rollout.fail(event.reason, blamed=False)
            case _:
                pass

    def drive(self, now: float) -> None:
        """Move the running rollout as far as the facts allow; its end may begin the next one."""
        while (rollout := self._board.rollout) is not None:
            self._board.emit(*rollout.drive(self._board.roster, now, self._board.settings, self._board.history.version or 0))
            self._advance(rollout, now)
            if self._board.rollout is rollout:
                break

    def _advance(self, rollout: Rollout, now: float) -> None:
        if rollout.phase is Phase.COMMITTING and not rollout.recorded:
            rollout.step(Step.COMMIT_RECORDED)
        if rollout.phase is Phase.COMMITTING and not rollout.committing:
            rollout.committing = True
            self._board.emit(Commit(rollout.version))
        elif rollout.phase is Phase.COMMITTED:
            self._committed(rollout, now)
        elif rollout.ended:
            self._failed(rollout, now)

    def _committed(self, rollout: Rollout, now: float) -> None:
        before = self._board.history.digest
        self._board.history.commit(rollout.version, rollout.digest)
        self._board.settings = rollout.settings
        self._board.rollout = None
        if rollout.kind in (Kind.RESTART, Kind.BOOT):
            names = slot_names(rollout.settings)
            self._board.roster.resize(names)
            leaving = [one for one in self._board.roster.live() if one.slot not in names]
            self._board.emit(*drain(self._board.roster, leaving, now, self._board.settings))
            self._board.standing = self._board.standing.restarted()
        if rollout.binds:
            self._board.emit(CloseListeners(adopted=True))
        if before != rollout.digest:
            self._board.emit(Adopt(rollout.digest))
        if rollout.recorded:
            self._board.emit(Archive(rollout.version))
        self._keep()
        count = self._board.active_count()
        self._board.announce(says.committed(rollout, count, now))
        for rider in rollout.riders:
            self._answers.close(rider, says.outcome(rollout, count))
        self._next(now)

    def _failed(self, rollout: Rollout, now: float) -> None:
        """Go back: forget what is staged, and bring what moved to the committed content under a new number."""
        self._board.rollout = None
        if rollout.recorded:
            self._board.emit(Burn(rollout.version, rollout.failure))
        if rollout.blamed and rollout.recorded and rollout.kind is not Kind.ROLLBACK:
            self._board.history.quarantine(rollout.digest, rollout.failure)
            self._board.emit(Quarantine(rollout.digest, rollout.failure))
        if rollout.binds:
            self._board.emit(CloseListeners(adopted=False))
        problem = Problem(".", 0, "", "value", f"version {rollout.version} failed: {rollout.failure}")
        self._board.standing = self._board.standing.rejected(now, (problem,))
        self._board.announce(says.failed(rollout))
        if self._board.history.digest is None:
            self._board.emit(Exit(1, f"no worker could be started: {rollout.failure}"))
            self._board.kill(self._board.roster.live())
            return
        self._leave(rollout)
        live = self._board.roster.live()
        moved = [one for one in live if one.purpose == rollout.serial or one.active == rollout.version]
        if rollout.phase is Phase.ROLLED_BACK and moved and rollout.recorded:
            self._go_back(rollout, moved, now)
        else:
            for rider in rollout.riders:
                self._board.answer(rider.ticket, says.failure(rollout))
            self._next(now)

    def _leave(self, rollout: Rollout) -> None:
        """Have a failed version forgotten where it is only staged, and end who has nothing else to serve."""
        board = self._board
        mine = [one for one in board.roster.live() if one.purpose == rollout.serial or one.told == rollout.version]
        starting = [one for one in mine if one.life is Life.STARTING]
        board.kill([one for one in starting if one.active is None or one.purpose == rollout.serial])
        for process in mine:
            if process.active not in (None, rollout.version):
                board.emit(Send(process.slot, process.incarnation, Discard(process.push, rollout.version)))
                board.roster.put(replace(process, staged=None, told=process.active, deadline=float("inf")))

    def _go_back(self, failed: Rollout, moved: list[Process], now: float) -> None:
        """Roll back: in place where a process was moved in place, by replacement where it was replaced."""
        fresh = [one for one in moved if one.purpose == failed.serial]
        back = Rollout(
            Kind.ROLLBACK,
            self._board.history.digest or failed.digest,
            self._board.settings,
            slots=tuple(one.slot for one in fresh if one.slot in self._board.roster.slots),
            reason=f"version {failed.version} failed: {failed.failure}",
            rollback_of=failed.version,
            riders=failed.riders,
        )
        self.go(back, now)

    def _next(self, now: float) -> None:
        waiting, self._board.waiting = self._board.waiting, None
        if waiting is None:
            return
        if waiting.kind is Kind.RESTART:
            self.go(waiting, now)
        else:
            self.offer(waiting.kind, waiting.digest, waiting.settings, waiting.riders, now, problems=waiting.problems)

    def _keep(self) -> None:
        versions = (self._board.history.committed, self._board.history.previous)
        digests = {one.digest for one in versions if one is not None}
        digests |= {one.digest for one in (self._board.rollout, self._board.waiting) if one is not None}
        digests |= {digest for process in self._board.roster.processes.values() for digest in process.holds}
        self._board.emit(Keep(tuple(sorted(digests))))
