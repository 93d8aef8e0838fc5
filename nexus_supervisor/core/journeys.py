"""From content to version: which rollout begins, which one waits, and what its end leads to.

Decided here: one rollout at a time, the newest candidate waits, numbers are given and burnt, what failed is left and
gone back from. Not decided here: the steps of a rollout (``rollout.py``) and which content is offered
(``directory.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nexus_supervisor.core import says
from nexus_supervisor.core.board import Board, slot_names
from nexus_supervisor.core.content import Digest
from nexus_supervisor.core.effects import (
    Adopt,
    Archive,
    Bind,
    Burn,
    CloseListeners,
    Commit,
    End,
    Exit,
    Keep,
    Outcome,
    Quarantine,
    Record,
    Send,
)
from nexus_supervisor.core.events import (
    BindFailed,
    Bound,
    CommitRecorded,
    PushAsked,
    Recorded,
    RecordFailed,
    RestartAsked,
)
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.messages import Discard
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind, Phase, Rollout, Step, drain
from nexus_supervisor.core.roster import NEVER, Process

if TYPE_CHECKING:
    from nexus_supervisor.core.answers import Answers
    from nexus_supervisor.core.looking import Looking, Rider

__all__ = ["Journeys"]

RECORD_RETRY_SECONDS = 30.0
"""How long content that the journal could not take waits, unless somebody asks or something is revoked."""


@dataclass(frozen=True, slots=True)
class _Unrecorded:
    """Hold the content that the journal could not take, and until when it is not offered again by itself."""

    digest: Digest | None = None
    until: float = 0.0

    def is_waiting(self, candidate: Rollout, now: float) -> bool:
        """Say whether a candidate is that content, and nobody asks for it."""
        urgent = candidate.riders or candidate.gone or candidate.kind is not Kind.PUSH
        return candidate.digest == self.digest and now < self.until and not urgent


class Journeys:
    """Give contents their numbers and bring them to an end."""

    def __init__(self, board: Board, answers: Answers, looking: Looking) -> None:
        self._board = board
        self._answers = answers
        self._looking = looking
        self._serial = 0
        self._unrecorded = _Unrecorded()

    def offer(self, candidate: Rollout, now: float) -> None:
        """Start a rollout of a content, let it wait for the running one, or answer at once where nothing is to do."""
        board, running = self._board, self._board.rollout
        restart = candidate.kind is Kind.RESTART
        if candidate.digest in board.history.quarantined:
            self._refuse_again(candidate, now)
        elif self._unrecorded.is_waiting(candidate, now):
            pass
        elif running is None and (restart or candidate.digest != board.history.digest):
            self.go(candidate, now)
        elif running is None:
            self._answers.retry()
            outcome = says.rejected(candidate.problems, ()) if candidate.problems else self._live()
            for rider in candidate.riders:
                self._answers.close(rider, outcome)
        elif _same(running, candidate):
            running.ride(candidate.riders + self._displaced(now))
            running.problems = candidate.problems
        else:
            candidate.ride(self._displaced(now, by=candidate))
            board.waiting = candidate

    def refuse(self, riders: tuple[Rider, ...], outcome: Outcome, now: float) -> None:
        """Answer that what the directory holds can't go; what it held before doesn't go any more."""
        for rider in (*riders, *self._displaced(now)):
            self._board.answer(rider.ticket, outcome)

    def still_live(self, gone: tuple[str, ...], remains: tuple[Problem, ...]) -> None:
        """Tell once that entries which no file has any more can't be revoked."""
        if gone and gone != self._board.standing.still_live:
            self._board.announce(says.still_live(gone, remains))
        self._board.standing = replace(self._board.standing, still_live=gone)

    def end(self, outcome: Outcome) -> None:
        """Answer everybody who still waits, and forget what is under way."""
        board = self._board
        for rider in (*self._looking.pending(), *board.riders(), *self._answers.riders()):
            board.answer(rider.ticket, outcome)
        self._looking.forget()
        self._answers.clear()
        board.rollout = board.waiting = None

    def _refuse_again(self, candidate: Rollout, now: float) -> None:
        """Answer that a content failed before; what is gone from it is revoked without the rest, or can't be."""
        reason = self._board.history.quarantined[candidate.digest]
        if candidate.kind is Kind.REVOCATION:
            self.still_live(candidate.gone, (says.quarantined(reason),))
        elif candidate.gone:
            self._looking.bare(now)
        if candidate.kind is Kind.RESTART:
            self._looking.ride_again([one for one in candidate.riders if isinstance(one, PushAsked)], now)
            candidate.riders = tuple(one for one in candidate.riders if isinstance(one, RestartAsked))
        problems = candidate.problems
        refusal = says.rejected(problems, candidate.gone) if problems else says.refused_content(reason)
        self.refuse(candidate.riders, refusal, now)

    def _displaced(self, now: float, *, by: Rollout | None = None) -> tuple[Rider, ...]:
        """Return who waited for the candidate that is no longer the newest; a restart is judged anew, not forgotten."""
        waiting, self._board.waiting = self._board.waiting, None
        if waiting is None:
            return ()
        if waiting.kind is Kind.RESTART and (by is None or by.kind is not Kind.RESTART):
            self._looking.ride_again(waiting.riders, now)
            return ()
        return waiting.riders

    def _live(self) -> Outcome:
        board = self._board
        return says.live(board.history.version, board.active_count(), board.standing.held_keys, board.doubt)

    def go(self, rollout: Rollout, now: float) -> None:
        """Give a rollout its number and have it recorded."""
        board, committed = self._board, self._board.history.committed
        rollout.ride(())
        if rollout.kind is Kind.RESTART:
            here, there = board.settings.daemon, rollout.settings.daemon
            rollout.slots = tuple(slot_names(rollout.settings))
            rollout.binds = (here.bind, here.port) != (there.bind, there.port)
        self._serial += 1
        rollout.serial, rollout.began = self._serial, now
        board.rollout = rollout
        if rollout.kind is Kind.RESTART and committed is not None and committed.digest == rollout.digest:
            rollout.version, rollout.recorded, rollout.phase = committed.version, False, Phase.BINDING
            self._bind(rollout)
        else:
            rollout.version = board.history.number()
            reason = rollout.reason or "watch"
            revokes = bool(rollout.gone) or rollout.kind in (Kind.REVOCATION, Kind.ROLLBACK)
            board.emit(Record(rollout.version, rollout.digest, rollout.rollback_of, reason, rollout.requester, revokes))
        board.announce(says.started(rollout))

    def _bind(self, rollout: Rollout) -> None:
        """Have new listening sockets bound, or go on where the old ones stay."""
        if rollout.binds:
            self._board.emit(Bind(rollout.digest))
        else:
            rollout.step(Step.BOUND)

    def note(self, event: Recorded | CommitRecorded | RecordFailed | Bound | BindFailed) -> None:
        """Take one event about the running rollout's records and sockets; a late one is recognized by its version."""
        rollout = self._board.rollout
        if isinstance(event, RecordFailed):
            self._board.announce(says.journal_failed(event.version, event.reason))
        if isinstance(event, BindFailed) and (rollout is None or rollout.phase is not Phase.BINDING):
            self._board.ending = Exit(1, event.reason)
        if rollout is None or (not isinstance(event, Bound | BindFailed) and event.version != rollout.version):
            return
        match event:
            case Recorded() if rollout.phase is Phase.RECORDING:
                rollout.step(Step.RECORDED)
                self._bind(rollout)
            case CommitRecorded() if rollout.committing:
                rollout.step(Step.COMMIT_RECORDED)
            case RecordFailed() if rollout.phase is Phase.RECORDING:
                self._unrecorded = _Unrecorded(rollout.digest, rollout.began + RECORD_RETRY_SECONDS)
                rollout.fail(f"the journal could not be written: {event.reason}", blamed=False)
            case RecordFailed():
                rollout.commit_failed(f"the journal could not be written: {event.reason}")
            case Bound():
                rollout.step(Step.BOUND)
            case BindFailed() if rollout.phase is Phase.BINDING:
                rollout.fail(event.reason, blamed=False)
            case _:
                pass

    def drive(self, now: float) -> None:
        """Move the running rollout as far as the facts allow; its end may begin the next one."""
        board = self._board
        while (rollout := board.rollout) is not None:
            board.emit(*rollout.drive(board.roster, now, board.settings, board.history.version or 0))
            self._advance(rollout, now)
            if board.rollout is rollout:
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
        board, before = self._board, self._board.history.digest
        board.history.commit(rollout.version, rollout.digest)
        board.settings, board.rollout, board.untidy = rollout.settings, None, True
        board.doubt = rollout.failure if rollout.recorded else board.doubt
        if rollout.kind in (Kind.RESTART, Kind.BOOT):
            self._fit(now)
            board.standing = board.standing.restarted()
            self._looking.touched(None, now, board.settings, urgent=False)
        if rollout.binds:
            board.emit(CloseListeners(adopted=True))
        if before != rollout.digest:
            board.emit(Adopt(rollout.digest))
        if rollout.recorded:
            ended = End(rollout.version, "committed", rollout.reason, rollout.requester)
            board.emit(*([ended] if rollout.requester else []), Archive(rollout.version))
        count = board.active_count()
        board.announce(says.committed(rollout, count, now))
        for rider in rollout.riders:
            self._answers.close(rider, says.outcome(rollout, self._live()))
        self._next(now)

    def _fit(self, now: float) -> None:
        """Have exactly the slots that the settings in force ask for; who has none any more is drained."""
        board = self._board
        board.roster.resize(slot_names(board.settings))
        leaving = [one for one in board.roster.live() if one.slot not in board.roster.slots]
        board.emit(*drain(board.roster, leaving, now, board.settings))

    def _failed(self, rollout: Rollout, now: float) -> None:
        """Go back: forget what is staged, and bring what moved to the committed content under a new number."""
        board = self._board
        board.rollout, board.untidy = None, True
        if rollout.recorded and rollout.phase is Phase.ROLLED_BACK:
            board.emit(End(rollout.version, "rolled_back", rollout.failure, rollout.requester))
        elif rollout.recorded:
            board.emit(Burn(rollout.version, rollout.failure))
        if rollout.binds:
            board.emit(CloseListeners(adopted=False))
        board.announce(says.failed(rollout))
        if board.history.digest is None:
            self._give_up(rollout)
            return
        if rollout.kind is not Kind.ROLLBACK:
            self._blame(rollout, now)
        moved = self._leave(rollout)
        if rollout.kind is Kind.BOOT:
            self._fall_back()
        self._fit(now)
        if moved and rollout.recorded and rollout.kind is not Kind.ROLLBACK:
            self._go_back(rollout, moved, now)
            return
        if rollout.kind is Kind.ROLLBACK:
            board.emit(*drain(board.roster, moved, now, board.settings))
        for rider in rollout.riders:
            board.answer(rider.ticket, says.failure(rollout))
        self._next(now)

    def _fall_back(self) -> None:
        """Go on with the settings of the committed version, and on its address, where a start's own content failed."""
        board = self._board
        here, there = board.settings.daemon, board.fallback.daemon
        board.settings = board.fallback
        if (here.bind, here.port) != (there.bind, there.port):
            board.emit(Bind(board.base), CloseListeners(adopted=True))

    def _give_up(self, rollout: Rollout) -> None:
        """End: the first version of all failed, and there is nothing to go back to."""
        self._board.ending = Exit(1, f"no worker could be started: {rollout.failure}")
        self._board.kill(self._board.roster.live())
        for rider in rollout.riders:
            self._board.answer(rider.ticket, says.failure(rollout))
        self.end(says.stopping())

    def _blame(self, rollout: Rollout, now: float) -> None:
        """Note what failed and see to it that what was to be revoked with it is."""
        board, reason = self._board, says.verdict(rollout)
        drift = "rejected"
        if rollout.blamed and rollout.recorded:
            drift = "quarantined"
            board.history.quarantine(rollout.digest, reason)
            board.emit(Quarantine(rollout.digest, reason))
        problem = Problem(".", 0, "", "value", reason)
        word = "rolled_back" if rollout.phase is Phase.ROLLED_BACK else "rejected"
        stays = (
            not rollout.recorded
            or rollout.kind is Kind.REVOCATION
            or (rollout.kind is Kind.RESTART and board.standing.held_keys)
        )
        board.standing = board.standing.failed(now, problem, word, None if stays else drift)
        if rollout.kind is Kind.REVOCATION:
            self.still_live(rollout.gone, (problem,))
        elif rollout.gone and rollout.blamed:
            self._looking.touched(None, now, board.settings, urgent=True)

    def _leave(self, rollout: Rollout) -> list[Process]:
        """Have a failed version forgotten where it is only staged, end who has nothing else, return who moved to it.

        A process that was told to activate has moved, whether or not its answer has come.
        """
        board = self._board
        mine = [one for one in board.roster.live() if rollout.concerns(one)]
        useless = [one for one in mine if one.active is None or (rollout.started(one) and one.life is Life.STARTING)]
        board.kill(useless)
        for process in (one for one in mine if one not in useless):
            if process.activating:
                known = replace(process, digest=rollout.digest, previous=process.digest)
                board.roster.put(replace(known, active=rollout.version, activating=False))
            elif process.active != rollout.version:
                board.emit(Send(process.slot, process.incarnation, Discard(process.push, rollout.version)))
                board.roster.put(replace(process, staged=None, told=process.active, deadline=NEVER))
        return [one for one in board.roster.live() if one.active not in (None, board.history.version)]

    def _go_back(self, failed: Rollout, moved: list[Process], now: float) -> None:
        """Roll back: in place where a process was moved in place, by replacement where it was replaced."""
        board = self._board
        fresh = [one for one in moved if one.purpose == failed.serial]
        back = Rollout(
            Kind.ROLLBACK,
            board.base,
            board.settings,
            slots=tuple(one.slot for one in fresh if one.slot in board.roster.slots),
            reason=says.verdict(failed),
            rollback_of=board.history.version,
            riders=failed.riders,
        )
        self.go(back, now)

    def _next(self, now: float) -> None:
        """Go on with the candidate that waits; one that was judged against other content is judged anew."""
        waiting, self._board.waiting = self._board.waiting, None
        if waiting is None:
            return
        if waiting.kind is Kind.RESTART or waiting.base == self._board.base:
            self.offer(waiting, now)
        else:
            self._looking.ride_again(waiting.riders, now)

    def keep(self) -> None:
        """Have every content forgotten that nobody needs."""
        board = self._board
        versions = (board.history.committed, board.history.previous, board.rollout, board.waiting)
        digests = {one.digest for one in versions if one is not None}
        digests |= {digest for process in board.roster.processes.values() for digest in process.holds}
        board.emit(Keep(tuple(sorted(digests))))
        board.untidy = False


def _same(running: Rollout, candidate: Rollout) -> bool:
    """Say whether the running rollout brings what a candidate is about, so that its end answers for both."""
    if running.digest != candidate.digest or running.kind is Kind.ROLLBACK or candidate.kind is Kind.RESTART:
        return False
    return bool(running.problems) or not candidate.problems
