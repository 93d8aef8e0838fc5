"""What is said about trials: every notice of the trial worker, as whole sentences.

Decided here: the words. Not decided here: when they are said (``trying.py``) and where they are shown. Nothing here is
a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.notices import Notice

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Version


def started(pid: int) -> Notice:
    """Tell that the trial worker was started."""
    return Notice("trial_worker", "info", f"The trial worker starts as pid {pid}.", {"pid": pid})


def lost(status: str, seconds: float) -> Notice:
    """Tell that the trial worker is gone."""
    text = f"The trial worker is gone: {status}. The next one starts in {seconds:.1f} s; nobody is served by it."
    return Notice("trial_worker", "warning", text, {"status": status, "seconds": seconds})


def fenced(reason: str) -> Notice:
    """Tell that the trial worker is being ended."""
    return Notice("trial_worker", "warning", f"The trial worker is ended: {reason}.", {"reason": reason})


def ended(version: Version, refusal: str) -> Notice:
    """Tell how a trial ended."""
    if refusal:
        text = f"The trial of version {version} failed: {refusal}."
        return Notice("trial_ended", "warning", text, {"version": version, "passed": False, "reason": refusal})
    text = f"Version {version} passed its trial."
    return Notice("trial_ended", "debug", text, {"version": version, "passed": True})


def left_out(version: Version) -> Notice:
    """Tell that a revocation goes without a trial."""
    text = f"Version {version} goes without a trial, since there is no trial worker and it revokes."
    return Notice("trial_ended", "warning", text, {"version": version, "passed": False, "reason": "no trial worker"})
