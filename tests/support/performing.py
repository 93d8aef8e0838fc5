"""The shell, simulated: what a world does with each effect, and which event is under way after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.problems import Problem

if TYPE_CHECKING:
    from nexus_supervisor.core.effects import Effect
    from tests.support.world import World

__all__ = ["perform"]


def perform(world: World, effect: Effect) -> None:  # noqa: C901, PLR0912 - one case for each effect
    """Do what an effect says."""
    match effect:
        case effects.Look():
            _look(world, effect)
        case effects.Recall():
            _recall(world, effect)
        case effects.Record():
            _record(world, effect)
        case effects.Commit():
            failed = events.RecordFailed(effect.version, "no space left")
            world.pending.append(failed if world.faults.commits else events.CommitRecorded(effect.version))
        case effects.Archive():
            world.pending.append(events.Archived(effect.version, "no space left" if world.faults.archive else None))
        case effects.Spawn():
            world.staff.spawn(effect)
        case effects.SendStage():
            world.staff.stage(effect)
        case effects.Send():
            world.staff.tell(effect)
        case effects.Terminate():
            world.staff.terminate(effect)
        case effects.Kill():
            world.die((effect.slot, effect.incarnation), "killed by SIGKILL")
        case effects.Measure():
            world.pending.append(events.Measured(world.staff.readings()))
        case effects.RunGate():
            _run_gate(world, effect)
        case effects.Prepare():
            _prepare(world, effect)
        case effects.Settle():
            if effect.adopted and world.prepared is not None:
                world.code = world.prepared
            world.prepared = None
        case effects.Adopt():
            world.directory.adopted = effect.digest
        case effects.Announce():
            world.notices.append(effect.notice)
        case effects.Answer():
            world.answers[effect.ticket] = effect.outcome
        case effects.Exit():
            world.exit = effect.code
        case _:
            pass


def _prepare(world: World, effect: effects.Prepare) -> None:
    world.generations += 1
    world.prepared = world.generations
    reason = "the address is in use" if world.faults.binds else world.faults.import_error
    if reason:
        world.pending.append(events.PrepareFailed(reason, effect.serial))
    elif world.faults.imports:
        world.pending.append(events.Prepared(effect.serial))


def _look(world: World, effect: effects.Look) -> None:
    if world.faults.looks:
        world.pending.append(events.LookFailed(effect.ticket, "the compiler was lost: killed by SIGKILL"))
        return
    verdict = world.directory.verdict(effect)
    world.pending.append(verdict)
    if isinstance(verdict, events.CandidateSeen):
        told = (verdict.candidate.wanted, verdict.candidate.digest, verdict.candidate.revoked)
    else:
        told = (verdict.base, verdict.base, verdict.revoked)
    world.invariants.kept |= {digest for digest in told if digest is not None}


def _recall(world: World, effect: effects.Recall) -> None:
    if world.faults.recalls:
        problems = (Problem(".", 0, "", "internal", "the compiler was lost: killed by SIGKILL"),)
        world.pending.append(events.Recalled(effect.ticket, Version(effect.version or 0), None, problems))
        return
    committed = max(world.invariants.committed, default=0)
    recalled = world.directory.recall(effect, world.durable, committed)
    world.pending.append(recalled)
    if recalled.candidate is not None:
        world.invariants.kept.add(recalled.candidate.digest)


def _record(world: World, effect: effects.Record) -> None:
    if world.faults.journal:
        world.pending.append(events.RecordFailed(effect.version, "no space left"))
    else:
        world.durable[effect.version] = effect.digest
        world.pending.append(events.Recorded(effect.version))


def _run_gate(world: World, effect: effects.RunGate) -> None:
    if world.faults.gate != "silent":
        refuses = world.faults.gate == "refuses"
        world.pending.append(events.GateEnded(effect.version, not refuses, "it is bad" if refuses else ""))
