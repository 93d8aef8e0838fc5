"""What the crew says: every notice about one worker, as whole sentences.

Decided here: the words. Not decided here: when they are said (``crew.py``) and where they are shown. Nothing here is a
secret: names, numbers, and what a worker says of a version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.notices import Facts, Notice
from nexus_supervisor.core.phrases import counted

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


def slot_drained(process: Process, cut: int) -> Notice:
    """Tell that a worker has finished what it had in hand, or had to cut some of it off at the drain timeout."""
    text = f"{process.slot}/{process.incarnation} has finished what it had in hand."
    if cut:
        what = counted(cut, "request or job", "requests or jobs")
        text = f"{process.slot}/{process.incarnation} is done: the drain timeout was over, and {what} were cut off."
    return Notice("slot_drained", "warning" if cut else "info", text, {**_worker(process), "cut": cut})


def exited(process: Process, status: str, *, expected: bool) -> Notice:
    """Tell that a worker is gone."""
    text = f"{process.slot}/{process.incarnation} is gone: {status}."
    return Notice("worker_exited", "info" if expected else "warning", text, {**_worker(process), "status": status})


def _deaths(slot: Slot) -> Facts:
    facts: Facts = {"slot": slot.name, "program": slot.program, "deaths": slot.deaths}
    return {**facts, "status": slot.last_exit, "start_failed": slot.start_failed}


def _last(slot: Slot) -> str:
    """Say how the last process ended, and whether it had served."""
    return f"The last one {'never served' if slot.start_failed else 'had served'}: {slot.last_exit}."


def backoff(slot: Slot, seconds: float) -> Notice:
    """Tell that a slot waits before its next start."""
    text = f"{slot.name} died {slot.deaths} times in a row; the next start is in {seconds:.1f} s. {_last(slot)}"
    return Notice("slot_backoff", "warning", text, {**_deaths(slot), "seconds": seconds})


def failed(slot: Slot) -> Notice:
    """Tell that a slot is given up."""
    text = (
        f"{slot.name} is given up: {slot.failed}. {_last(slot)} It is tried again after the next commit, by "
        "'nexus-supervisor restart' and by 'nexus-supervisor scale'."
    )
    return Notice("slot_failed", "error", text, _deaths(slot))


def stopped(slot: Slot, restart: str) -> Notice:
    """Tell that a slot stays empty, as its program wants it."""
    text = f"{slot.name} is not started again: its program is {restart}. {_last(slot)}"
    return Notice("slot_stopped", "info", text, {**_deaths(slot), "restart": restart})


def leaves(process: Process, reason: str) -> Notice:
    """Tell that a worker is replaced: it serves until another one does."""
    text = f"{process.slot}/{process.incarnation} is replaced: {reason}."
    return Notice("slot_leaves", "info", text, {**_worker(process), "reason": reason})
