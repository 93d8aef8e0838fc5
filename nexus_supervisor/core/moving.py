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
from nexus_supervisor.core.effects import Prepare, Send, SendStage, Spawn
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.messages import Activate
from nexus_supervisor.core.rollout import BEFORE_COMMIT, MOVING, Kind, Phase, Rollout, Step
from nexus_supervisor.core.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.meters import Meters
    from nexus_supervisor.core.roster import Process
    from nexus_supervisor.core.settings import Share
    from nexus_supervisor.core.trying import Trying
    from nexus_supervisor.core.waves import Plan

__all__ = ["Moving"]

_PREPARE_GRACE_SECONDS = 5.0
"""How much longer than the start of a process preparing may take: who prepares ends that by itself, and says why."""


class Moving:
    """Move processes to the version of the running rollout."""

    def __init__(self, board: Board, trying: Trying, meters: Meters) -> None:
        self._board, self._trying, self._meters = board, trying, meters
        self._watching = Watching(board, meters)

    def drive(self, rollout: Rollout, now: float) -> None:
        """Send what the phase needs, and move on where everything has answered."""
        plan = rollout.plan(self._board.settings)
        self._end_pause(rollout, now)
        if rollout.phase is Phase.PREPARING:
            self._prepare(rollout, now)
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

    def _prepare(self, rollout: Rollout, now: float) -> None:
        """Have a restart prepared: nothing of what runs is touched before new code and new addresses are there."""
        if rollout.kind is not Kind.RESTART:
            rollout.step(Step.PREPARED)
        elif rollout.prepared_by is None:
            timeout = self._board.settings.supervisor.rollout.start_timeout_seconds
            rollout.prepared_by = now + timeout + _PREPARE_GRACE_SECONDS
            self._board.emit(Prepare(rollout.digest, rollout.serial))
        elif now >= rollout.prepared_by:
            rollout.refused = True
            rollout.fail("the new code was not imported within start_timeout_seconds", blamed=False)

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
        """End where for as long as a start may take nobody was there to take the version.

        What was to wait for a while is tried at once, but once only: the version may be what mends it.
        """
        if rollout.slots or rollout.moving(self._board.roster):
            rollout.alone_until = None
        elif rollout.alone_until is None:
            rollout.alone_until = now + self._board.settings.supervisor.rollout.start_timeout_seconds
            if not rollout.hastened:
                rollout.hastened = True
                self._board.roster.hasten()
        elif rollout.alone_until <= now:
            rollout.fail("there was no worker that could take it", blamed=False)

    def _choose(self, rollout: Rollout, plan: Plan) -> None:
        """Choose who moves first: the busiest, so that requests judge the version. One that is lost is replaced."""
        if plan.canary is None or rollout.phase not in (Phase.STAGING, Phase.CANARY):
            return
        count = plan.canary.of(max(1, len(self._board.roster.slots)))
        if rollout.kind is Kind.BOOT:
            rollout.canaries = rollout.slots[:1]
            return
        if rollout.kind is Kind.RESTART:
            rollout.canaries = _first_of_each_program(rollout.slots, plan.canary)
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
        first = rollout.first_of(able)
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
            able = rollout.first_of(able)
        return all(_holds(one, rollout) for one in able)

    # --- activation ----------------------------------------------------------------------------------------------

    def _move_canaries(self, rollout: Rollout, plan: Plan, now: float) -> None:
        first = rollout.first_of(self._able(rollout))
        self._activate([one for one in first if one.staged == rollout.version], now)
        replaced = [slot for slot in rollout.slots if slot in rollout.canaries]
        self._start(rollout, self._replace(rollout, replaced, now)[1], now)
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
            self._replace_group(rollout, size, now, may=may)
        if self._all_active(rollout):
            rollout.step(Step.ALL_ACTIVE)

    def _group_size(self, rollout: Rollout, plan: Plan) -> int:
        """Return how many may be on the way at a time; who promotes a restart doesn't ask for twice the memory."""
        slots = max(1, len(rollout.slots or self._board.roster.slots))
        if plan.group is None or (rollout.promoted and rollout.kind is not Kind.RESTART):
            return max(slots, len(self._board.roster.processes))
        return 1 if rollout.singly and not rollout.promoted else plan.group.of(slots)

    def _activate(self, processes: list[Process], now: float) -> None:
        deadline = now + self._board.settings.supervisor.rollout.activate_timeout_seconds
        for process in processes:
            if process.staged is not None and not process.activating:
                self._board.roster.put(replace(process, activating=True, deadline=deadline))
                message = Activate(process.push, process.staged)
                self._board.emit(Send(process.slot, process.incarnation, message))

    def _replace_group(self, rollout: Rollout, size: int, now: float, *, may: bool) -> None:
        """Replace the next ones; where there is a pause between groups, it begins when a group serves."""
        pause = self._board.settings.supervisor.rollout.wave_pause_seconds
        starting, todo = self._replace(rollout, rollout.slots, now)
        if rollout.grouped and not starting:
            rollout.grouped = False
            if todo and pause and not rollout.promoted:
                rollout.next_at, may = now + pause, False
        room = size - len(starting) if not pause or not starting else 0
        if may and todo[:room]:
            rollout.grouped, rollout.next_at = True, None
            self._start(rollout, todo[:room], now)

    def _replace(self, rollout: Rollout, slots: Sequence[str], now: float) -> tuple[list[str], list[str]]:
        """Drain the old process where the new one serves; return the slots where it doesn't yet, and has to start."""
        roster = self._board.roster
        starting: list[str] = []
        todo: list[str] = []
        for slot in slots:
            fresh = rollout.fresh(roster, slot)
            if fresh is None and slot in rollout.done:
                self._board.drain([one for one in roster.of(slot) if one.live], now, hasty=rollout.hasty)
            elif fresh is None:
                todo.append(slot)
            elif fresh.life is Life.READY:
                old = [one for one in roster.of(slot) if one.live and one is not fresh]
                self._board.drain(old, now, hasty=rollout.hasty)
            else:
                starting.append(slot)
        return starting, todo

    def _start(self, rollout: Rollout, slots: Sequence[str], now: float) -> None:
        """Start new processes; what goes back starts them from what ran before, code and all."""
        roster, fresh = self._board.roster, rollout.kind is not Kind.ROLLBACK
        floor = self._board.history.version or 0
        for slot in slots:
            row = roster.slots[slot].number if slot in roster.slots else rollout.slots.index(slot)
            process = roster.add(slot, row, now, rollout.settings, rollout.serial)
            spawn = Spawn(slot, row, process.incarnation, rollout.digest, floor, fresh=fresh, program=process.program)
            self._board.emit(spawn)

    def _is_ready(self, rollout: Rollout, slots: list[str]) -> bool:
        fresh = [rollout.fresh(self._board.roster, slot) for slot in slots if slot not in rollout.done]
        return all(one is not None and one.life is Life.READY for one in fresh)

    def _all_active(self, rollout: Rollout) -> bool:
        """Say whether every process has moved, and none that was cut off for its silence is left."""
        roster, moving = self._board.roster, rollout.moving(self._board.roster)
        moved = all(one.active == rollout.version for one in moving) and bool(moving or rollout.slots)
        return moved and self._is_ready(rollout, list(rollout.slots)) and not roster.fenced()


def _first_of_each_program(slots: Sequence[str], share: Share) -> tuple[str, ...]:
    """Return the slots that are replaced first: so many of each program."""
    programs: dict[str, list[str]] = {}
    for slot in slots:
        programs.setdefault(slot.rpartition("-")[0], []).append(slot)
    return tuple(slot for own in programs.values() for slot in own[: share.of(len(own))])


def _holds(process: Process, rollout: Rollout) -> bool:
    return rollout.version in (process.staged, process.active)
