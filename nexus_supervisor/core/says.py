"""What the fleet says: its notices and every outcome, as whole sentences.

Decided here: the words, but of those about a single worker (``crew_says.py``). Not decided here: when they are said
(``fleet.py``) and where they are shown. Nothing here is a secret: names, numbers, digests and problems only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nexus_supervisor.core.effects import Outcome
from nexus_supervisor.core.notices import Facts, Notice
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind, Phase, Rollout
from nexus_supervisor.core.settings import needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexus_supervisor.core.changes import Impact
    from nexus_supervisor.core.content import Version

MOST_NAMED = 50
"""So many names of entries are told in one notice; all of them are in the version."""


def lines(problems: Sequence[Problem]) -> tuple[str, ...]:
    """Show problems one by one."""
    return tuple(str(problem) for problem in problems)


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _sentence(problems: Sequence[Problem]) -> str:
    """End a sentence with problems, whatever the last of them ends with."""
    shown = _listed(lines(problems), 3)
    return shown if shown.endswith((".", "?", "!")) else f"{shown}."


def _applied_by(keys: Sequence[str]) -> str:
    """Say what applies held keys: a restart of the workers, or a new start of the supervisor."""
    starts = any(needs(key) == "start" for key in keys)
    return "a new start ('nexus-supervisor stop', then 'run')" if starts else "'nexus-supervisor restart'"


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


# --- notices about the directory -------------------------------------------------------------------------------------


def refused(problems: Sequence[Problem], *, committed: Version | None) -> Notice:
    """Tell that the directory is not valid."""
    stays = f"version {committed} stays live" if committed is not None else "there is no version to go on with"
    text = f"The directory was refused; {stays}: {_sentence(problems)}"
    return Notice("candidate_refused", "error", text, {"problems": lines(problems)})


def unstable(problems: Sequence[Problem]) -> Notice:
    """Tell that files have been changing for a while."""
    text = f"Files keep changing while they are read; they are tried again: {_sentence(problems)}"
    return Notice("candidate_unstable", "warning", text, {"problems": lines(problems)})


def held(keys: Sequence[str], blocked: Sequence[Problem]) -> Notice:
    """Tell that changes wait for a restart."""
    more = f" Live changes wait with them: {_sentence(blocked)}" if blocked else ""
    text = f"Held until {_applied_by(keys)}: {_listed(keys)}.{more}"
    return Notice("candidate_held", "warning", text, {"keys": tuple(keys), "blocked": lines(blocked)})


def still_live(names: Sequence[str], remains: Sequence[Problem]) -> Notice:
    """Tell that vanished entries could not be revoked."""
    why = f" What would remain is not valid: {_sentence(remains)}" if remains else ""
    text = f"Gone from the files, yet still in use: {_listed(names)}.{why} Mend what was refused."
    return Notice("entry_still_live", "error", text, {"entries": tuple(names)})


def compiler_died(reason: str) -> Notice:
    """Tell that a look ended without a verdict."""
    return Notice("compiler_died", "error", f"The directory could not be judged: {reason}. It is tried again.", {})


# --- notices about versions ------------------------------------------------------------------------------------------


def started(rollout: Rollout) -> Notice:
    """Tell that a version is on its way."""
    text = f"Version {rollout.version} is on its way ({rollout.kind.value}{_because(rollout)})."
    return Notice("rollout_started", "info", text, {**_journey(rollout, rollout.reason), "kind": rollout.kind.value})


def _journey(rollout: Rollout, reason: str) -> Facts:
    return {"version": rollout.version, "digest": rollout.digest, "reason": reason}


def _because(rollout: Rollout) -> str:
    return f": {rollout.reason}" if rollout.reason else ""


def holds(version: Version, impact: Impact) -> Notice:
    """Tell what is different in a version."""
    named: Facts = {}
    for section, change in impact.sections.items():
        for word, names in (("added", change.added), ("changed", change.changed), ("removed", change.removed)):
            if names:
                named[f"{section}_{word}"] = names[:MOST_NAMED]
    return Notice("version_holds", "info", f"Version {version}: {impact}.", {"version": version, **named})


def committed(rollout: Rollout, workers: int, now: float) -> Notice:
    """Tell that a version is live everywhere."""
    kind = {Kind.ROLLBACK: "rolled_back", Kind.REVOCATION: "revoked"}.get(rollout.kind, "committed")
    text = f"Version {rollout.version} is live in {_workers(workers)}{_because(rollout)}."
    fields = {
        **_journey(rollout, rollout.reason),
        "workers": workers,
        "milliseconds": round((now - rollout.began) * 1000, 3),
        "rollback_of": rollout.rollback_of,
    }
    return Notice(kind, "warning" if rollout.kind is Kind.ROLLBACK else "info", text, fields)


_ROLLED_BACK = "was rolled back"


def verdict(rollout: Rollout) -> str:
    """Say why a version failed, to be kept beside its content."""
    if not rollout.recorded:
        return f"the restart failed: {rollout.failure}"
    what = _ROLLED_BACK if rollout.phase is Phase.ROLLED_BACK else "was refused"
    return f"version {rollout.version} {what}: {rollout.failure}"


def failed(rollout: Rollout) -> Notice:
    """Tell that a version failed."""
    moved = rollout.phase is Phase.ROLLED_BACK
    what = "was activated and failed; going back" if moved else "was refused; what runs goes on"
    text = f"Version {rollout.version} {what}: {rollout.failure}."
    if not rollout.recorded:
        text = f"The restart failed; the old workers go on: {rollout.failure}."
    fields = {**_journey(rollout, rollout.failure), "strikes": rollout.strikes}
    return Notice("rollout_failed", "error", text, fields)


def journal_failed(version: Version, reason: str) -> Notice:
    """Tell that the journal can't be written."""
    text = (
        f"The journal could not be written for version {version}: {reason}. What runs goes on, but nothing new can be "
        "applied; free the disk or mend it, then stop and run again."
    )
    return Notice("journal_failed", "error", text, {"version": version, "reason": reason})


