"""Probing: the application's own word on the version that is in use here.

Decided here: that its hook ``probe`` runs in a thread of its own, one at a time, and how it is answered. Not decided
here: when it is asked, and what follows (the supervisor).

A probe that hangs keeps nothing waiting but further probes, which are answered: they fail.
"""

from __future__ import annotations

from threading import Lock, Thread
from typing import TYPE_CHECKING

from nexus_supervisor.agent.context import PINNED
from nexus_supervisor.agent.holder import Cell
from nexus_supervisor.agent.hooked import Failed, made
from nexus_supervisor.core.messages import FromWorker, Probe, Probed

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.agent.holder import Holder
    from nexus_supervisor.core.messages import Start
    from nexus_supervisor.core.snapshot import Snapshot

__all__ = ["Probing"]


class Probing:
    """Call the hook ``probe``, where there is one, and answer."""

    def __init__(
        self,
        probe: Callable[[Snapshot], object] | None,
        start: Start,
        holder: Holder,
        answer: Callable[[FromWorker], object],
    ) -> None:
        self._probe, self._holder = probe, holder
        self._start, self._send = start, answer
        self._busy = Lock()

    def begin(self, message: Probe) -> None:
        """Answer a question now or, from a thread, when the hook has returned; never wait."""
        if self._probe is None:
            why = _inactive(message, self._holder.current)
            self._answer(message, "failed" if why else "none", why)
        elif self._busy.acquire(blocking=False):
            Thread(target=self._run, args=(message, self._probe), name="nexus-probe", daemon=True).start()
        else:
            self._answer(message, "failed", "the hook probe, which was called before, has not returned")

    def _run(self, message: Probe, probe: Callable[[Snapshot], object]) -> None:
        """Be the thread of one probe: whatever it calls sees the snapshot that is probed."""
        cell = Cell(self._holder)
        PINNED.set(cell)  # this context is the thread's own
        try:
            why = self._why_not(message, probe, cell)
        finally:
            self._holder.release(cell)
            self._busy.release()
        self._answer(message, "failed" if why else "passed", why)

    def _why_not(self, message: Probe, probe: Callable[[Snapshot], object], cell: Cell) -> str:
        if self._holder.current is not None:
            self._holder.pin(cell)
        if why := _inactive(message, cell.snapshot):
            return why
        try:
            made("the hook probe", probe, cell.snapshot)
        except Failed as error:
            return str(error)
        return ""

    def _answer(self, message: Probe, outcome: str, detail: str) -> None:
        slot, incarnation = self._start.slot, self._start.incarnation
        self._send(Probed(slot, incarnation, message.push, message.version, outcome, detail))


def _inactive(message: Probe, snapshot: Snapshot | None) -> str:
    """Say so where another version than the one that is asked about is in use."""
    is_it = snapshot is not None and snapshot.version == message.version
    return "" if is_it else f"version {message.version} is not active here"
