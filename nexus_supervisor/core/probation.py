"""Probation: what the deaths of workers say about a version that is committed.

Decided here: which deaths condemn it. Not decided here: what follows (``steering.py``) and when a worker is started
again (``restarts.py``). One death soon after a worker was moved to the version does; later ones may be anybody's, so
there it takes a loop.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from nexus_supervisor.core.handover import HandedProbation

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Version
    from nexus_supervisor.core.roster import Process
    from nexus_supervisor.core.settings import RolloutSettings

__all__ = ["Probation"]

_LOOP_DEATHS = 3
_LOOP_SECONDS = 60.0


class Probation:
    """Watch the committed version where it brought other content: by a push, a restart or a start.

    What ran before is not on probation, such as what a start finds committed long since; a start doesn't end one.
    """

    def __init__(self) -> None:
        self._version: Version | None = None
        self._since = 0.0
        self._deaths: dict[str, deque[float]] = {}
        self._returned_at: float | None = None

    def begin(self, version: Version, now: float) -> None:
        """Note that a version with other content than before is committed."""
        self._version, self._since = version, now
        self._deaths.clear()

    def end(self) -> None:
        """Watch nothing any more: what is committed now ran before, or is condemned."""
        self._version = None
        self._deaths.clear()

    def may_return(self, now: float, settings: RolloutSettings) -> bool:
        """Say whether a committed version may be rolled back by itself again."""
        return self._returned_at is None or now - self._returned_at >= settings.rollback_interval_seconds

    def returned(self, now: float) -> None:
        """Note that a committed version is rolled back by itself."""
        self._returned_at = now

    def handed(self) -> HandedProbation:
        """Return what is known, for whoever goes on."""
        deaths = {slot: tuple(times) for slot, times in self._deaths.items()}
        return HandedProbation(self._version, self._since, deaths, self._returned_at)

    def resume(self, handed: HandedProbation) -> None:
        """Go on where another one was."""
        self._version, self._since, self._returned_at = handed.version, handed.since, handed.returned_at
        self._deaths = {slot: deque(times, maxlen=_LOOP_DEATHS) for slot, times in handed.deaths.items()}

    def died(self, process: Process, status: str, now: float, settings: RolloutSettings) -> str:
        """Note a death that nobody wanted; return why that condemns the version, or ""."""
        if self._version is None or _runs(process) != self._version or now - self._since > settings.probation_seconds:
            return ""
        name, moved_at = f"{process.slot} was lost on it", _moved_at(process)
        if moved_at is not None and settings.bake_seconds and now - moved_at <= settings.blame_seconds:
            return f"{name} {now - moved_at:.1f} s after it had moved: {status}"
        deaths = self._deaths.setdefault(process.slot, deque(maxlen=_LOOP_DEATHS))
        deaths.append(now)
        if len(deaths) == _LOOP_DEATHS and now - deaths[0] <= _LOOP_SECONDS:
            return f"{name} {_LOOP_DEATHS} times within {_LOOP_SECONDS:.0f} s: {status}"
        return ""


def _moved_at(process: Process) -> float | None:
    """Return when a process was moved to what it runs; None for one that began with it, or is about to move."""
    return None if process.previous is None or process.activating else process.active_since


def _runs(process: Process) -> Version | None:
    """Return the version that a process runs, or is about to: one that is only staged is not to blame."""
    return process.told if process.active is None or process.activating else process.active
