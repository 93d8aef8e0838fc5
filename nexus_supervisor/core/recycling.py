"""Recycling: healthy workers that are replaced by fresh ones, because of their age, their requests or their memory.

Decided here: who is due, who goes when, and when it would help nothing. Not decided here: how one is replaced without a
gap (``roster.py``, ``crew.py``: it serves until another process of its slot is ready).

Each worker draws by how much its bounds are lower, so that workers that were started together don't go together. At
most one of a program goes at a time, none while a version is on its way, and none where fewer are ready than should
stay so. A bound on memory that a fresh worker is over before its first request, or comes to again and again right
after its start, would have workers replaced for ever: it is told once, and passed over until it is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexus_supervisor.core import tending_says
from nexus_supervisor.core.lifecycle import Life

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.meters import Key, Meters
    from nexus_supervisor.core.programs import Program
    from nexus_supervisor.core.readings import Reading
    from nexus_supervisor.core.roster import Process

__all__ = ["Recycling", "Wear"]

_MEGABYTE = 1 << 20
_MEMORY = "max_rss_mb"
_SOON_SECONDS = 60.0
_SOON_TIMES = 3
"""So many workers of a program in a row that come to the bound on memory so soon come to it whatever is done."""


class Wear(NamedTuple):
    """Hold why a worker is due: the setting, and a clause for people."""

    key: str
    text: str


class Recycling:
    """Have workers replaced that are due, one at a time; ``jitter`` is a random number from 0.5 to 1.5."""

    def __init__(self, board: Board, meters: Meters, jitter: Callable[[], float]) -> None:
        self._board, self._meters, self._jitter = board, meters, jitter
        self._judged: float | None = None
        self._fresh: dict[Key, tuple[float, int]] = {}  # what each drew, and the memory that no request has caused
        self._soon: dict[str, int] = {}
        self._useless: dict[str, float] = {}

    def drive(self, now: float) -> None:
        """Look at what was read since the last time."""
        if self._meters.read_at == self._judged:
            return
        self._judged = self._meters.read_at
        self._note_fresh()
        board = self._board
        if board.ending is None and board.rollout is None and board.waiting is None:
            for program in board.settings.programs:
                self._recycle(program, now)

    def _note_fresh(self) -> None:
        """Note who is read for the first time since it serves."""
        readings, before = self._meters.newest, self._fresh
        ready = [one.key for one in self._board.roster.live() if one.life is Life.READY and one.key in readings]
        self._fresh = {key: before.get(key) or (self._jitter() - 0.5, _untouched(readings[key])) for key in ready}

    def _recycle(self, program: Program, now: float) -> None:
        """Have the one that is due, and has served the longest, replaced."""
        processes = [one for one in self._board.roster.processes.values() if one.program == program.name]
        if not self._may(program, processes):
            return
        for process in sorted(processes, key=lambda one: one.ready_since or now):
            wear = self._wear(process, now)
            if wear is None:
                continue
            if wear.key == _MEMORY and self._is_useless(program.name, process, now):
                self._board.announce(tending_says.useless(process, wear, program.name))
                continue
            self._board.announce(tending_says.recycled(process, wear))
            self._board.roster.leave(process)
            return

    def _may(self, program: Program, processes: Sequence[Process]) -> bool:
        """Say whether one may go: nobody else is on the way, and enough are ready."""
        slots = sum(1 for slot in self._board.roster.slots.values() if slot.program == program.name)
        calm = all(one.life is Life.READY and not one.leaving for one in processes)
        return calm and slots > 0 and len(processes) >= program.min_ready.of(slots)

    def _wear(self, process: Process, now: float) -> Wear | None:
        """Return why a worker is due, if it is."""
        reading, fresh = self._meters.newest.get(process.key), self._fresh.get(process.key)
        if reading is None or fresh is None or process.ready_since is None:
            return None
        bounds = self._board.settings.supervisor.recycle
        part = 1.0 - bounds.jitter * fresh[0]
        age = now - process.ready_since
        if bounds.max_age_seconds and age >= bounds.max_age_seconds * part:
            return _worn("max_age_seconds", f"it has served for {age:.0f} s", bounds.max_age_seconds)
        if bounds.max_requests and reading.total >= bounds.max_requests * part:
            return _worn("max_requests", f"it has begun {reading.total} requests", bounds.max_requests)
        if self._is_heavy(process, reading, part):
            text = f"it has {reading.rss_bytes / _MEGABYTE:.0f} MB of memory"
            return _worn(_MEMORY, text, bounds.max_rss_mb)
        return None

    def _is_heavy(self, process: Process, reading: Reading, part: float) -> bool:
        most = self._board.settings.supervisor.recycle.max_rss_mb
        return 0 < most * part * _MEGABYTE <= reading.rss_bytes and self._useless.get(process.program) != most

    def _is_useless(self, program: str, process: Process, now: float) -> bool:
        """Say whether a fresh worker would have as much memory soon; note that, so that the bound is passed over."""
        bounds, (drawn, first) = self._board.settings.supervisor.recycle, self._fresh[process.key]
        soon = now - (process.ready_since or now) < _SOON_SECONDS
        self._soon[program] = self._soon.get(program, 0) + 1 if soon else 0
        at_once = first >= bounds.max_rss_mb * (1.0 - bounds.jitter * drawn) * _MEGABYTE
        if not at_once and self._soon[program] < _SOON_TIMES:
            return False
        self._useless[program], self._soon[program] = bounds.max_rss_mb, 0
        return True


def _untouched(reading: Reading) -> int:
    """Return the memory of a worker that has begun no request yet; 0 where requests may have caused it."""
    return 0 if reading.total else reading.rss_bytes


def _worn(key: str, found: str, bound: float) -> Wear:
    return Wear(key, f"{found}, and supervisor.recycle.{key} is {bound:g}")
