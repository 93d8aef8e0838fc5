"""Liveness: which workers have stopped working although they run, and how they are ended.

Decided here: when a worker is taken for dead, the steps that end it with their deadlines, and how many are ended at a
time. Not decided here: how alive a worker says it is (``agent/progress.py``), when it is read (``meters.py``), what a
step does (``supervisor/perform.py``), and who takes its place (``crew.py``).

Only a worker that serves is judged, only by what was read, and only by silence that lasted while readings came as often
as they should: where the supervisor itself, or the whole machine, stood still, everybody gets the full time again.
Whoever owes an answer to a version that is on its way has a deadline for that, and is not judged here meanwhile.

The steps: a new process is started in the slot; this one writes down its stacks, is told by a signal to end, and is
killed. Where many are silent at once, they are ended in groups, each when the one before it is replaced.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from nexus_supervisor.core import tending_says
from nexus_supervisor.core.effects import Dump, Terminate
from nexus_supervisor.core.lifecycle import Life, Word
from nexus_supervisor.core.roster import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.meters import Key, Meters
    from nexus_supervisor.core.options import LivenessSettings
    from nexus_supervisor.core.readings import Reading
    from nexus_supervisor.core.roster import Process

__all__ = ["Liveness", "Silence", "reading_seconds"]

_READINGS = 4  # within the shortest time that counts
_SLOWEST_SECONDS, _FASTEST_SECONDS = 5.0, 0.1


class Silence(NamedTuple):
    """Hold how a worker was found, for how long it has been so, and how long is allowed.

    ``kind`` is ``stopped``, ``silent`` or ``request``.
    """

    kind: str
    seconds: float
    limit: float


def reading_seconds(settings: LivenessSettings) -> float:
    """Return how often workers have to be read to be judged in time."""
    bounds = [one for one in (settings.timeout_seconds, settings.max_request_seconds) if one]
    return max(_FASTEST_SECONDS, min([_SLOWEST_SECONDS, *(one / _READINGS for one in bounds)]))


class Liveness:
    """Judge the workers that serve, and end those that are taken for dead; ``strike`` tells the rollout of a loss."""

    def __init__(self, board: Board, meters: Meters, strike: Callable[[Process, str], None]) -> None:
        self._board, self._meters, self._strike = board, meters, strike
        self._endings: dict[Key, tuple[Callable[[Process, float], None], float]] = {}  # the next step, and when
        self._awaited: dict[str, float] = {}
        self._stopped: dict[Key, float] = {}
        self._judged: float | None = None

    def deadline(self) -> float | None:
        """Return when the next step is due."""
        return min((at for _, at in self._endings.values()), default=None)

    def drive(self, now: float) -> None:
        """Go on with what is being ended; judge what was read since the last time."""
        for key, (step, at) in list(self._endings.items()):
            process = self._board.roster.get(*key)
            if process is None or process.life is not Life.DRAINING:
                del self._endings[key]
            elif now >= at:
                step(process, now)
        if self._board.ending is None and self._meters.read_at != self._judged:
            self._judged = self._meters.read_at
            self._judge(now)

    # --- judging -------------------------------------------------------------------------------------------------

    def _judge(self, now: float) -> None:
        """End who is silent, no more at a time than may be missing."""
        readings = self._meters.newest
        self._note_stopped()
        found = [
            (process, silence)
            for process in self._board.roster.live()
            if process.key in readings and (silence := self._silence(process, readings[process.key])) is not None
        ]
        if not found:
            return
        most = self._board.settings.supervisor.rollout.max_parallel.of(max(1, len(self._board.roster.slots)))
        room = max(0, most - self._missing(now))
        for process, silence in found[:room]:
            self._board.announce(tending_says.silent(process, silence, len(found) - min(room, len(found))))
            self._end(process, silence, now)

    def _note_stopped(self) -> None:
        """Note since when a process is stopped, as far as that was seen without a gap."""
        at, steady = self._meters.read_at or 0.0, self._meters.steady_since
        before = self._stopped
        self._stopped = {
            key: max(before.get(key, at), steady) for key, one in self._meters.newest.items() if one.stopped
        }

    def _silence(self, process: Process, reading: Reading) -> Silence | None:
        """Return how a process is silent, or None where it isn't, or can't be judged."""
        at, settings = self._meters.read_at, self._board.settings.supervisor.liveness
        if process.life is not Life.READY or process.deadline != NEVER or at is None:
            return None
        since = max(self._meters.steady_since, process.ready_since or at)
        stopped = self._stopped.get(process.key)
        timeout, longest = settings.timeout_seconds, settings.max_request_seconds
        if timeout and stopped is not None and at - max(since, stopped) >= timeout:
            return Silence("stopped", at - stopped, timeout)
        if timeout and reading.alive is not None and at - max(since, reading.alive) >= timeout:
            return Silence("silent" if stopped is None else "stopped", at - reading.alive, timeout)
        if longest and reading.waiting_since is not None and at - max(since, reading.waiting_since) >= longest:
            return Silence("request" if stopped is None else "stopped", at - reading.waiting_since, longest)
        return None

    def _missing(self, now: float) -> int:
        """Return how many slots wait for the process that takes the place of a silent one, as long as it may take."""
        roster = self._board.roster
        serving = {one.slot for one in roster.live() if one.life is Life.READY}
        self._awaited = {
            slot: until
            for slot, until in self._awaited.items()
            if slot in roster.slots and slot not in serving and now < until and not roster.slots[slot].failed
        }
        return len(self._awaited)

    # --- ending --------------------------------------------------------------------------------------------------

    def _end(self, process: Process, silence: Silence, now: float) -> None:
        """Cut a process off: its slot is free for another one, and the first step is taken at once."""
        settings = self._board.settings.supervisor
        self._strike(process, f"{process.slot} was ended on it: {tending_says.why(silence)}")
        self._board.roster.word(process, Word.DRAIN, NEVER)
        cut = replace(self._board.roster.processes[process.key], fenced=True)
        self._board.roster.put(cut)
        self._awaited[process.slot] = now + settings.rollout.start_timeout_seconds
        if silence.kind != "stopped" and settings.liveness.dump_seconds:
            self._board.emit(Dump(process.slot, process.incarnation))
            self._endings[process.key] = self._terminate, now + settings.liveness.dump_seconds
        else:
            self._terminate(cut, now)

    def _terminate(self, process: Process, now: float) -> None:
        seconds = self._board.settings.supervisor.liveness.term_seconds
        if seconds:
            self._board.emit(Terminate(process.slot, process.incarnation))
            self._endings[process.key] = self._kill, now + seconds
        else:
            self._kill(process, now)

    def _kill(self, process: Process, _: float) -> None:
        self._endings.pop(process.key, None)
        self._board.kill([process])
