"""Lines of keys in files that were read before: looked up again only when a problem has to be shown.

Decided here: that a line is told only of the very bytes that were judged. Not decided here: where lines are in a text
(``positions.py``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nexus_supervisor.compiler.positions import Positions, positions
from nexus_supervisor.compiler.reading import TroubleError, VanishedError
from nexus_supervisor.compiler.sheets import dotted
from nexus_supervisor.compiler.tree import shown
from nexus_supervisor.core.problems import Problem

if TYPE_CHECKING:
    from nexus_supervisor.compiler.survey import Survey
    from nexus_supervisor.compiler.tree import Tree
    from nexus_supervisor.models.mistakes import Path

__all__ = ["Lines"]


class Lines:
    """Find the lines of keys during one look."""

    def __init__(self, tree: Tree, survey: Survey) -> None:
        self._tree, self._survey = tree, survey
        self._found: dict[str, Positions | None] = {}

    def line(self, path: str, key: Path) -> int:
        """Return the line of a key in a file, or 0 where the file is no longer what was judged."""
        if path not in self._found:
            self._found[path] = self._positions(path)
        found = self._found[path]
        return 0 if found is None else found.line(key)

    def problem(self, section: str, name: str, key: Path, code: str, message: str) -> Problem:
        """Return a problem about a key of an entry, with the file and line that write it where that is known."""
        shelf = self._survey.shelves.get(section)
        places = [] if shelf is None else shelf.names.places(name)
        if shelf is None or not places:
            text = ".".join(part for part in (shown(section), shown(name), dotted(key)) if part)
            return Problem("", 0, text, code, message)
        path, written = places[0][0], (*shelf.item(places[0]).place, *key)
        return Problem(shown(path), self.line(path, written), dotted(written), code, message)

    def _positions(self, path: str) -> Positions | None:
        judged = next((shelf.sheets[path] for shelf in self._survey.shelves.values() if path in shelf.sheets), None)
        folder, _, name = path.rpartition("/")
        try:
            raw = self._tree.folder(folder).read(name, self._survey.limits.max_file_bytes).raw
        except (TroubleError, VanishedError):
            return None
        if judged is None or hashlib.sha256(raw).digest() != judged.raw_digest:
            return None
        return positions(raw.decode("utf-8", "replace").replace("\r\n", "\n"))
