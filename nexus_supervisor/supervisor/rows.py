"""The shared counters as the supervisor sees them: who has which row and which column.

Decided here: a row for each entry of a live section for as long as any kept content has it, a column for each process.
Not decided here: the layout (``core/cells.py``) and what is counted (``agent/shared.py``).
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Self

from nexus_supervisor.core.cells import COMPLETE, WORD_BYTES, Layout, Totals
from nexus_supervisor.core.handover import HandedColumn, HandedRows
from nexus_supervisor.core.readings import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Rows"]


class Rows:
    """Hold the memory of the counters, the rows of entries and the columns of processes."""

    def __init__(self, rows: int, columns: int, descriptor: int | None = None) -> None:
        """Make the memory, or map that of ``descriptor``, which is ours from now on."""
        self.layout = Layout(rows, columns)
        self.descriptor = _made(self.layout.size_bytes) if descriptor is None else descriptor
        self._words = memoryview(mmap.mmap(self.descriptor, self.layout.size_bytes)).cast("B").cast("Q")
        self._rows: dict[tuple[str, str], int] = {}
        self._free: list[int] = []
        self._columns: dict[tuple[str, int], int] = {}

    @classmethod
    def resumed(cls, handed: HandedRows) -> Self:
        """Go on counting where another one was."""
        rows = cls(handed.rows, handed.columns, handed.descriptor)
        rows._rows = {(section, name): row for section, taken in handed.taken.items() for name, row in taken.items()}
        rows._free = list(handed.free)
        rows._columns = {(one.slot, one.incarnation): one.column for one in handed.processes}
        return rows

    def handed(self) -> HandedRows:
        """Return what another one needs to go on counting."""
        taken: dict[str, dict[str, int]] = {}
        for (section, name), row in self._rows.items():
            taken.setdefault(section, {})[name] = row
        processes = tuple(HandedColumn(*key, column) for key, column in self._columns.items())
        return HandedRows(self.descriptor, self.layout.rows, self.layout.slots, taken, tuple(self._free), processes)

    def row(self, section: str, name: str) -> int | None:
        """Return the row of an entry, a new one where it has none; None where no row is left."""
        key = (section, name)
        found = self._rows.get(key)
        if found is None and (self._free or len(self._rows) < self.layout.rows):
            found = self._free.pop() if self._free else len(self._rows)
            self._rows[key] = found
        return found

    def drop(self, gone: Iterable[tuple[str, str]]) -> None:
        """Free the rows of entries that no kept content has, and clear what they counted."""
        for key in gone:
            row = self._rows.pop(key, None)
            if row is not None:
                start, end = self.layout.cell(row, 0), self.layout.cell(row, self.layout.slots - 1) + 4
                for word in range(start, end):
                    self._words[word] = 0
                self._free.append(row)

    def column(self, process: tuple[str, int]) -> int:
        """Return an empty column for a new process; raise IndexError where more run than were foreseen."""
        free = set(range(self.layout.slots)) - set(self._columns.values())
        if not free:
            message = f"the counters have room for {self.layout.slots} processes at a time: stop and run to have more"
            raise IndexError(message)
        column = self._columns[process] = min(free)
        block = self.layout.whole_block(column)
        self._words[block] = memoryview(bytes(WORD_BYTES * (block.stop - block.start))).cast("Q")
        return column

    def leave(self, process: tuple[str, int]) -> None:
        """Give back the column of a process that is gone; what it counted for entries stays in their sums."""
        self._columns.pop(process, None)

    def totals(self, process: tuple[str, int]) -> Totals:
        """Return what a process has counted since it started."""
        column = self._columns.get(process)
        return Totals(0, 0, 0) if column is None else self.layout.totals(self._words, column)

    def reading(self, process: tuple[str, int]) -> Reading:
        """Return what a process has counted on its newest version; the size of its memory isn't known here."""
        column = self._columns.get(process)
        return Reading() if column is None else self.layout.reading(self._words, column)

    def complete(self, version: int) -> None:
        """Let every worker see that this version is complete on disk."""
        self._words[COMPLETE] = version

    def close(self) -> None:
        """Close the descriptor; workers that map the memory keep it."""
        os.close(self.descriptor)


def _made(size_bytes: int) -> int:
    descriptor = os.memfd_create("nexus-counters", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes)
    # a worker that shortened it would end every process that looks at what is gone, by SIGBUS
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor
