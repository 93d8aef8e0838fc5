"""Moving: what each process is sent next, on the way to one version.

Decided here: who moves first, who follows and when, by comparing facts with what the phase needs. Not decided here: the
phases and when a version has failed (``rollout.py``), how many move at a time (``waves.py``), and the bake
(``watching.py``).

A process is moved in place (staged, then activated) or by replacement (a new process boots the version, then the old
one drains). ``drive`` sends what is missing, so it may be called at any time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nexus_supervisor.core import trial_says
from nexus_supervisor.core.effects import Send, SendStage, Spawn
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.messages import Activate
from nexus_supervisor.core.rollout import BEFORE_COMMIT, MOVING, Kind, Phase, Rollout, Step
from nexus_supervisor.core.watching import Watching

if TYPE_CHECKING:
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.meters import Meters
    from nexus_supervisor.core.roster import Process
    from nexus_supervisor.core.trying import Trying
    from nexus_supervisor.core.waves import Plan

__all__ = ["Moving"]


class Moving:
    """Move processes to the version of the running rollout."""

    def __init__(self, board: Board, trying: Trying, meters: Meters) -> None:
        self._board, self._trying, self._meters = board, trying, meters
        self._watching = Watching(board, meters)

    def drive(self, rollout: Rollout, now: float) -> None:
        """Send what the phase needs, and move on where everything has answered."""
        plan = rollout.plan(self._board.settings)
        self._end_pause(rollout, now)
        if rollout.phase is Phase.TRIAL:
            self._try(rollout, plan, now)
        if rollout.phase in MOVING:
            self._wait_for_somebody(rollout, now)
            self._choose(rollout, plan)
            self._stage(rollout, plan, now)
        if rollout.phase is Phase.STAGING and self._all_staged(rollout, plan):
            rollout.step(Step.ALL_STAGED)
        if rollout.phase is Phase.CANARY:
            self._move_canaries(rollout, plan, now)
        if rollout.phase is Phase.BAKE:
            self._watching.drive(rollout, plan, now)
        if rollout.phase is Phase.WAVE:
            self._move_group(rollout, plan, now)

    # --- before anybody is sent anything -------------------------------------------------------------------------

    def _end_pause(self, rollout: Rollout, now: float) -> None:
        """Leave a version that was paused for too long."""
        limit = self._board.settings.supervisor.rollout.max_pause_seconds
        since = rollout.paused_since
        if since is not None and now >= since + limit and rollout.phase in BEFORE_COMMIT:
            rollout.fail(f"it was paused for longer than {limit:g} s", blamed=False, aborted=True)

    def _try(self, rollout: Rollout, plan: Plan, now: float) -> None:
        """Have the version tried; a revocation waits no longer for a trial worker than a trial may take."""
        if not plan.trial:
            rollout.step(Step.TRIED)
            return
        trying, settings = self._trying, self._board.settings.supervisor.rollout
        trying.want(rollout.version, rollout.digest)
        urgent = rollout.kind is Kind.REVOCATION
        if rollout.tried_by is None:
            rollout.tried_by = now + settings.trial.timeout_seconds + (0 if urgent else settings.start_timeout_seconds)
        if trying.tried is not None and trying.tried.version == rollout.version:
            if trying.tried.refusal:
                rollout.fail(trying.tried.refusal)
            else:
                rollout.step(Step.TRIED)
        elif now >= rollout.tried_by and urgent:
            trying.forget(rollout.version)
            self._board.announce(trial_says.left_out(rollout.version))
            rollout.step(Step.TRIED)
        elif now >= rollout.tried_by:
            rollout.fail(
                "there was no trial worker that could try it: the log says why, and a restart applies it without one",
                blamed=False,
            )

    def _wait_for_somebody(self, rollout: Rollout, now: float) -> None:
        """End where for as long as a start may take nobody was there to take the version."""
        if rollout.slots or rollout.moving(self._board.roster):
            rollout.alone_until = None
        elif rollout.alone_until is None:
            rollout.alone_until = now + self._board.settings.supervisor.rollout.start_timeout_seconds
        elif rollout.alone_until <= now:
            rollout.fail("there was no worker that could take it", blamed=False)

    def _choose(self, rollout: Rollout, plan: Plan) -> None:
        """Choose who moves first: the busiest, so that requests judge the version. One that is lost is replaced."""
        if plan.canary is None or rollout.phase not in (Phase.STAGING, Phase.CANARY):
            return
        count = plan.canary.of(max(1, len(self._board.roster.slots)))
        if rollout.kind in (Kind.BOOT, Kind.RESTART):
            rollout.canaries = rollout.slots[:count]
            return
        able = self._able(rollout)
        first = {one.slot for one in able} | set(rollout.slots)
        kept = tuple(slot for slot in rollout.canaries if slot in first)
        others = [one.key for one in able if one.slot not in kept]
        more = [slot for slot, _ in self._meters.busiest(others)][: max(0, count - len(kept))]
        rollout.canaries = (*kept, *dict.fromkeys(more))

    # --- staging -------------------------------------------------------------------------------------------------

    def _able(self, rollout: Rollout) -> list[Process]:
        """Return who can be staged; a process that still boots another version joins later."""
        moving = rollout.moving(self._board.roster)
        return [one for one in moving if one.active is not None or one.told == rollout.version]

    def _stage(self, rollout: Rollout, plan: Plan, now: float) -> None:
        """Stage those that move first; when they hold it ready, all others. What goes back ran before: all at once."""
        able = self._able(rollout)
        first = [one for one in able if one.slot in rollout.canaries]
        wait = (
            rollout.phase is Phase.STAGING
            and plan.canary is not None
            and rollout.kind is not Kind.ROLLBACK
            and not (first and all(_holds(one, rollout) for one in first))
        )
        deadline = now + self._board.settings.supervisor.rollout.stage_timeout_seconds
        for process in first if wait else able:
            if process.told != rollout.version:
                told = self._board.roster.tell(process, rollout.version, deadline)
                self._board.emit(SendStage(told.slot, told.incarnation, told.push, rollout.version, told.holds))

    def _all_staged(self, rollout: Rollout, plan: Plan) -> bool:
        """Say whether the first may move: where it goes back, they don't wait for who never left."""
        if plan.canary is not None and not rollout.canaries:
            return False
        able = self._able(rollout)
        if rollout.kind is Kind.ROLLBACK:
            able = [one for one in able if one.slot in rollout.canaries]
        return all(_holds(one, rollout) for one in able)

    # --- activation ----------------------------------------------------------------------------------------------

    def _move_canaries(self, rollout: Rollout, plan: Plan, now: float) -> None:
        first = [one for one in self._able(rollout) if one.slot in rollout.canaries]
        self._activate([one for one in first if one.staged == rollout.version], now)
        replaced = [slot for slot in rollout.slots if slot in rollout.canaries]
        self._replace(rollout, replaced, len(replaced), now)
        if plan.canary is not None and not rollout.canaries:
            return
        if all(one.active == rollout.version for one in first) and self._is_ready(rollout, replaced):
            rollout.step(Step.CANARY_ACTIVE)

    def _move_group(self, rollout: Rollout, plan: Plan, now: float) -> None:
        """Move the next ones where nobody is on the way, the pause between groups is over and nobody paused it."""
        moving = rollout.moving(self._board.roster)
        settings = self._board.settings.supervisor.rollout
        size = self._group_size(rollout, plan)
        on_the_way = any(one.activating for one in moving)
        todo = [one for one in moving if one.staged == rollout.version and not one.activating]
        may = rollout.paused_since is None and (rollout.next_at is None or now >= rollout.next_at or rollout.promoted)
        if todo and may and not on_the_way:
            self._activate(todo[:size], now)
            pauses = len(todo) > size and settings.wave_pause_seconds > 0
            rollout.next_at = now + settings.wave_pause_seconds if pauses else None
        if rollout.slots:
            self._replace(rollout, list(rollout.slots), size, now)
        if self._all_active(rollout):
            rollout.step(Step.ALL_ACTIVE)

    def _group_size(self, rollout: Rollout, plan: Plan) -> int:
        slots = max(1, len(rollout.slots or self._board.roster.slots))
        if rollout.promoted or plan.group is None:
            return max(slots, len(self._board.roster.processes))
        return 1 if rollout.singly else plan.group.of(slots)

    def _activate(self, processes: list[Process], now: float) -> None:
        deadline = now + self._board.settings.supervisor.rollout.activate_timeout_seconds
        for process in processes:
            if process.staged is not None and not process.activating:
                self._board.roster.put(replace(process, activating=True, deadline=deadline))
                message = Activate(process.push, process.staged)
                self._board.emit(Send(process.slot, process.incarnation, message))

    def _replace(self, rollout: Rollout, slots: list[str], size: int, now: float) -> None:
        """Start new processes, so many at a time; drain the old one where the new one serves."""
        roster, starting = self._board.roster, 0
        for slot in slots:
            fresh = rollout.fresh(roster, slot)
            if fresh is not None and fresh.life is Life.READY:
                old = [one for one in roster.of(slot) if one.live and one is not fresh]
                self._board.drain(old, now, hasty=rollout.hasty)
            elif fresh is not None:
                starting += 1
            elif starting < size:
                starting += 1
                self._start(rollout, slot, now)

    def _start(self, rollout: Rollout, slot: str, now: float) -> None:
        roster = self._board.roster
        row = roster.slots[slot].number if slot in roster.slots else rollout.slots.index(slot)
        process = roster.add(slot, row, now, rollout.settings, rollout.serial)
        floor = self._board.history.version or 0
        self._board.emit(Spawn(slot, row, process.incarnation, rollout.digest, floor, fresh=True))

    def _is_ready(self, rollout: Rollout, slots: list[str]) -> bool:
        fresh = [rollout.fresh(self._board.roster, slot) for slot in slots]
        return all(one is not None and one.life is Life.READY for one in fresh)

    def _all_active(self, rollout: Rollout) -> bool:
        """Say whether every process has moved, and none that was cut off for its silence is left."""
        roster, moving = self._board.roster, rollout.moving(self._board.roster)
        moved = all(one.active == rollout.version for one in moving) and bool(moving or rollout.slots)
        return moved and self._is_ready(rollout, list(rollout.slots)) and not roster.fenced()


def _holds(process: Process, rollout: Rollout) -> bool:
    return rollout.version in (process.staged, process.active)
