"""What is said when a worker is found dead though it runs, and when a healthy one is replaced by a fresh one.

Decided here: the words. Not decided here: when they are said (``liveness.py``, ``recycling.py``). Nothing here is a
secret: names and numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.notices import Facts, Notice

if TYPE_CHECKING:
    from nexus_supervisor.core.liveness import Silence
    from nexus_supervisor.core.recycling import Wear
    from nexus_supervisor.core.roster import Process


def _worker(process: Process) -> Facts:
    return {"slot": process.slot, "incarnation": process.incarnation, "pid": process.pid, "version": process.active}


def why(silence: Silence) -> str:
    """Say in a clause how a worker was found."""
    match silence.kind:
        case "stopped":
            return f"its process was stopped for {silence.seconds:.1f} s"
        case "request":
            return f"a request waited for its answer for {silence.seconds:.1f} s"
        case _:
            return f"its serving loop did not turn for {silence.seconds:.1f} s"


def silent(process: Process, silence: Silence, waiting: int) -> Notice:
    """Tell that a worker is taken for dead, how it was found, and how many more are."""
    key = "max_request_seconds" if silence.kind == "request" else "timeout_seconds"
    stacks = (
        "A stopped process can't write down its stacks (state T in /proc): something sent it SIGSTOP."
        if silence.kind == "stopped"
        else "It writes down its stacks, as far as it can."
    )
    more = f" {waiting} more are silent: they are ended when this is replaced." if waiting else ""
    text = (
        f"{process.slot}/{process.incarnation} (pid {process.pid}) is taken for dead and replaced: {why(silence)}, and "
        f"supervisor.liveness.{key} is {silence.limit:g}. {stacks}{more}"
    )
    facts: Facts = {"found": silence.kind, "seconds": round(silence.seconds, 3), "waiting": waiting}
    return Notice("slot_silent", "error", text, {**_worker(process), **facts})


def recycled(process: Process, wear: Wear) -> Notice:
    """Tell that a healthy worker is replaced by a fresh one, and why."""
    text = f"{process.slot}/{process.incarnation} is replaced by a fresh worker: {wear.text}."
    return Notice("slot_recycled", "info", text, {**_worker(process), "reason": wear.key})


def useless(process: Process, wear: Wear, program: str) -> Notice:
    """Tell that a bound is one that a fresh worker is over, too, so that nobody is recycled for it any more."""
    text = (
        f"{process.slot}/{process.incarnation}: {wear.text}, so soon after its start that a fresh worker helps "
        f"nothing: workers of {program} are not recycled for that any more. Set supervisor.recycle.{wear.key} above "
        "what a fresh worker has."
    )
    return Notice("recycling_off", "warning", text, {**_worker(process), "reason": wear.key, "program": program})
