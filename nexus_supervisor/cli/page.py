"""A page: labelled facts, a table and notes, as pure text.

Decided here: how cells become aligned lines. Not decided here: what is on a page (``render.py``, ``worker_table.py``)
and colors (``terminal.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LEFT", "Cell", "Page", "aligned", "plain"]

_GAP = "  "

LEFT = frozenset({"SLOT", "STATE", "LAST EXIT"})
"""The columns of words; all others hold figures, and stand at the right."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Hold a piece of safe text and its tone: ``good``, ``warn``, ``bad`` or none."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Hold what is shown: labelled facts, then one table, then notes to it."""

    facts: tuple[tuple[str, Cell], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[Cell, ...] = ()


def plain(page: Page) -> str:
    """Return a page as aligned plain text."""
    width = max((len(label) for label, _ in page.facts), default=0)
    parts = [
        [f"{label:<{width}}{_GAP}{cell.text}" for label, cell in page.facts],
        [_GAP.join(cell.text for cell in row) for row in aligned(page)],
        [note.text for note in page.notes],
    ]
    return "\n".join("".join(f"{line.rstrip()}\n" for line in part) for part in parts if part)


def aligned(page: Page) -> list[tuple[Cell, ...]]:
    """Return the table with its head, each cell as wide as its column."""
    table = [tuple(Cell(column) for column in page.columns), *page.rows]
    widths = [max(len(row[index].text) for row in table) for index in range(len(page.columns))]
    return [
        tuple(
            Cell(cell.text.ljust(width) if column in LEFT else cell.text.rjust(width), cell.tone)
            for cell, width, column in zip(row, widths, page.columns, strict=True)
        )
        for row in table
    ]
