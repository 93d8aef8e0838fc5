"""What the fleet says: its notices and every outcome, as whole sentences.

Decided here: the words, but for those about a single worker (``crew_says.py``), the directory (``directory_says.py``),
trials and steering. Not decided here: when they are said (``fleet.py``) and where they are shown. Nothing here is a
secret: names, numbers, digests and problems only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nexus_supervisor.core.effects import Outcome
from nexus_supervisor.core.notices import Facts, Notice
from nexus_supervisor.core.phrases import applied_by, counted, lines, listed, sentence
from nexus_supervisor.core.rollout import Kind, Phase, Rollout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexus_supervisor.core.changes import Impact
    from nexus_supervisor.core.content import Version
    from nexus_supervisor.core.problems import Problem

MOST_NAMED = 50
"""So many names of entries are told in one notice; all of them are in the version."""


# --- notices about versions ------------------------------------------------------------------------------------------


def started(rollout: Rollout) -> Notice:
    """Tell that a version is on its way."""
    text = f"{rollout.title} is on its way ({rollout.kind.value}{_because(rollout)})."
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


def progress(rollout: Rollout, moved: int, total: int) -> Notice | None:
    """Tell how far a version is; None where its phase is over before anybody could read it."""
    words = {
        Phase.TRIAL: "is tried in a worker without traffic",
        Phase.STAGING: "is staged",
        Phase.CANARY: f"is activated in {listed(rollout.canaries)}",
        Phase.BAKE: f"is watched in {listed(rollout.canaries)}",
        Phase.WAVE: f"is live in {moved} of {counted(total, 'worker', 'workers')}",
    }
    if rollout.kind is Kind.RESTART:
        words[Phase.CANARY] = f"replaces {listed(rollout.canaries)} first"
        words[Phase.WAVE] = f"has replaced {moved} of {counted(total, 'worker', 'workers')}"
    if rollout.phase not in words:
        return None
    phase = "rolling_back" if rollout.kind is Kind.ROLLBACK else rollout.phase.value
    fields: Facts = {"version": rollout.version, "phase": phase, "moved": moved, "total": total}
    fields |= {"canary": rollout.canaries}
    return Notice("rollout_phase", "debug", f"{rollout.title} {words[rollout.phase]}.", fields)


def inconclusive(rollout: Rollout, reason: str) -> Notice:
    """Tell that a version goes on although nobody could say whether it is healthy."""
    text = f"{rollout.title} is inconclusive ({reason}); it goes on, one worker at a time."
    fields: Facts = {"version": rollout.version, "phase": "bake", "inconclusive": reason, **rollout.numbers}
    return Notice("rollout_phase", "warning", text, fields)


def superseded(rollout: Rollout, by: str) -> Notice:
    """Tell that a version gave way to something more urgent."""
    text = f"Version {rollout.version} gives way ({by}); what it brought is judged again after that."
    return Notice("rollout_superseded", "warning", text, _journey(rollout, by))


def committed(rollout: Rollout, workers: int, now: float) -> Notice:
    """Tell that a version is live everywhere."""
    kinds = {Kind.ROLLBACK: "rolled_back", Kind.RETURN: "rolled_back", Kind.REVOCATION: "revoked"}
    kind = kinds.get(rollout.kind, "committed")
    text = f"Version {rollout.version} is live in {counted(workers, 'worker', 'workers')}{_because(rollout)}."
    fields = {
        **_journey(rollout, rollout.reason),
        "workers": workers,
        "milliseconds": round((now - rollout.began) * 1000, 3),
        "rollback_of": rollout.rollback_of,
        **rollout.numbers,
    }
    return Notice(kind, "warning" if kind == "rolled_back" else "info", text, fields)


_ROLLED_BACK = "was rolled back"
_ABORTED = "was aborted"


def verdict(rollout: Rollout) -> str:
    """Say why a version failed, to be kept beside its content."""
    if not rollout.recorded:
        return f"the restart {_ABORTED if rollout.aborted else 'failed'}: {rollout.failure}"
    what = _ROLLED_BACK if rollout.phase is Phase.ROLLED_BACK else "was refused"
    what = _ABORTED if rollout.aborted else what
    return f"version {rollout.version} {what}: {rollout.failure}"


def failed(rollout: Rollout) -> Notice:
    """Tell that a version failed."""
    moved = rollout.phase is Phase.ROLLED_BACK
    what = "was activated and failed; going back" if moved else "was refused; what runs goes on"
    if rollout.aborted:
        what = "is aborted; going back" if moved else "is aborted; what runs goes on"
    text = f"Version {rollout.version} {what}: {rollout.failure}."
    if not rollout.recorded:
        what = "is aborted" if rollout.aborted else "failed"
        follows = "workers with the code from before take their places" if moved else "the old workers go on"
        text = f"{rollout.title} {what}; {follows}: {rollout.failure}."
    fields = {**_journey(rollout, rollout.failure), "strikes": rollout.strikes, **rollout.numbers}
    return Notice("rollout_failed", "warning" if rollout.aborted else "error", text, fields)


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


def live(version: Version | None, workers: int, held_keys: tuple[str, ...], doubt: str) -> Outcome:
    """Answer that what can be live is live; ``doubt`` is why a new start may not know it."""
    if doubt:
        where = counted(workers, "worker", "workers")
        text = f"Version {version} is live in {where}, but {doubt}: a new start may not know it."
        return Outcome(5, "INCONCLUSIVE", text, version=version, workers=workers)
    if held_keys:
        text = f"Version {version} is live; held until {applied_by(held_keys)}: {listed(held_keys)}."
        return Outcome(8, "HELD", text, version=version, workers=workers, held=held_keys)
    text = f"Version {version} is live in {counted(workers, 'worker', 'workers')}."
    return Outcome(0, "APPLIED", text, version=version, workers=workers)


def outcome(rollout: Rollout, live: Outcome) -> Outcome:
    """Answer those who waited for a version that is committed; ``live`` says what runs now."""
    if rollout.kind is Kind.ROLLBACK:
        text = f"{_begun(rollout.reason)}. Version {rollout.version} holds what ran before."
        if not rollout.recorded:
            text = f"{_begun(rollout.reason)}. The workers run the code from before."
        numbers = rollout.numbers
        return Outcome(4, "ROLLED_BACK", text, version=rollout.version, workers=live.workers, numbers=numbers)
    if rollout.kind is Kind.RETURN and live.exit_code in (0, 8):
        more = f" What needs a restart stays as it is: {listed(rollout.held)}." if rollout.held else ""
        text = f"Version {rollout.version} holds the content of version {rollout.rollback_of} and is live in "
        text += f"{counted(live.workers, 'worker', 'workers')}. The directory is pinned: push applies it again.{more}"
        return replace(live, exit_code=0, word="APPLIED", text=text, numbers=rollout.numbers)
    if rollout.problems:
        text = f"The directory was refused, but what is gone from it was revoked as version {rollout.version}."
        return Outcome(3, "REJECTED", text, rollout.problems, rollout.version, live.workers)
    if rollout.singly and live.exit_code == 0:
        text = f"{live.text} Its gate was inconclusive, and policy let it pass."
        return replace(live, text=text, numbers=rollout.numbers)
    return replace(live, numbers=rollout.numbers)


def not_archived(ended: Outcome, failure: str) -> Outcome:
    """Answer those who waited for a version that is durable and live, and not complete on disk."""
    text = (
        f"{ended.text} But compiled/ could not be written: {failure}. Make room or mend the disk; it is written later."
    )
    return replace(ended, exit_code=5, word="INCONCLUSIVE", text=text) if ended.exit_code == 0 else ended


def failure(rollout: Rollout) -> Outcome:
    """Answer those who waited for a version that failed and from which nobody has to go back."""
    if rollout.kind is Kind.ROLLBACK:
        text = f"{_begun(rollout.reason)}. Workers that had moved are replaced, since {rollout.failure}."
        return Outcome(4, "ROLLED_BACK", text)
    rolled_back = rollout.phase is Phase.ROLLED_BACK or rollout.aborted
    code, word = (4, "ROLLED_BACK") if rolled_back else (3, "REJECTED")
    what = "was activated and failed" if rollout.phase is Phase.ROLLED_BACK else "was refused"
    what = "was aborted" if rollout.aborted else what
    text = f"Version {rollout.version} {what}, and what ran before goes on: {rollout.failure}."
    if not rollout.recorded:
        text = f"{_begun(verdict(rollout))}. The old workers go on."
    if rollout.refused:
        text = f"The restart was refused and nothing was touched: {rollout.failure}."
    code = code if rollout.blamed or rollout.aborted or rollout.refused else 1
    return Outcome(code, word, text, rollout.problems, numbers=rollout.numbers)


def _begun(reason: str) -> str:
    """Return a reason as the beginning of a sentence."""
    return f"{reason[:1].upper()}{reason[1:]}"


# --- notices about the supervisor ------------------------------------------------------------------------------------


def daemon_ready(version: Version | None, workers: int) -> Notice:
    """Tell that every worker serves."""
    text = f"Version {version} is served by {counted(workers, 'worker', 'workers')}."
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
    text = f"The directory is accepted with a warning: {sentence(problems)}"
    return Notice("settings_warning", "warning", text, {"problems": lines(problems)})


def watch_degraded(sentence: str) -> Notice:
    """Tell that the watcher sees less than it should; comparing goes on."""
    return Notice("watch_degraded", "warning", f"{sentence}; the directory is compared every few seconds anyway.", {})


def effect_failed(reason: str) -> Notice:
    """Tell of a mistake of ours: what was to be done was not."""
    text = f"A mistake in the supervisor: {reason}. What runs goes on; please report it."
    return Notice("effect_failed", "error", text, {"reason": reason})


def daemon_stopped(code: int, reason: str = "") -> Notice:
    """Tell that it is over, and why where that is no good end."""
    if code:
        text = f"Every worker is gone; the supervisor ends with {code}: {reason}."
        return Notice("daemon_stopped", "error", text, {"exit_code": code, "reason": reason})
    return Notice("daemon_stopped", "info", "Every worker is gone; the supervisor ends.", {"exit_code": code})
