"""A search database for each version: made before the version is used, closed when no request uses it any more."""

from __future__ import annotations

import sqlite3
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexus_supervisor import Snapshot


class Search:
    """Find quotes; one connection in memory, one query at a time."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._kind = snapshot.site["main"].search
        self._asking = Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute("CREATE TABLE quotes (id, text)")
        rows = [(name, f" {quote.text.lower()} ") for name, quote in snapshot.quotes.items()]
        self._database.executemany("INSERT INTO quotes VALUES (?, ?)", rows)

    def find(self, text: str, most: int) -> list[str]:
        """Return the ids of at most so many quotes that have the words, or anything of this spelling."""
        wanted = f" {text.lower()} " if self._kind == "words" else text.lower()
        with self._asking:
            found = self._database.execute(
                "SELECT id FROM quotes WHERE instr(text, ?) ORDER BY id LIMIT ?", (wanted, most)
            )
            return [name for (name,) in found]

    def close(self) -> None:
        """Give the memory back."""
        self._database.close()


def prepare(snapshot: Snapshot) -> Search:
    """Make the database of a version; it is ``snapshot.derived`` before the first request asks."""
    return Search(snapshot)


def retired(old: Snapshot) -> None:
    """Close the database of a version that no request uses any more."""
    old.derived.close()
