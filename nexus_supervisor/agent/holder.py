"""The holder: which snapshot is current, and which older ones requests still use.

Decided here: the swap, and exactly when a version is retired. Not decided here: who is told (``parent.py``).

A swap is one assignment. A pin takes no lock: it reads the current generation, registers a cell with it and reads
again; where the two differ, a swap came between, and it starts over (the idea of hazard pointers). After a swap no
registration with the old generation becomes a pin any more, so whoever finds it without pins (the swap, or the last
release) knows that it is retired. Storing and deleting a key of a dict are single steps for all threads.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from nexus_supervisor.errors import NoSnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.core.content import Version
    from nexus_supervisor.core.snapshot import Snapshot

__all__ = ["Cell", "Generation", "Holder"]


class Generation:
    """Hold one snapshot and the cells that pin it."""

    __slots__ = ("__weakref__", "pins", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.pins: dict[Cell, None] = {}


class Cell:
    """Hold what one request pinned; emptied at its end, so that whoever keeps the cell keeps no snapshot."""

    __slots__ = ("generation",)

    def __init__(self) -> None:
        self.generation: Generation | None = None


class Holder:
    """Hold the current generation; ``released`` is called by the request that was the last one on an older version."""

    def __init__(self, released: Callable[[], None]) -> None:
        self._current: Generation | None = None
        self._older: list[Generation] = []
        self._ordering = Lock()
        self._released = released

    @property
    def current(self) -> Snapshot | None:
        """Return the newest snapshot without pinning it, or None before the first one."""
        generation = self._current
        return None if generation is None else generation.snapshot

    def pin(self, cell: Cell) -> Snapshot:
        """Pin the current snapshot with an empty cell, until the cell is released, and return it."""
        while True:
            generation = self._current
            if generation is None:
                message = "no version is active in this worker yet; wait for the first one before serving"
                raise NoSnapshotError(message)
            generation.pins[cell] = None
            if self._current is generation:
                cell.generation = generation
                return generation.snapshot
            self._drop(generation, cell)

    def release(self, cell: Cell) -> None:
        """Give a pin back and empty its cell; nothing happens for an empty cell."""
        generation = cell.generation
        if generation is not None:
            cell.generation = None
            self._drop(generation, cell)

    def swap(self, snapshot: Snapshot) -> None:
        """Make a snapshot current: requests that begin from now on get it."""
        generation = Generation(snapshot)
        with self._ordering:
            if self._current is not None:
                self._older.append(self._current)
            self._current = generation

    def oldest(self) -> Version | None:
        """Return the oldest version that a request still uses, or the current one where none is older.

        Generations that nobody uses any more are forgotten here.
        """
        with self._ordering:
            self._older = [generation for generation in self._older if generation.pins]
            if self._older:
                return self._older[0].snapshot.version
            return None if self._current is None else self._current.snapshot.version

    def _drop(self, generation: Generation, cell: Cell) -> None:
        del generation.pins[cell]
        if not generation.pins and generation is not self._current:
            self._released()
