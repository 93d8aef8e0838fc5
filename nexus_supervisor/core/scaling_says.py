"""What is said about scaling: notices and answers.

Decided here: the words. Not decided here: when they are said (``scaling.py``) and where they are shown. Nothing here is
a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.effects import Outcome
from nexus_supervisor.core.notices import Facts, Notice
from nexus_supervisor.core.phrases import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexus_supervisor.core.events import ScaleAsked
    from nexus_supervisor.core.programs import Program
    from nexus_supervisor.core.rollout import Rollout


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def accepted(program: Program, before: int, wanted: int) -> Outcome:
    """Answer that a program is being scaled."""
    change = "has" if before == wanted else f"goes from {before} to"
    text = f"Program {program.name} {change} {_workers(wanted)}, until its setting changes or the supervisor ends."
    return Outcome(0, "ACCEPTED", text, workers=wanted)


def scaled(program: Program, before: int, wanted: int, event: ScaleAsked) -> Notice:
    """Tell that a program is being scaled."""
    why = f": {event.reason}" if event.reason else ""
    text = f"{event.requester} scaled {program.name} from {before} to {_workers(wanted)}{why}."
    fields: Facts = {"program": program.name, "before": before, "workers": wanted, "requester": event.requester}
    return Notice("scaled", "info", text, {**fields, "reason": event.reason})


def refused(outcome: Outcome, requester: str) -> Notice:
    """Tell that nothing was scaled: who asked by a signal hears it nowhere else."""
    text = f"{requester} asked for another number of workers, and nothing changed. {outcome.text}"
    return Notice("scaled", "warning", text, {"requester": requester, "reason": outcome.word})


def unknown(name: str, programs: Sequence[Program]) -> Outcome:
    """Answer that there is no such program."""
    text = f"There is no program {name[:64]!r} here: the programs are {listed([one.name for one in programs])}."
    return Outcome(3, "REJECTED", text)


def busy(rollout: Rollout) -> Outcome:
    """Answer that workers are being replaced."""
    text = f"Workers are being replaced ({rollout.kind.value}, version {rollout.version}): ask again when that is over."
    return Outcome(6, "CONFLICT", text, version=rollout.version)


def too_few(program: Program, wanted: int, least: int) -> Outcome:
    """Answer that so few workers make no sense."""
    text = f"Program {program.name} can't have {_workers(wanted)}: at least {least}, so that somebody serves."
    return Outcome(3, "REJECTED", text)


def too_many(program: Program, wanted: int, others: int, room: int) -> Outcome:
    """Answer that there is no room for so many workers."""
    elsewhere = f", and other programs have {others} of them" if others else ""
    text = (
        f"Program {program.name} can't have {_workers(wanted)}: this supervisor was started with room for {room}"
        f"{elsewhere}. Set workers in daemon.toml, and stop and run it again to have more."
    )
    return Outcome(3, "REJECTED", text)
