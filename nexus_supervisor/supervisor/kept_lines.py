"""The newest lines that workers wrote, for those who ask for them or follow.

Decided here: how many lines are kept of each slot, and what a follower gets. Not decided here: where lines come from
(``capture.py``) and how they are shown (``cli/logs.py``).

Lines come from the thread that reads them, followers from the loop; followers are called in the loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from nexus_supervisor.core.control import OutputLine

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

__all__ = ["KeptLines"]

MAX_KEPT_BYTES = 32 << 20
"""What all kept lines may weigh together; the slot that holds the most loses its oldest."""

MAX_KEPT_SLOTS = 2_048
"""Slots of which something is kept: settings may give them other names again and again."""

MAX_UNDELIVERED = 10_000
"""Lines that wait for the loop to hand them to followers; more are dropped, counted and told."""

_LINE_WEIGHT = 300
"""What a line weighs beside its text."""


@dataclass(frozen=True, slots=True)
class _Follower:
    """Hold who wants the lines of a slot (empty: of all) with a higher number than ``since``."""

    slot: str
    since: int
    deliver: Callable[[OutputLine], None]


class KeptLines:
    """Keep lines by slot, ``bound`` of each at most, and deliver new ones to followers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bound: int) -> None:
        self._loop, self._bound = loop, bound
        self._changing = threading.Lock()
        self._slots: dict[str, _Kept] = {}
        self._weight = self._number = self._lost = 0
        self._followers: list[_Follower] = []
        self._fresh: deque[tuple[int, OutputLine]] = deque()

    def keep(self, bound: int) -> None:
        """Keep so many lines of each slot from now on."""
        with self._changing:
            self._bound = bound
            for slot in tuple(self._slots):
                self._shorten(slot, bound)

    @property
    def slots(self) -> frozenset[str]:
        """Return the slots of which lines are kept."""
        with self._changing:
            return frozenset(self._slots)

    def add(self, lines: Sequence[OutputLine]) -> None:
        """Keep lines, and have them delivered; called by the thread that reads."""
        with self._changing:
            delivering = bool(self._fresh)
            for line in lines:
                self._number += 1
                self._add(line)
                if self._followers and len(self._fresh) < MAX_UNDELIVERED:
                    self._fresh.append((self._number, line))
                elif self._followers:
                    self._lost += 1
            if self._fresh and not delivering and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._deliver)

    def follow(self, slot: str, lines: int, deliver: Callable[[OutputLine], None]) -> Callable[[], None]:
        """Deliver the newest kept lines of a slot (empty: of all), then each new one; return how to stop that."""
        with self._changing:
            held = chain.from_iterable(kept.lines for name, kept in self._slots.items() if slot in ("", name))
            newest = sorted(held, key=lambda numbered: numbered[0])
            follower = _Follower(slot, self._number, deliver)
            self._followers.append(follower)
        for _, line in newest[max(0, len(newest) - lines) :]:
            deliver(line)
        return lambda: self._forget(follower)

    def _add(self, line: OutputLine) -> None:
        kept = self._slots.setdefault(line.slot, _Kept())
        kept.lines.append((self._number, line))
        kept.weight += _weight(line)
        self._weight += _weight(line)
        self._shorten(line.slot, self._bound)
        while self._weight > MAX_KEPT_BYTES:
            heaviest = max(self._slots, key=lambda name: self._slots[name].weight)
            self._shorten(heaviest, len(self._slots[heaviest].lines) - 1)
        while len(self._slots) > MAX_KEPT_SLOTS:
            self._shorten(min(self._slots, key=lambda name: self._slots[name].lines[-1][0]), 0)

    def _shorten(self, slot: str, bound: int) -> None:
        """Drop the oldest lines of a slot until no more than ``bound`` are left; forget a slot without any."""
        kept = self._slots[slot]
        while len(kept.lines) > bound:
            weight = _weight(kept.lines.popleft()[1])
            kept.weight -= weight
            self._weight -= weight
        if not kept.lines:
            del self._slots[slot]

    def _deliver(self) -> None:
        """Hand what is new to those who follow; called in the loop."""
        with self._changing:
            fresh, self._fresh = self._fresh, deque()
            followers, lost, self._lost = tuple(self._followers), self._lost, 0
        for number, line in fresh:
            for one in followers:
                if number > one.since and one.slot in ("", line.slot):
                    one.deliver(line)
        if lost and fresh:
            text = f"{lost} lines are missing here: they came faster than they could be handed on"
            missing = OutputLine("", 0, 0, "missing", fresh[-1][1].at, text)
            for one in followers:
                one.deliver(missing)

    def _forget(self, follower: _Follower) -> None:
        with self._changing:
            if follower in self._followers:
                self._followers.remove(follower)


class _Kept:
    """Hold the numbered lines of one slot, and what they weigh."""

    def __init__(self) -> None:
        self.lines: deque[tuple[int, OutputLine]] = deque()
        self.weight = 0


def _weight(line: OutputLine) -> int:
    return len(line.text) + _LINE_WEIGHT
