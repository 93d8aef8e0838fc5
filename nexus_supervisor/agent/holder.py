"""The holder: which snapshot is current, and which older ones requests still use.

Decided here: the swap, and exactly when a version is retired. Not decided here: who is told (``parent.py``).

A swap is one assignment. A pin takes no lock: it reads the current generation, registers a cell with it and reads
again; where the two differ, a swap came between, and it starts over (the idea of hazard pointers). After a swap no
registration with the old generation becomes a pin any more, so whoever finds it without pins (the swap, or the last
release) knows that it is retired. To share a pin is the same: register, then look whether the other cell still has its
own, which it empties before it gives the pin back. Storing and popping a key of a dict are single steps for all
threads; whoever pops a cell's registration is the one who has given that pin back.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from nexus_supervisor.core.content import Version
from nexus_supervisor.errors import NoSnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.core.snapshot import Snapshot

__all__ = ["Cell", "Generation", "Holder", "Oldest"]


class Generation:
    """Hold one snapshot, the cells that pin it, and when a newer one took its place (monotonic seconds)."""

    __slots__ = ("__weakref__", "pins", "replaced_at", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.pins: dict[Cell, bool] = {}
        self.replaced_at: float | None = None


class Cell:
    """Hold what one request pinned; emptied at its end, so that whoever keeps the cell keeps no snapshot."""

    __slots__ = ("generation", "holder")

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        self.generation: Generation | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """Return the snapshot that is pinned, or None where none is."""
        generation = self.generation
        return None if generation is None else generation.snapshot

    @property
    def replaced_at(self) -> float | None:
        """Return since when the pinned snapshot isn't the newest any more (monotonic seconds); None where it is."""
        generation = self.generation
        return None if generation is None else generation.replaced_at

    @property
    def waiting_since(self) -> float | None:
        """Return since when somebody waits for what this is pinned for (monotonic seconds); None where nobody does."""
        return None


class Oldest(NamedTuple):
    """Name the oldest version in use; ``replaced_at`` is when a newer one took its place, None where none has."""

    version: Version
    replaced_at: float | None


class Holder:
    """Hold the current generation; ``released`` is called by the request that was the last one on an older version."""

    def __init__(self, released: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._current: Generation | None = None
        self._older: list[Generation] = []
        self._ordering, self._renewing = Lock(), Lock()
        self._released, self._clock = released, clock

    @classmethod
    def of(cls, snapshot: Snapshot) -> Holder:
        """Return a holder of one snapshot made by hand, which tells nobody when it is given back."""
        holder = cls(lambda: None)
        holder.swap(snapshot)
        return holder

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
            generation.pins[cell] = True
            if self._current is generation:
                cell.generation = generation
                return generation.snapshot
            self._drop(generation, cell)

    def shared(self, other: Cell) -> Cell | None:
        """Return a new cell that pins what another one pins, or None where that was given back meanwhile."""
        generation = other.generation
        if generation is None:
            return None
        cell = Cell(self)
        generation.pins[cell] = True
        if other.generation is generation:
            cell.generation = generation
            return cell
        self._drop(generation, cell)
        return None

    def renew(self, cell: Cell) -> Snapshot | None:
        """Pin the current snapshot instead of the one that a cell pins; return None for an empty cell.

        The new pin is there before the old one goes. The cell may be released meanwhile: then nothing stays pinned.
        """
        with self._renewing:
            before = cell.generation
            if before is None:
                return None
            while (after := self._current) is not None and after is not before:
                after.pins[cell] = True
                if self._current is after:
                    self._move(cell, before, after)
                    return after.snapshot
                self._drop(after, cell)
            return before.snapshot

    def _move(self, cell: Cell, before: Generation, after: Generation) -> None:
        """Give back what a cell pinned before, for what it is registered with now; or both, where it was released."""
        cell.generation = after
        if not self._drop(before, cell):
            cell.generation = None
            self._drop(after, cell)

    def release(self, cell: Cell) -> None:
        """Give a pin back and empty its cell; nothing happens for an empty cell."""
        generation = cell.generation
        if generation is None:
            return
        cell.generation = None
        if not generation.pins.pop(cell, False):  # as ``_drop``, without a call for each request
            self._release_renewed(cell)
        elif not generation.pins and generation is not self._current:
            self._released()

    def _release_renewed(self, cell: Cell) -> None:
        """Release a cell that was renewed in the very moment of its release."""
        with self._renewing:
            cell.generation = None
            with self._ordering:
                held = self._held()
            for generation in held:
                self._drop(generation, cell)

    def swap(self, snapshot: Snapshot) -> None:
        """Make a snapshot current: requests that begin from now on get it."""
        generation = Generation(snapshot)
        with self._ordering:
            if self._current is not None:
                self._current.replaced_at = self._clock()
                self._older.append(self._current)
            self._current = generation

    def oldest(self) -> Oldest | None:
        """Return the oldest version that a request still uses, or the current one where none is older."""
        with self._ordering:
            used = (generation for generation in self._older if generation.pins)
            oldest = next(used, self._current)
            return None if oldest is None else Oldest(oldest.snapshot.version, oldest.replaced_at)

    def cells(self, replaced_before: float | None = None) -> list[Cell]:
        """Return the cells that pin something; with a moment, only those of what was replaced before it."""
        with self._ordering:
            held = self._held()
        if replaced_before is not None:
            held = [one for one in held if one.replaced_at is not None and one.replaced_at < replaced_before]
        return [cell for generation in held for cell in list(generation.pins)]

    def waiting_since(self) -> float | None:
        """Return since when somebody waits for an answer, of all who wait the longest; None where nobody does."""
        waiting = (cell.waiting_since for cell in self.cells())
        return min((since for since in waiting if since is not None), default=None)

    def forget(self) -> list[Snapshot]:
        """Forget the older snapshots that nobody uses any more, and return them: each is retired, once."""
        with self._ordering:
            older, self._older = self._older, []
            retired = []
            for generation in older:
                if generation.pins:
                    self._older.append(generation)
                else:
                    retired.append(generation.snapshot)
            return retired

    def everything(self) -> list[Snapshot]:
        """Forget the older snapshots, used or not, and return them and the current one, the oldest first."""
        with self._ordering:
            held = self._held()
            self._older = []
            return [generation.snapshot for generation in held]

    def _held(self) -> list[Generation]:
        return [*self._older] if self._current is None else [*self._older, self._current]

    def _drop(self, generation: Generation, cell: Cell) -> bool:
        """Take a registration away; return whether it was there."""
        if not generation.pins.pop(cell, False):
            return False
        if not generation.pins and generation is not self._current:
            self._released()
        return True