def archived(version: Version) -> Notice:
    """Tell that a version can be read on disk."""
    return Notice("archived", "info", f"Version {version} is complete in compiled/.", {"version": version})


def archive_failed(version: Version, reason: str) -> Notice:
    """Tell that a version could not be written to compiled/."""
    text = f"Version {version} is durable in the journal but could not be written to compiled/: {reason}."
    return Notice("journal_failed", "error", text, {"version": version, "reason": reason})


# --- outcomes --------------------------------------------------------------------------------------------------------


def stopping() -> Outcome:
    """Answer while the daemon ends."""
    return Outcome(5, "INCONCLUSIVE", "The supervisor is stopping; ask again when it runs.")


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
    """Answer that the directory is not valid."""
    more = f" Gone from the files, yet still in use: {_listed(gone)}." if gone else ""
    text = f"The directory was refused; what runs goes on.{more}"
    return Outcome(3, "REJECTED", text, problems=tuple(problems))


def refused_content(reason: str) -> Outcome:
    """Answer that the content failed before."""
    text = f"This content failed before and is not tried again: {reason}. Change it, then push."
    if _ROLLED_BACK in reason:
        return Outcome(4, "ROLLED_BACK", text)
    return Outcome(3, "REJECTED", text)


def quarantined(reason: str) -> Problem:
    """Say as a problem that the content failed before."""
    return Problem(".", 0, "", "value", f"this content failed before and is not tried again: {reason}")


