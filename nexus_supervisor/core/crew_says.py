"""What the crew says: every notice about one worker, as whole sentences.

Decided here: the words. Not decided here: when they are said (``crew.py``) and where they are shown. Nothing here is a
secret: names, numbers, and what a worker says of a version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.notices import Facts, Notice

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Version
    from nexus_supervisor.core.messages import Rejected
    from nexus_supervisor.core.roster import Process, Slot


def _worker(process: Process) -> Facts:
    return {"slot": process.slot, "incarnation": process.incarnation, "pid": process.pid, "version": process.active}


def slot_started(process: Process, pid: int) -> Notice:
    """Tell that a process was started."""
    fields = {**_worker(process), "pid": pid}
    return Notice("slot_started", "info", f"{process.slot}/{process.incarnation} starts as pid {pid}.", fields)


def slot_ready(process: Process) -> Notice:
    """Tell that a process serves."""
    text = f"{process.slot}/{process.incarnation} serves version {process.active}."
    return Notice("slot_ready", "info", text, _worker(process))


def staged(process: Process, version: Version) -> Notice:
    """Tell that a worker holds a version ready."""
    text = f"{process.slot} holds version {version} ready."
    return Notice("version_staged", "debug", text, {**_worker(process), "version": version})


def active(process: Process, version: Version) -> Notice:
    """Tell that a worker's new requests get a version."""
    text = f"{process.slot} has activated version {version}."
    return Notice("version_active", "debug", text, {**_worker(process), "version": version})


def retired(process: Process, oldest: Version) -> Notice:
    """Tell that no request of a worker uses anything older."""
    text = f"{process.slot} uses nothing older than version {oldest}."
    return Notice("retired", "debug", text, {**_worker(process), "version": oldest})


def lingering(process: Process) -> Notice:
    """Tell that something in a worker still refers to retired snapshots."""
    text = (
        f"{process.slot}/{process.incarnation} retired a version, and something in it still refers to that snapshot: a "
        "cache, a task or a kept exception. It costs memory; the worker's log names the version."
    )
    return Notice("lingering", "warning", text, {**_worker(process), "snapshots": process.lingering})


def lingers_no_more(process: Process) -> Notice:
    """Tell that nothing in a worker refers to a retired snapshot any more."""
    text = f"Nothing in {process.slot}/{process.incarnation} refers to a retired snapshot any more."
    return Notice("lingering", "info", text, {**_worker(process), "snapshots": 0})


def worker_rejected(process: Process, message: Rejected) -> Notice:
    """Tell that a worker refused a version."""
    kind = "worker_rejected" if message.reason in ("model", "not_applicable") else "config_signature_invalid"
    text = f"{process.slot} refused version {message.version} ({message.reason}): {message.detail}."
    return Notice(kind, "error", text, {**_worker(process), "version": message.version, "reason": message.reason})


def fenced(process: Process, reason: str) -> Notice:
    """Tell that a worker is being ended because it can't be trusted or doesn't answer."""
    text = f"{process.slot}/{process.incarnation} is ended: {reason}."
    return Notice("slot_fenced", "warning", text, {**_worker(process), "reason": reason})


def slot_drained(process: Process) -> Notice:
    """Tell that a worker has finished what it had in hand."""
    text = f"{process.slot}/{process.incarnation} has finished what it had in hand."
    return Notice("slot_drained", "info", text, _worker(process))


def exited(process: Process, status: str, *, expected: bool) -> Notice:
    """Tell that a worker is gone."""
    text = f"{process.slot}/{process.incarnation} is gone: {status}."
    return Notice("worker_exited", "info" if expected else "warning", text, {**_worker(process), "status": status})


def backoff(slot: Slot, seconds: float) -> Notice:
    """Tell that a slot waits before its next start."""
    text = (
        f"{slot.name} died {slot.deaths} times in a row; the next start is in {seconds:.1f} s. Last: {slot.last_exit}."
    )
    return Notice("slot_backoff", "warning", text, {"slot": slot.name, "deaths": slot.deaths, "seconds": seconds})
