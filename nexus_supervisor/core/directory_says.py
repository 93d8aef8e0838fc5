"""What is said about the directory: its notices, its problems and its answers, as whole sentences.

Decided here: the words. Not decided here: when they are said (``directory.py``, ``journeys.py``) and where they are
shown. Nothing here is a secret: names, numbers and problems only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.effects import Outcome
from nexus_supervisor.core.notices import Facts, Notice
from nexus_supervisor.core.phrases import applied_by, lines, listed, sentence
from nexus_supervisor.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexus_supervisor.core.content import Version
    from nexus_supervisor.core.guards import Breach

__all__ = [
    "ROLLED_BACK",
    "already_restarting",
    "compiler_died",
    "guarded",
    "held",
    "pinned",
    "quarantined",
    "refused",
    "refused_content",
    "rejected",
    "still_live",
    "undecided",
    "unexpected",
    "unpinned",
    "unstable",
    "widened",
]

ROLLED_BACK = "was rolled back"
"""The words by which the reason of a quarantine tells that the content had been activated."""

MOST_NAMED = 50
"""So many names of entries are told in one notice; all of them are in the version."""

# --- notices ---------------------------------------------------------------------------------------------------------


def refused(problems: Sequence[Problem], *, committed: Version | None) -> Notice:
    """Tell that the directory is not valid."""
    stays = f"version {committed} stays live" if committed is not None else "there is no version to go on with"
    text = f"The directory was refused; {stays}: {sentence(problems)}"
    return Notice("candidate_refused", "error", text, {"problems": lines(problems)})


def unstable(problems: Sequence[Problem]) -> Notice:
    """Tell that files have been changing for a while."""
    text = f"Files keep changing while they are read; they are tried again: {sentence(problems)}"
    return Notice("candidate_unstable", "warning", text, {"problems": lines(problems)})


def held(keys: Sequence[str], blocked: Sequence[Problem]) -> Notice:
    """Tell that changes wait for a restart."""
    more = f" Live changes wait with them: {sentence(blocked)}" if blocked else ""
    text = f"Held until {applied_by(keys)}: {listed(keys)}.{more}"
    return Notice("candidate_held", "warning", text, {"keys": tuple(keys), "blocked": lines(blocked)})


def still_live(names: Sequence[str], remains: Sequence[Problem]) -> Notice:
    """Tell that vanished entries could not be revoked; ``remains`` says why."""
    why = f" They can't be revoked: {sentence(remains)}" if remains else ""
    text = f"Gone from the files, yet still in use: {listed(names)}.{why} Mend what was refused."
    return Notice("entry_still_live", "error", text, {"entries": tuple(names)})


def guarded(breaches: Sequence[Breach], *, refuses: bool, committed: Version | None) -> Notice:
    """Tell that the shape of a change is suspicious."""
    found = listed([breach.text for breach in breaches], 3)
    text = f"The change looks suspicious and is applied all the same: {found}."
    if refuses:
        text = f"The change looks like an accident and was refused; version {committed} stays live: {found}."
    names = tuple(dict.fromkeys(breach.guard for breach in breaches))
    fields: Facts = {"guards": names, "refused": refuses, "problems": lines([breach.problem for breach in breaches])}
    return Notice("candidate_guarded", "error" if refuses else "warning", text, fields)


def widened(breach: Breach) -> Notice:
    """Tell that entries may do more than before."""
    what = "The change was refused" if breach.refuses else "Look whether that is meant"
    fields: Facts = {"keys": breach.keys[:MOST_NAMED], "refused": breach.refuses}
    level = "error" if breach.refuses else "warning"
    return Notice("entry_widened", level, f"{what}: {breach.text}.", fields)


def pinned() -> Notice:
    """Tell that the directory holds what was left on purpose."""
    text = (
        "The directory holds what was left by a rollback or an abort, so it is not applied by itself. Change it, or "
        "push it."
    )
    return Notice("candidate_pinned", "warning", text, {"pinned": True})


def unpinned(*, pushed: bool) -> Notice:
    """Tell that the directory is applied by itself again."""
    why = "somebody pushed it" if pushed else "it has changed"
    return Notice("candidate_pinned", "info", f"The directory is applied again, since {why}.", {"pinned": False})


def compiler_died(reason: str) -> Notice:
    """Tell that a look ended without a verdict."""
    return Notice("compiler_died", "error", f"The directory could not be judged: {reason}. It is tried again.", {})


# --- problems --------------------------------------------------------------------------------------------------------


def quarantined(reason: str) -> Problem:
    """Say as a problem that the content failed before."""
    return Problem(".", 0, "", "value", f"this content failed before and is not tried again: {reason}")


# --- outcomes --------------------------------------------------------------------------------------------------------


def already_restarting() -> Outcome:
    """Answer a second restart."""
    return Outcome(6, "CONFLICT", "A restart is already running; wait for it to end.")


def unexpected(expected: int, version: Version | None) -> Outcome:
    """Answer a push that expected another version."""
    text = f"Version {version} is live, not {expected}; nothing was done. Look at what changed, then push again."
    return Outcome(6, "CONFLICT", text, version=version)


def undecided(reason: str) -> Outcome:
    """Answer that the directory could not be judged."""
    text = f"The directory could not be judged: {reason}. What runs goes on; push again."
    return Outcome(5, "INCONCLUSIVE", text)


def rejected(problems: Sequence[Problem], gone: Sequence[str]) -> Outcome:
    """Answer that the directory can't go as it is."""
    more = f" Gone from the files, yet still in use: {listed(gone)}." if gone else ""
    text = f"The directory was refused; what runs goes on.{more}"
    return Outcome(3, "REJECTED", text, problems=tuple(problems))


def refused_content(reason: str, command: str = "push") -> Outcome:
    """Answer that the content failed before; ``command`` is the one that tries it again."""
    text = (
        f"This content failed before and is not tried again: {reason}. Change it, or 'nexus-supervisor {command} "
        "--force --reason TEXT'."
    )
    if ROLLED_BACK in reason:
        return Outcome(4, "ROLLED_BACK", text)
    return Outcome(3, "REJECTED", text)