def live(version: Version | None, workers: int, held_keys: tuple[str, ...], doubt: str) -> Outcome:
    """Answer that what can be live is live; ``doubt`` is why a new start may not know it."""
    if doubt:
        text = f"Version {version} is live in {_workers(workers)}, but {doubt}: a new start may not know it."
        return Outcome(5, "INCONCLUSIVE", text, version=version, workers=workers)
    if held_keys:
        text = f"Version {version} is live; held until {_applied_by(held_keys)}: {_listed(held_keys)}."
        return Outcome(8, "HELD", text, version=version, workers=workers, held=held_keys)
    text = f"Version {version} is live in {_workers(workers)}."
    return Outcome(0, "APPLIED", text, version=version, workers=workers)


def outcome(rollout: Rollout, live: Outcome) -> Outcome:
    """Answer those who waited for a version that is committed; ``live`` says what runs now."""
    if rollout.kind is Kind.ROLLBACK:
        text = f"Rolled back: {rollout.reason}. Version {rollout.version} holds what ran before."
        return Outcome(4, "ROLLED_BACK", text, version=rollout.version, workers=live.workers)
    if rollout.problems:
        text = f"The directory was refused, but what is gone from it was revoked as version {rollout.version}."
        return Outcome(3, "REJECTED", text, rollout.problems, rollout.version, live.workers)
    return live


def not_archived(ended: Outcome, failure: str) -> Outcome:
    """Answer those who waited for a version that is durable and live, and not complete on disk."""
    text = (
        f"{ended.text} But compiled/ could not be written: {failure}. Make room or mend the disk; it is written later."
    )
    return replace(ended, exit_code=5, word="INCONCLUSIVE", text=text) if ended.exit_code == 0 else ended


def failure(rollout: Rollout) -> Outcome:
    """Answer those who waited for a version that failed and from which nobody has to go back."""
    if rollout.kind is Kind.ROLLBACK:
        text = f"Rolled back: {rollout.reason}. Workers that had moved are replaced, since {rollout.failure}."
        return Outcome(4, "ROLLED_BACK", text)
    rolled_back = rollout.kind is Kind.RESTART or rollout.phase is Phase.ROLLED_BACK
    code, word = (4, "ROLLED_BACK") if rolled_back else (3, "REJECTED")
    text = f"Version {rollout.version} was refused and what ran before goes on: {rollout.failure}."
    if not rollout.recorded:
        text = f"The restart failed and the old workers go on: {rollout.failure}. The log says more."
    return Outcome(code if rollout.blamed else 1, word, text, rollout.problems)


# --- notices about the supervisor ------------------------------------------------------------------------------------


def daemon_ready(version: Version | None, workers: int) -> Notice:
    """Tell that every worker serves."""
    text = f"Version {version} is served by {_workers(workers)}."
    return Notice("daemon_ready", "info", text, {"version": version, "workers": workers})


def daemon_stopping(requester: str) -> Notice:
    """Tell that the end has begun."""
    return Notice("daemon_stopping", "info", f"Stopping ({requester}): workers finish what they have in hand.", {})


def signing_off() -> Notice:
    """Tell that nothing is signed."""
    text = "Signing is off: versions are not signed, and workers verify digests only."
    return Notice("signing_off", "warning", text, {})


def warned(problems: Sequence[Problem]) -> Notice:
    """Tell what is accepted but worth a look."""
    text = f"The directory is accepted with a warning: {_sentence(problems)}"
    return Notice("settings_warning", "warning", text, {"problems": lines(problems)})


def watch_degraded(sentence: str) -> Notice:
    """Tell that the watcher sees less than it should; comparing goes on."""
    return Notice("watch_degraded", "warning", f"{sentence}; the directory is compared every few seconds anyway.", {})


def effect_failed(reason: str) -> Notice:
    """Tell of a mistake of ours: what was to be done was not."""
    text = f"A mistake in the supervisor: {reason}. What runs goes on; please report it."
    return Notice("effect_failed", "error", text, {"reason": reason})


def daemon_stopped(code: int) -> Notice:
    """Tell that it is over."""
    return Notice("daemon_stopped", "info", "Every worker is gone; the supervisor ends.", {"exit_code": code})
