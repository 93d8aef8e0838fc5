"""From content to version: which rollout begins, which one waits, and which one has to give way.

Decided here: one rollout at a time, the newest candidate waits, a revocation goes first, numbers are given. Not decided
here: the steps of a rollout (``rollout.py``, ``moving.py``), what its end leads to (``endings.py``) and which content
is offered (``directory.py``, ``steering.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_supervisor.core import directory_says, says, steering_says
from nexus_supervisor.core.content import Digest
from nexus_supervisor.core.effects import Commit, Exit, Keep, Outcome, Record, Release
from nexus_supervisor.core.events import (
    CommitRecorded,
    GateEnded,
    Prepared,
    PrepareFailed,
    PushAsked,
    Recorded,
    RecordFailed,
    RestartAsked,
    RollbackAsked,
)
from nexus_supervisor.core.rollout import Kind, Phase, Rollout, Step

if TYPE_CHECKING:
    from nexus_supervisor.core.answers import Answers
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.endings import Endings
    from nexus_supervisor.core.looking import Looking
    from nexus_supervisor.core.moving import Moving
    from nexus_supervisor.core.requests import Rider
    from nexus_supervisor.core.trying import Trying

__all__ = ["Journeys"]

NO_SERIAL = 0
"""What is prepared outside of a rollout has this serial."""

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

    def __init__(
        self, board: Board, answers: Answers, looking: Looking, trying: Trying, moving: Moving, endings: Endings
    ) -> None:
        self._board, self._answers, self._looking = board, answers, looking
        self._trying, self._moving, self._endings = trying, moving, endings
        self._serial = 0
        self._unrecorded = _Unrecorded()
        self._told: tuple[object, ...] = ()

    # --- what is offered -----------------------------------------------------------------------------------------

    def offer(self, candidate: Rollout, now: float) -> None:
        """Start a rollout of a content, let it wait for the running one, or answer at once where nothing is to do."""
        board, running = self._board, self._board.rollout
        restart = candidate.kind is Kind.RESTART
        if candidate.digest in board.history.quarantined and not self._released(candidate):
            self._refuse_again(candidate, now)
        elif self._unrecorded.is_waiting(candidate, now):
            pass
        elif running is None and (restart or candidate.digest != board.history.digest):
            self.go(candidate, now)
        elif running is None:
            board.paused = False
            self._answers.retry()
            outcome = directory_says.rejected(candidate.problems, ()) if candidate.problems else self._answers.live()
            for rider in candidate.riders:
                self._answers.close(rider, outcome)
        elif _same(running, candidate):
            running.ride(candidate.riders + self._displaced(now))
            running.problems = candidate.problems
            running.wanted = candidate.wanted or running.wanted
        else:
            candidate.ride(self._displaced(now, by=candidate))
            board.waiting = candidate

    def revoke(self, candidate: Rollout, now: float) -> None:
        """Take entries away at once: whatever is pushed gives way, and starts again on top.

        What brings the same already goes on without a bake and without a pause.
        """
        board, running = self._board, self._board.rollout
        if running is None or not running.yields or candidate.digest in board.history.quarantined:
            self._revoke_next(candidate, now)
            return
        if _same(running, candidate):
            running.ride(candidate.riders)
            running.gone = running.gone or candidate.gone
            running.promoted, running.paused_since = True, None
            return
        self.go_before(candidate, f"gone from the files: {', '.join(candidate.gone[:8])}", now)

    @property
    def may_give_way(self) -> bool:
        """Say whether nothing is on its way, or something that gives way to a revocation."""
        running = self._board.rollout
        return running is None or running.yields or running.is_dwelling

    def go_before(self, urgent: Rollout, why: str, now: float) -> None:
        """Start a rollout before whatever is pushed, which gives way; ``why`` says to what."""
        running, waiting = self._board.rollout, self._displaced(now)
        if running is not None:
            self._board.paused = urgent.kind is Kind.REVOCATION and running.paused_since is not None
            self._endings.superseded(running, why)
        if running is not None or waiting:
            self.again((*(running.riders if running is not None else ()), *waiting), now)
        self.go(urgent, now)

    def _revoke_next(self, candidate: Rollout, now: float) -> None:
        """Offer a revocation where nothing gives way to it; what waited is judged again after it.

        A restart of which one process at most has moved in each program, or that is paused, is gone back from, and
        asked for again: a key must not stay in use for as long as somebody looks at new code.
        """
        running, waiting = self._board.rollout, self._board.waiting
        if running is not None and running.is_dwelling:
            riders, running.riders = running.riders, ()
            running.fail("it gives way to a revocation, and begins again after it", blamed=False, aborted=True)
            self.again(riders, now)
        if waiting is not None and waiting.digest != candidate.digest:
            self.again(self._displaced(now), now)
        self.offer(candidate, now)

    def again(self, riders: tuple[Rider, ...], now: float) -> None:
        """Have the directory, or an older version, judged again for these requests."""
        self._looking.ride_again([one for one in riders if not isinstance(one, RollbackAsked)], now)
        self._board.recalls.extend(one for one in riders if isinstance(one, RollbackAsked))

    def refuse(self, riders: tuple[Rider, ...], outcome: Outcome, now: float) -> None:
        """Answer that what the directory holds can't go; what it held before doesn't go any more."""
        for rider in (*riders, *self._displaced(now)):
            self._board.answer(rider.ticket, outcome)

    def end(self, outcome: Outcome) -> None:
        """Answer everybody who still waits, and forget what is under way."""
        board = self._board
        for rider in (*self._looking.pending(), *board.riders(), *board.recalls, *self._answers.riders()):
            board.answer(rider.ticket, outcome)
        self._looking.forget()
        self._answers.clear()
        board.recalls.clear()
        board.rollout = board.waiting = None

    def _released(self, candidate: Rollout) -> bool:
        """Say whether somebody has this content tried although it failed before; that is noted."""
        asked = [one for one in candidate.riders if isinstance(one, PushAsked | RestartAsked) and one.force]
        if asked:
            self._board.history.release(candidate.digest)
            self._board.emit(Release(candidate.digest, asked[0].reason, asked[0].requester))
        return bool(asked)

    def _refuse_again(self, candidate: Rollout, now: float) -> None:
        """Answer that a content failed before, and for a revocation that it can't be made."""
        reason = self._board.history.quarantined[candidate.digest]
        if candidate.kind is Kind.REVOCATION:
            self._answers.still_live(candidate.gone, (directory_says.quarantined(reason),))
        if candidate.kind is Kind.RESTART:
            self._looking.ride_again([one for one in candidate.riders if isinstance(one, PushAsked)], now)
            candidate.riders = tuple(one for one in candidate.riders if isinstance(one, RestartAsked))
        problems = candidate.problems
        command = "restart" if candidate.kind is Kind.RESTART else "push"
        refusal = (
            directory_says.rejected(problems, candidate.gone)
            if problems
            else directory_says.refused_content(reason, command)
        )
        self.refuse(candidate.riders, refusal, now)

    def _displaced(self, now: float, *, by: Rollout | None = None) -> tuple[Rider, ...]:
        """Return who waited for the candidate that is no longer the newest; a restart is judged anew, not forgotten."""
        waiting, self._board.waiting = self._board.waiting, None
        if waiting is None:
            return ()
        if waiting.kind is Kind.RETURN or (
            waiting.kind is Kind.RESTART and (by is None or by.kind is not Kind.RESTART)
        ):
            self.again(waiting.riders, now)
            return ()
        return waiting.riders

    # --- what is under way ---------------------------------------------------------------------------------------

    def go(self, rollout: Rollout, now: float) -> None:
        """Give a rollout its number and have it recorded."""
        board, committed = self._board, self._board.history.committed
        rollout.ride(())
        if rollout.kind is Kind.RESTART:
            rollout.slots, board.paused = board.slots(rollout.settings), False  # it brings what was paused, too
            rollout.recorded = committed is None or committed.digest != rollout.digest
        self._serial += 1
        rollout.serial, rollout.began = self._serial, now
        if board.paused and rollout.yields and not rollout.automatic:
            rollout.paused_since, board.paused = now, False
        board.rollout = rollout
        if committed is not None and not rollout.recorded:
            rollout.version, rollout.phase = committed.version, Phase.PREPARING
        else:
            rollout.version = board.history.number()
            board.emit(_record(rollout))
        board.announce(says.started(rollout))
        if rollout.paused_since is not None:
            board.announce(steering_says.still_paused(rollout))

    def note(  # noqa: C901 - one line for each event and where it counts
        self, event: Recorded | CommitRecorded | RecordFailed | Prepared | PrepareFailed | GateEnded
    ) -> None:
        """Take one event about the running rollout; a late one is recognized by its version."""
        rollout = self._board.rollout
        if isinstance(event, RecordFailed):
            self._board.announce(says.journal_failed(event.version, event.reason))
        if isinstance(event, PrepareFailed) and event.serial == NO_SERIAL and self._board.ending is None:
            self._board.ending = Exit(1, event.reason)  # what a start falls back to
        if rollout is None or not _concerns(event, rollout):
            return
        match event:
            case Recorded() if rollout.phase is Phase.RECORDING:
                rollout.step(Step.RECORDED)
            case CommitRecorded() if rollout.committing:
                rollout.step(Step.COMMIT_RECORDED)
            case RecordFailed() if rollout.phase is Phase.RECORDING:
                self._unrecorded = _Unrecorded(rollout.digest, rollout.began + RECORD_RETRY_SECONDS)
                rollout.fail(f"the journal could not be written: {event.reason}", blamed=False)
            case RecordFailed():
                rollout.commit_failed(f"the journal could not be written: {event.reason}")
            case Prepared():
                rollout.step(Step.PREPARED)
            case PrepareFailed() if rollout.phase is Phase.PREPARING:
                rollout.refused = True
                rollout.fail(event.reason, blamed=False)
            case GateEnded() if rollout.bake is not None:
                rollout.bake.gate_ended("" if event.passed else event.reason or "it gave no reason")
            case _:
                pass

    def drive(self, now: float) -> None:
        """Move the running rollout as far as the facts allow; its end may begin the next one."""
        board = self._board
        while (rollout := board.rollout) is not None:
            if rollout.phase is Phase.WAVE:
                self._tell_progress(rollout)
            self._moving.drive(rollout, now)
            self._tell_progress(rollout)
            self._advance(rollout, now)
            if board.rollout is rollout:
                break

    def _tell_progress(self, rollout: Rollout) -> None:
        """Tell how far a rollout is, once for each phase and each group that has moved."""
        moved, total = self._board.moved(rollout)
        if rollout.phase is Phase.WAVE and any(one.activating for one in rollout.moving(self._board.roster)):
            return
        told = (rollout.serial, rollout.phase, moved if rollout.phase is Phase.WAVE else 0)
        if told != self._told:
            self._told = told
            if (notice := says.progress(rollout, moved, total)) is not None:
                self._board.announce(notice)

    def _advance(self, rollout: Rollout, now: float) -> None:
        if rollout.phase is Phase.COMMITTING and not rollout.recorded:
            rollout.step(Step.COMMIT_RECORDED)
        if rollout.phase is Phase.COMMITTING and not rollout.committing:
            rollout.committing = True
            self._board.emit(Commit(rollout.version))
        elif rollout.phase is Phase.COMMITTED:
            self._endings.committed(rollout, now)
            self._next(rollout, now)
        elif rollout.ended:
            self._failed(rollout, now)

    def _failed(self, rollout: Rollout, now: float) -> None:
        back = self._endings.failed(rollout, now)
        if back is not None:
            self.go(back, now)
        elif self._board.ending is not None:
            self.end(says.stopping())
        else:
            self._next(rollout, now)

    def _next(self, ended: Rollout, now: float) -> None:
        """Go on with the candidate that waits; one that was judged against other content is judged anew.

        So is one that would take what is to be revoked through a bake with it, unless that could not be revoked.
        """
        waiting, self._board.waiting = self._board.waiting, None
        if waiting is None:
            return
        bakes = waiting.kind in (Kind.PUSH, Kind.RESTART) and waiting.plan(self._board.settings).bake_seconds
        if bakes and waiting.gone and ended.kind is not Kind.REVOCATION:
            self.again(waiting.riders, now)
        elif waiting.kind is Kind.RESTART or waiting.base == self._board.base:
            self.offer(waiting, now)
        else:
            self.again(waiting.riders, now)

    def keep(self) -> None:
        """Have every content forgotten that nobody needs."""
        board = self._board
        versions = (board.history.committed, board.history.previous, board.rollout, board.waiting, board.rest)
        digests = {one.digest for one in versions if one is not None}
        digests |= {digest for process in board.roster.processes.values() for digest in process.holds}
        digests |= set(self._trying.holds)
        board.emit(Keep(tuple(sorted(digests))))
        board.untidy = False


def _concerns(
    event: Recorded | CommitRecorded | RecordFailed | Prepared | PrepareFailed | GateEnded, rollout: Rollout
) -> bool:
    if isinstance(event, Prepared | PrepareFailed):
        return event.serial == rollout.serial
    return event.version == rollout.version


def _record(rollout: Rollout) -> Record:
    revokes = bool(rollout.gone) or rollout.kind in (Kind.REVOCATION, Kind.ROLLBACK, Kind.RETURN)
    reason = rollout.reason or ("restart" if rollout.kind is Kind.RESTART else "watch")
    return Record(
        rollout.version,
        rollout.digest,
        rollout.rollback_of,
        reason,
        rollout.requester,
        revokes=revokes,
        kind=rollout.kind.value,
    )


def _same(running: Rollout, candidate: Rollout) -> bool:
    """Say whether the running rollout brings what a candidate is about, so that its end answers for both."""
    if running.digest != candidate.digest or running.kind is Kind.ROLLBACK or candidate.kind is Kind.RESTART:
        return False
    return bool(running.problems) or not candidate.problems
