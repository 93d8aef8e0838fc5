"""What is said about steering: notices and answers of promote, pause, resume, abort and of going back.

Decided here: the words. Not decided here: when they are said (``steering.py``) and where they are shown. Nothing here
is a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.effects import Outcome
from nexus_supervisor.core.notices import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexus_supervisor.core.content import Version
    from nexus_supervisor.core.problems import Problem
    from nexus_supervisor.core.rollout import Rollout

_DONE = {"promote": "is promoted", "pause": "is paused", "resume": "goes on", "abort": "is aborted"}
_BUSY = "Something else is being gone back to"


def accepted(verb: str, rollout: Rollout) -> Outcome:
    """Answer that a rollout is steered."""
    return Outcome(0, "ACCEPTED", f"{rollout.title} {_DONE[verb]}.", version=rollout.version)


def nothing_to(verb: str, rollout: Rollout | None) -> Outcome:
    """Answer that there is nothing to steer so."""
    if rollout is None:
        return Outcome(6, "CONFLICT", f"Nothing is on its way, so there is nothing to {verb}.")
    what = f"{rollout.title} ({rollout.kind.value}, {rollout.phase.value})"
    return Outcome(6, "CONFLICT", f"{what} can't be steered so: there is nothing to {verb}.", version=rollout.version)


def busy(rollout: Rollout | None) -> Outcome:
    """Answer that something is on its way."""
    what = _BUSY if rollout is None else f"{rollout.title} is on its way"
    return Outcome(6, "CONFLICT", f"{what}: abort it or wait for its end, then ask again.")


def promoted(rollout: Rollout, requester: str) -> Notice:
    """Tell that a bake or a pause is over by order."""
    text = f"{requester} promoted {_named(rollout)}: it goes on to all."
    return Notice("rollout_resumed", "info", text, {"version": rollout.version, "requester": requester})


def paused(rollout: Rollout, requester: str) -> Notice:
    """Tell that a rollout is paused."""
    text = f"{requester} paused {_named(rollout)}: nobody else moves until resume, promote or abort."
    return Notice("rollout_paused", "info", text, {"version": rollout.version, "requester": requester})


def _named(rollout: Rollout) -> str:
    """Return what a rollout is called within a sentence."""
    return f"{rollout.title[:1].lower()}{rollout.title[1:]}"


def still_paused(rollout: Rollout) -> Notice:
    """Tell that what starts again was paused and stays so."""
    text = f"Version {rollout.version} is paused like the one that gave way: resume, promote or abort it."
    return Notice("rollout_paused", "info", text, {"version": rollout.version})


def resumed(rollout: Rollout, requester: str) -> Notice:
    """Tell that a rollout goes on."""
    text = f"{requester} resumed {_named(rollout)}."
    return Notice("rollout_resumed", "info", text, {"version": rollout.version, "requester": requester})


def verdict(version: Version, reason: str) -> str:
    """Say why a committed version failed, to be kept beside its content."""
    return f"version {version} was rolled back: {reason}"


def condemned(version: Version, reason: str, *, back: bool) -> Notice:
    """Tell that workers die on the committed version."""
    follows = (
        "going back to the content before it"
        if back
        else "it is not gone back from: there is nothing to go back to, or that was done a short while ago. Look at it"
    )
    text = f"Version {version} is condemned, {reason}; {follows}."
    return Notice("version_condemned", "error", text, {"version": version, "reason": reason, "back": back})


def no_way_back(version: int | None, why: str) -> Notice:
    """Tell that a condemned version can't be gone back from."""
    text = f"There is no way back to the content of version {version}, and what runs goes on: {why}"
    return Notice("version_condemned", "error", text, {"version": version, "reason": why, "back": False})


def refused(version: int | None, problems: Sequence[Problem]) -> Outcome:
    """Answer that an older version can't be gone back to."""
    what = "There is no older content" if version is None else f"Version {version} can't be gone back to"
    why = f": {'; '.join(str(problem) for problem in problems[:3])}" if problems else ""
    return Outcome(3, "REJECTED", f"{what}; what runs goes on{why}.", problems=tuple(problems))


def already(version: Version, running: Version | None, held: Sequence[str]) -> Outcome:
    """Answer that an older content is what runs, as far as it can be live."""
    more = f" What needs a restart stays as it is: {', '.join(held[:8])}." if held else ""
    text = f"Version {running} has the content of version {version} already; nothing was done.{more}"
    return Outcome(0, "APPLIED", text, version=running)
