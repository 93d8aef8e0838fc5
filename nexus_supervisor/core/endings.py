"""Endings: what follows when a journey is over.

Decided here: what is noted of a version that is live everywhere or has failed, what processes forget, and what goes
back. Not decided here: when a journey is over (``rollout.py``) and what begins next (``journeys.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nexus_supervisor.core import says
from nexus_supervisor.core.effects import Adopt, Archive, Burn, End, Exit, Prepare, Send, Settle
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.messages import Discard
from nexus_supervisor.core.phrases import listed
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind, Phase, Rollout
from nexus_supervisor.core.standing import Drift

if TYPE_CHECKING:
    from nexus_supervisor.core.answers import Answers
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.content import Digest
    from nexus_supervisor.core.events import Candidate
    from nexus_supervisor.core.looking import Looking
    from nexus_supervisor.core.roster import Process, Roster
    from nexus_supervisor.core.trying import Trying

__all__ = ["Endings", "boot"]


def boot(candidate: Candidate, roster: Roster) -> Rollout:
    """Return the rollout by which a start begins: one process boots the content, all others follow the commit."""
    first, gone = next(iter(roster.slots)), candidate.gone
    reason = f"start, less what is gone from the files: {listed(gone)}" if gone else "start"
    return Rollout(
        Kind.BOOT, candidate.digest, candidate.settings, candidate.base, slots=(first,), reason=reason, gone=gone
    )


class Endings:
    """Take a journey that is over off the board."""

    def __init__(self, board: Board, answers: Answers, looking: Looking, trying: Trying) -> None:
        self._board, self._answers, self._looking, self._trying = board, answers, looking, trying

    # --- it is live ----------------------------------------------------------------------------------------------

    def committed(self, rollout: Rollout, now: float) -> None:
        """Note a version that is live everywhere, and answer who waited for it."""
        board, before = self._board, self._board.history.digest
        board.history.commit(rollout.version, rollout.digest)
        board.roster.try_again()
        board.settings, board.rollout, board.untidy = rollout.settings, None, True
        board.doubt = rollout.failure if rollout.recorded else board.doubt
        self._note_probation(rollout, now, is_other=before is not None and before != rollout.digest)
        if rollout.kind in (Kind.RESTART, Kind.BOOT):
            board.resize(now)
            board.standing = board.standing.restarted()
            self._looking.touched(None, now, board.settings, urgent=False)
        if rollout.kind is Kind.RESTART:
            self._trying.renew()
            board.emit(Settle(adopted=True))
        if before != rollout.digest:
            board.emit(Adopt(rollout.digest))
        if rollout.recorded:
            board.emit(self._end(rollout, "committed", rollout.reason), Archive(rollout.version))
        if rollout.kind is Kind.REVOCATION:
            self._condemn_rest(before, rollout.digest)
        if rollout.kind is Kind.RETURN:
            if not rollout.automatic:
                self._pin(board.wanted, now)
            self._quarantine_condemned(now)
        board.announce(says.committed(rollout, board.active_count(), now))
        for rider in rollout.riders:
            self._answers.close(rider, says.outcome(rollout, self._answers.live()))

    def _note_probation(self, rollout: Rollout, now: float, *, is_other: bool) -> None:
        if rollout.kind in (Kind.BOOT, Kind.PUSH, Kind.RESTART) and is_other:
            self._board.probation.begin(rollout.version, now)
        elif is_other:
            self._board.probation.end()

    def _pin(self, left: Digest | None, now: float) -> None:
        """Leave what the directory held when it was gone back from; what it holds since then may go."""
        board = self._board
        if left is not None and left != board.history.pinned:
            board.pin(left)
        board.standing = replace(board.standing, drift=Drift(now, "pinned"))

    def _quarantine_condemned(self, now: float) -> None:
        """Offer the content no more that was gone back from because workers died on it."""
        if self._board.condemned is not None:
            (digest, verdict), self._board.condemned = self._board.condemned, None
            self._board.quarantine(digest, verdict)
            problem = Problem(".", 0, "", "value", verdict)
            self._board.standing = self._board.standing.failed(now, problem, "rolled_back", "quarantined")

    def _condemn_rest(self, before: Digest | None, rest: Digest) -> None:
        """Condemn what is left of condemned content, too: less of it is no better."""
        if self._board.condemned is not None and self._board.condemned[0] == before:
            digest, verdict = self._board.condemned
            self._board.quarantine(digest, verdict)
            self._board.condemned = rest, verdict

    @staticmethod
    def _end(rollout: Rollout, outcome: str, reason: str) -> End:
        return End(rollout.version, outcome, reason, rollout.requester, dict(rollout.numbers))

    # --- it has failed -------------------------------------------------------------------------------------------

    def failed(self, rollout: Rollout, now: float) -> Rollout | None:
        """Note a version that failed; return the rollout that brings back who has moved, None where nobody has to.

        Who waited for it is answered, or waits for what brings it back.
        """
        board = self._board
        board.rollout, board.untidy = None, True
        if rollout.recorded:
            self._record(rollout)
        if rollout.kind is Kind.RESTART:
            board.emit(Settle(adopted=False))
        board.announce(says.failed(rollout))
        self._trying.forget(rollout.version)
        if board.history.digest is None:
            self._give_up(rollout)
            return None
        if rollout.kind is not Kind.ROLLBACK:
            self._blame(rollout, now)
        moved = self._leave(rollout)
        rest = self._fall_back(now) if rollout.kind is Kind.BOOT else None
        board.resize(now)
        if rest is not None:
            return boot(rest, board.roster)
        if moved and rollout.kind is not Kind.ROLLBACK:
            return self._back(rollout, moved)
        if rollout.kind is Kind.ROLLBACK:
            board.drain(moved, now)
        for rider in rollout.riders:
            board.answer(rider.ticket, says.failure(rollout))
        return None

    def superseded(self, rollout: Rollout, by: str) -> None:
        """Leave a version for something more urgent: what moved to it moves on from there, and nothing is blamed."""
        board = self._board
        board.rollout, board.untidy = None, True
        board.emit(self._end(rollout, "superseded", by))
        board.announce(says.superseded(rollout, by))
        self._trying.forget(rollout.version)
        for process in board.roster.live():
            if rollout.concerns(process) and process.activating:
                board.roster.put(process.activated(rollout.version, rollout.digest))

    def _record(self, rollout: Rollout) -> None:
        outcome = "aborted" if rollout.aborted else rollout.phase.value
        if rollout.phase is Phase.REJECTED:
            self._board.emit(Burn(rollout.version, rollout.failure))
        self._board.emit(self._end(rollout, outcome, rollout.failure))

    def _fall_back(self, now: float) -> Candidate | None:
        """Go on with the settings of the committed version, its addresses and programs, where a start's content failed.

        Return what to start on instead, where that is not all of the committed content.
        """
        board = self._board
        rest, board.rest = board.rest, None
        if board.settings != board.fallback:
            board.settings = board.fallback
            board.emit(Prepare(board.base), Settle(adopted=True))
        self._looking.touched(None, now, board.settings, urgent=False)
        return rest if rest is not None and rest.digest != board.history.digest else None

    def _give_up(self, rollout: Rollout) -> None:
        """End: the first version of all failed, and there is nothing to go back to."""
        self._board.ending = Exit(1, f"no worker could be started: {rollout.failure}")
        self._board.kill(self._board.roster.live())
        for rider in rollout.riders:
            self._board.answer(rider.ticket, says.failure(rollout))

    def _blame(self, rollout: Rollout, now: float) -> None:
        """Note what failed and see to it that what was to be revoked with it is."""
        board, reason = self._board, says.verdict(rollout)
        if rollout.kind is Kind.RETURN:
            board.condemned = None
        drift = "rejected"
        if rollout.blamed and rollout.recorded:
            drift = "quarantined"
            board.quarantine(rollout.digest, reason)
        problem = Problem(".", 0, "", "value", reason)
        word = "rolled_back" if rollout.phase is Phase.ROLLED_BACK else "rejected"
        stays = (
            not rollout.recorded
            or rollout.kind in (Kind.REVOCATION, Kind.RETURN)
            or (rollout.kind is Kind.RESTART and board.standing.held_keys)
        )
        board.standing = board.standing.failed(now, problem, word, None if stays else drift)
        if rollout.aborted and rollout.kind is Kind.PUSH:
            self._pin(rollout.wanted or board.wanted, now)
        if rollout.kind is Kind.REVOCATION:
            self._answers.still_live(rollout.gone, (problem,))
        elif rollout.gone and (rollout.blamed or rollout.aborted):
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
                board.roster.put(process.activated(rollout.version, rollout.digest))
            elif process.active != rollout.version:
                board.emit(Send(process.slot, process.incarnation, Discard(process.push, rollout.version)))
                board.roster.put(process.discarded())
        return [one for one in board.roster.live() if self._has_moved(one, rollout)]

    def _has_moved(self, process: Process, rollout: Rollout) -> bool:
        """Say whether a process runs what failed: a version, or the code of a restart which keeps the version."""
        if process.active in (None, self._board.history.version):
            restarts = rollout.kind is Kind.RESTART and rollout.started(process)
            stays = rollout.kind is Kind.ROLLBACK and process.slot in rollout.slots and not rollout.started(process)
            return process.active is not None and (restarts or stays)
        return True

    def _back(self, failed: Rollout, moved: list[Process]) -> Rollout:
        """Return the rollout back: in place where a process was moved so, by replacement where it was replaced."""
        board = self._board
        fresh = [one for one in moved if one.purpose == failed.serial]
        return Rollout(
            Kind.ROLLBACK,
            board.base,
            board.settings,
            slots=tuple(one.slot for one in fresh if one.slot in board.roster.slots),
            canaries=tuple(one.slot for one in moved),
            recorded=failed.recorded,
            reason=says.verdict(failed),
            rollback_of=board.history.version,
            riders=failed.riders,
            numbers=failed.numbers,
            aborted=failed.aborted,
        )
