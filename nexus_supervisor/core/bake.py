"""The bake: how long the first processes of a version are watched, and what is asked meanwhile.

Decided here: from what was measured, what the application's probe and the external gate said, and the time, whether the
others may follow. Not decided here: what measurements say (``health.py``) and who follows (``moving.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from nexus_supervisor.core.roster import NEVER

if TYPE_CHECKING:
    from collections.abc import Collection

    from nexus_supervisor.core.health import Judgement
    from nexus_supervisor.core.settings import RolloutSettings
    from nexus_supervisor.core.waves import Plan

__all__ = ["Bake", "Course", "Turn"]


class Course(Enum):
    """What follows from a look at a bake."""

    WAIT = auto()
    PROBE = auto()
    GO = auto()
    GO_SINGLY = auto()
    FAIL = auto()


class Turn(NamedTuple):
    """Hold what follows, and why."""

    course: Course
    reason: str = ""


_WAIT = Turn(Course.WAIT)
_SILENT_LIMIT_SECONDS = 30.0
"""So long a bake waits for a serving loop that does not turn where that of no other worker does."""


@dataclass
class Bake:
    """Hold one bake. Times are monotonic seconds.

    ``until`` is when it ends; ``quiet`` says that it was made longer since there were too few requests, ``silent`` that
    a serving loop does not turn at this moment: it does not end before that is decided. ``probes`` are the answers of
    the processes that were asked to probe, by slot ("" where none has come), ``probed_by`` is when they have to have
    answered. ``gate_by`` is when the external gate has to have decided, NEVER where none is asked.
    ``over``: those that it was about have ended in good order, before there was a verdict.
    """

    since: float
    until: float
    quiet: bool = False
    silent: bool = False
    probes: dict[str, tuple[str, str]] = field(default_factory=dict)
    probed_by: float = NEVER
    gate_by: float = NEVER
    gate_open: bool = True
    gate_refusal: str = ""
    over: bool = False

    def again(self, since: float, until: float) -> Bake:
        """Return the next one, for others: the gate is asked about a version once."""
        return Bake(since, until, gate_by=self.gate_by, gate_open=self.gate_open, gate_refusal=self.gate_refusal)

    def deadline(self, *, paused: bool) -> float | None:
        """Return when it has to be looked at if nothing else happens."""
        times = [time for time in (self.probed_by, self.gate_by) if time != NEVER]
        waits = any(not said for said, _ in self.probes.values()) or self.silent or not self.gate_open
        if not paused and not waits:
            times.append(self.until)
        return min(times, default=None)

    def ask_gate(self, until: float) -> None:
        """Note that the external gate is asked."""
        self.gate_open, self.gate_by = False, until

    def gate_ended(self, refusal: str) -> None:
        """Note what the external gate decided; "" passes."""
        self.gate_open, self.gate_by, self.gate_refusal = not refusal, NEVER, refusal

    def ask_probes(self, slots: list[str], until: float) -> None:
        """Note that these slots are asked to probe."""
        self.probes = dict.fromkeys(slots, ("", ""))
        self.probed_by = until

    def only(self, slots: Collection[str]) -> None:
        """Wait for nobody but these: others have ended in good order."""
        self.probes = {slot: said for slot, said in self.probes.items() if slot in slots}
        self._note_answers()

    def probed(self, slot: str, outcome: str, detail: str) -> None:
        """Note what a probe found; one that was not asked for changes nothing."""
        if slot in self.probes:
            self.probes[slot] = (outcome, detail)
            self._note_answers()

    def _note_answers(self) -> None:
        if all(said for said, _ in self.probes.values()):
            self.probed_by = NEVER

    def turn(self, now: float, judgement: Judgement, plan: Plan, settings: RolloutSettings, *, paused: bool) -> Turn:
        """Return what follows now; an unhealthy process or a closed gate fails at once, everything else at the end."""
        failure = judgement.reason if judgement.verdict == "unhealthy" else self._failure(now)
        if failure:
            return Turn(Course.FAIL, failure)
        self.silent = judgement.silent
        if self.silent and now >= self.until + _SILENT_LIMIT_SECONDS:
            return Turn(Course.FAIL, "its serving loop does not turn, and that of no other worker either")
        if paused or now < self.until or self.silent or not self.gate_open:
            return _WAIT
        if judgement.verdict == "healthy":
            return Turn(Course.GO)
        return self._inconclusive(judgement.reason, plan, settings)

    def _failure(self, now: float) -> str:
        """Return what speaks against the version besides what was measured, or ""."""
        if self.gate_refusal:
            return f"the external gate refused it: {self.gate_refusal}"
        if now >= self.gate_by:
            return "the external gate did not answer in time"
        if now >= self.probed_by:
            return "the canary did not answer the probe in time"
        failed = (f"the probe failed in {slot}: {why}" for slot, (said, why) in self.probes.items() if said == "failed")
        return next(failed, "")

    def _inconclusive(self, reason: str, plan: Plan, settings: RolloutSettings) -> Turn:
        """Decide where there were too few requests: by a probe, else by policy, and then only after a longer bake."""
        if not self.probes:
            return Turn(Course.PROBE)
        outcomes = {outcome for outcome, _ in self.probes.values()}
        if "" in outcomes:
            return _WAIT
        if outcomes == {"passed"}:
            return Turn(Course.GO)
        if settings.on_inconclusive == "rollback":
            return Turn(Course.FAIL, f"it is inconclusive ({reason}), and on_inconclusive is rollback")
        end = self.since + plan.quiet_bake_seconds
        if not self.quiet and self.until < end:
            self.until, self.quiet = end, True
            return _WAIT
        return Turn(Course.GO_SINGLY, reason)
