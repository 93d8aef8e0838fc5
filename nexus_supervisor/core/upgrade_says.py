"""What is said about upgrades in place: notices and answers.

Decided here: words. Not decided here: when they are said (``upgrading.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.effects import Outcome
from nexus_supervisor.core.notices import Facts, Notice

if TYPE_CHECKING:
    from nexus_supervisor.core.events import UpgradeAsked
    from nexus_supervisor.core.rollout import Rollout

__all__ = ["about_to", "asked", "failed", "late", "leaving", "resumed", "rollout", "went_on"]


def asked(event: UpgradeAsked) -> Notice:
    """Tell that somebody asked for it."""
    why = f": {event.reason}" if event.reason else ""
    text = f"{event.requester} asked for an upgrade in place{why}. Nothing new begins until it has happened."
    return Notice("upgrade_asked", "info", text, {"requester": event.requester, "reason": event.reason})


def leaving() -> Notice:
    """Tell that the new code takes over now."""
    return Notice("upgrade_begins", "info", "The new code was tried, and takes over now.")


def resumed(before: str, after: str, seconds: float, workers: int) -> Notice:
    """Tell that the new code has taken over."""
    text = f"Version {after} of nexus-supervisor took over from {before}: nobody answered for {seconds * 1000:.0f} ms."
    fields: Facts = {"before": before, "after": after, "milliseconds": round(seconds * 1000, 1), "workers": workers}
    return Notice("upgraded", "info", text, fields)


def went_on(outcome: Outcome) -> Notice:
    """Tell that the old code goes on."""
    return Notice("upgrade_failed", "warning", outcome.text, {"reason": outcome.word})


def failed(reason: str) -> Outcome:
    """Answer that the new code can't take over."""
    return Outcome(1, "FAILED", f"The supervisor was not upgraded, and goes on as before: {reason}.")


def late(hindrance: str) -> Outcome:
    """Answer that something was under way for too long."""
    text = (
        f"The supervisor was not upgraded within limits.upgrade_timeout_seconds, and goes on as before: {hindrance}. "
        "Ask again when that is over."
    )
    return Outcome(6, "CONFLICT", text)


def about_to() -> Outcome:
    """Answer who asks for a change meanwhile."""
    return Outcome(6, "CONFLICT", "The supervisor is about to be upgraded: ask again in a moment.")


def rollout(running: Rollout | None) -> str:
    """Say what is on its way."""
    if running is None:
        return "a version is about to go on its way"
    return f"version {running.version} is on its way ({running.kind.value})"
