"""Watching: what is asked and told while the first processes of a version bake.

Decided here: whom they are compared with, when the application and the external gate are asked, and that a process
which hangs is ended. Not decided here: when a bake is over and what that means (``bake.py``), and what measurements say
(``health.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core import crew_says, says
from nexus_supervisor.core.bake import Bake, Course
from nexus_supervisor.core.effects import RunGate, Send
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.messages import Probe
from nexus_supervisor.core.rollout import Kind, Step

if TYPE_CHECKING:
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.meters import Meters
    from nexus_supervisor.core.rollout import Rollout
    from nexus_supervisor.core.roster import Process
    from nexus_supervisor.core.waves import Plan

__all__ = ["Watching"]

_GATE_GRACE_SECONDS = 5.0
"""How much longer than the external gate may take its answer may: it is the supervisor that ends a gate."""


class Watching:
    """Watch the processes that moved to a version first."""

    def __init__(self, board: Board, meters: Meters) -> None:
        self._board, self._meters = board, meters

    def drive(self, rollout: Rollout, plan: Plan, now: float) -> None:
        """Watch those that moved first; the others may follow when the bake is over."""
        if rollout.promoted or not plan.bake_seconds or not rollout.canaries:
            rollout.step(Step.BAKED)
            return
        first = rollout.leaders(self._board.roster)
        if not first:
            self._leave(rollout)
            return
        bake = rollout.bake
        if bake is None or bake.over:
            bake = self._begin_bake(rollout, plan, first, now)
        bake.only([one.slot for one in first])
        settings = self._board.settings.supervisor.rollout
        judgement = self._meters.judge(self._controls(rollout), settings.gates, now)
        rollout.numbers = judgement.numbers
        turn = bake.turn(now, judgement, plan, settings, paused=rollout.paused_since is not None)
        match turn.course:
            case Course.WAIT:
                pass
            case Course.PROBE:
                bake.ask_probes([one.slot for one in first], now + settings.activate_timeout_seconds)
                for one in first:
                    self._board.emit(Send(one.slot, one.incarnation, Probe(one.push, rollout.version)))
            case Course.FAIL:
                rollout.fail(f"the canary failed: {turn.reason}{rollout.error}")
                self._end_silent(first, settings.gates.max_lag_seconds)
            case Course.GO | Course.GO_SINGLY:
                rollout.singly = turn.course is Course.GO_SINGLY
                if rollout.singly:
                    self._board.announce(says.inconclusive(rollout, turn.reason))
                rollout.step(Step.BAKED)

    def _leave(self, rollout: Rollout) -> None:
        """Have others move first: those that did were scaled away. Those of a restart have done what there was to do.

        None was lost: that would have ended the rollout.
        """
        if rollout.bake is not None:
            rollout.bake.over = True
        if rollout.kind is Kind.RESTART:
            rollout.singly = True
            self._board.announce(says.inconclusive(rollout, "those that came first have ended in good order"))
            rollout.step(Step.BAKED)
        else:
            rollout.step(Step.CANARY_GONE)

    def _end_silent(self, first: list[Process], seconds: float) -> None:
        """End canaries whose serving loop hangs: it would hang with what ran before, too."""
        silent = [one for one in first if one.key in self._meters.silent(seconds)]
        for process in silent:
            self._board.announce(crew_says.fenced(process, "its serving loop does not turn any more"))
        self._board.kill(silent)

    def _begin_bake(self, rollout: Rollout, plan: Plan, first: list[Process], now: float) -> Bake:
        before, until = rollout.bake, now + plan.bake_seconds
        bake = rollout.bake = Bake(now, until) if before is None else before.again(now, until)
        keys, fresh = [one.key for one in first], rollout.kind is Kind.RESTART
        replaced = [one.key for slot in rollout.canaries for one in self._board.roster.of(slot) if one.key not in keys]
        self._meters.begin(keys, rollout.version, now, replaced=replaced if fresh else None)
        gate = self._board.settings.supervisor.external_gate
        if before is None and (gate.command or gate.url):
            bake.ask_gate(now + gate.timeout_seconds + _GATE_GRACE_SECONDS)
            self._board.emit(RunGate(rollout.version, self._board.history.version, rollout.kind.value))
        return bake

    def _controls(self, rollout: Rollout) -> list[tuple[str, int]]:
        """Return the processes that serve what is committed, from code that is, while others are watched."""
        version, live = self._board.history.version, self._board.roster.live()
        others = (one for one in live if one.life is Life.READY and not rollout.started(one))
        return [one.key for one in others if one.active == version]
