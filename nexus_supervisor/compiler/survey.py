"""Surveys: the files of all sections, compared with what was read before.

Decided here: which files are read again, and when a directory as a whole can't be used. Not decided here: what a file
is (``sheets.py``) and whether entries fit together (``crosscheck.py``).

A file whose identity is known is neither read nor parsed again. A directory that changes while it is listed and read is
gone through again, so that a rename is never seen as two files or as none.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nexus_supervisor.compiler.reading import Identity, TroubleError, VanishedError
from nexus_supervisor.compiler.sheets import SheetMaker, broken
from nexus_supervisor.compiler.shelf import Shelf
from nexus_supervisor.compiler.tree import is_entry
from nexus_supervisor.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexus_supervisor.compiler.sheets import Item, Sheet
    from nexus_supervisor.compiler.tree import Folder, Tree
    from nexus_supervisor.core.options import LimitSettings
    from nexus_supervisor.core.sections import SectionSpec
    from nexus_supervisor.models.loading import EntryModel
    from nexus_supervisor.models.secrets import Origins

__all__ = ["SectionSurvey", "Survey"]

_ATTEMPTS = 3


@dataclass(slots=True)
class _Budget:
    """Count what one look may still take from the directory."""

    files: int
    total_bytes: int


class SectionSurvey:
    """Keep the shelf of one section up to date with its files."""

    def __init__(self, spec: SectionSpec, model: EntryModel, origins: Origins, limits: LimitSettings) -> None:
        self.shelf = Shelf(spec)
        self.trouble: Problem | None = None
        self.parsed = 0
        self._folder, _, self._file = spec.files.rpartition("/")
        self._limits = limits
        self._maker = SheetMaker(spec, model, origins, limits)
        self._known: dict[str, Identity] = {}
        self._doubted: set[str] = set()
        self._complete = False

    def look(self, tree: Tree, hints: Iterable[str] | None, budget: _Budget) -> None:
        """Bring the shelf up to date; ``hints`` are paths that may have changed, None means all."""
        self.parsed = 0
        names = self._hinted(hints) if self._complete else None
        if names is None:
            self._doubt_secrets()
        try:
            self._look(tree, names, budget)
        except TroubleError as trouble:
            where = (self._folder or ".") if self._file == "*.toml" else self.shelf.spec.files
            self.trouble = Problem(where, 0, "", trouble.code, trouble.message)
        else:
            self.trouble = None
        self._complete = self.shelf.whole = self.trouble is None
        self._doubted.clear()
        self.shelf.settle()

    def _look(self, tree: Tree, names: frozenset[str] | None, budget: _Budget) -> None:
        for attempt in range(_ATTEMPTS):
            folder = tree.folder(self._folder, fresh=attempt > 0 and bool(self._folder))
            before = folder.stamp
            try:
                self._take(folder, names, budget)
            except VanishedError:
                continue
            if not tree.folder("").current:
                break
            if folder.stamp == before and folder.current:
                self._check_entries()
                return
        message = "the directory changed while it was read: it is taken when it stays the same"
        raise TroubleError(message, "unstable")

    def _take(self, folder: Folder, names: frozenset[str] | None, budget: _Budget) -> None:
        """Take every file that is there and may have changed, and drop those that are gone."""
        if names is None and self._file == "*.toml":
            listing = folder.listing()
            self._check_budget(listing, budget)
            absent = self.shelf.sheets.keys() - {self._path(name) for name in listing}
        else:
            wanted = names if names is not None and self._file == "*.toml" else frozenset({self._file})
            looked_up = {name: folder.look_up(name) for name in sorted(wanted)}
            listing = {name: found for name, found in looked_up.items() if found is not None}
            absent = {self._path(name) for name, found in looked_up.items() if found is None}
        for path in absent:
            self.shelf.drop(path)
            self._known.pop(path, None)
        for name in sorted(listing):
            self._take_file(folder, name, listing[name])

    def _take_file(self, folder: Folder, name: str, found: Identity | TroubleError) -> None:
        path = self._path(name)
        if isinstance(found, TroubleError):
            self._put(broken(path, found), None)
        elif self._known.get(path) != found:
            try:
                reading = folder.read(name, self._limits.max_file_bytes)
            except TroubleError as trouble:
                self._put(broken(path, trouble), None)
            else:
                self._put(self._sheet(path, reading.raw), reading.identity if reading.settled else None)

    def _sheet(self, path: str, raw: bytes) -> Sheet:
        """Return the sheet of what was read: the one that is there, where the bytes are the same."""
        digest = hashlib.sha256(raw).digest()
        old = self.shelf.sheets.get(path)
        if old is not None and old.raw_digest == digest and path not in self._doubted:
            return old
        self.parsed += 1
        return self._maker.sheet(path, raw, digest, old)

    def _put(self, sheet: Sheet, identity: Identity | None) -> None:
        if self.shelf.sheets.get(sheet.path) is not sheet:
            self.shelf.put(sheet)
        if identity is None:
            self._known.pop(sheet.path, None)
        else:
            self._known[sheet.path] = identity

    def _doubt_secrets(self) -> None:
        """Doubt the files whose secrets may lead to another value now, or to one at last: they are compiled again."""
        for path, sheet in self.shelf.sheets.items():
            if any(problem.code == "secret" for problem in sheet.problems) or self._maker.secrets_moved(sheet.files):
                self._doubted.add(path)
                self._known.pop(path, None)

    def _hinted(self, hints: Iterable[str] | None) -> frozenset[str] | None:
        """Return the names of the section that hints name; None where they may mean any of them."""
        if hints is None:
            return None
        names: set[str] = set()
        for hint in hints:
            path = PurePosixPath(hint)
            if hint in {"", ".", self._folder}:
                return None
            if str(path.parent) == (self._folder or "."):
                if not is_entry(path.name) and path.name.startswith(".."):
                    return None
                names.add(path.name)
        return frozenset(name for name in names if is_entry(name))

    def _check_budget(self, listing: dict[str, Identity | TroubleError], budget: _Budget) -> None:
        """Raise TroubleError where the files are too many or too large together; nothing was read yet.

        One that is too large by itself is never read, so it is refused alone and costs the others nothing.
        """
        sizes = (found.size for found in listing.values() if isinstance(found, Identity))
        size = sum(one for one in sizes if one <= self._limits.max_file_bytes)
        for found, most, words in (
            (len(listing), budget.files, "files beside those of other sections (supervisor.limits.max_files)"),
            (size, budget.total_bytes, "bytes beside those of other sections (supervisor.limits.max_total_bytes)"),
        ):
            if found > most:
                message = f"expected at most {most} {words}, found {found}"
                raise TroubleError(message, "limit")
        budget.files -= len(listing)
        budget.total_bytes -= size

    def _check_entries(self) -> None:
        """Raise TroubleError where the files hold too many entries."""
        if (found := self.shelf.count) > (most := self._limits.max_entries):
            message = f"expected at most {most} entries here (supervisor.limits.max_entries), found {found}"
            raise TroubleError(message, "limit")

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}" if self._folder else name


class Survey:
    """Keep the shelves of all sections of one declaration up to date."""

    def __init__(self, sections: dict[SectionSpec, EntryModel], origins: Origins, limits: LimitSettings) -> None:
        self.limits = limits
        self.sections = {spec.name: SectionSurvey(spec, model, origins, limits) for spec, model in sections.items()}
        self.models = {spec.name: model for spec, model in sections.items()}

    def look(self, tree: Tree, hints: Iterable[str] | None) -> None:
        """Bring every section up to date."""
        budget = _Budget(self.limits.max_files, self.limits.max_total_bytes)
        for section in self.sections.values():
            section.look(tree, hints, budget)

    def fresh_items(self, section: str) -> dict[str, Item]:
        """Return the good entries of a section's files by name."""
        sheets = self.sections[section].shelf.sheets.values() if section in self.sections else ()
        return {item.entry.name: item for sheet in sheets for item in sheet.items if item.entry is not None}

    @property
    def secrets(self) -> dict[str, str]:
        """Return the values, by digest, of every secret in the files that travels."""
        found: dict[str, str] = {}
        for shelf in self.shelves.values():
            for place in shelf.with_secrets:
                found.update(shelf.item(place).secrets)
        return found

    @property
    def environment(self) -> frozenset[str]:
        """Return the names of the environment variables that the files refer to."""
        return frozenset().union(*(shelf.environment for shelf in self.shelves.values()))

    @property
    def shelves(self) -> dict[str, Shelf]:
        """Return the shelves by the name of their section."""
        return {name: section.shelf for name, section in self.sections.items()}

    @property
    def files(self) -> int:
        """Return how many files there are."""
        return sum(len(shelf.sheets) for shelf in self.shelves.values())

    @property
    def parsed(self) -> int:
        """Return how many files were parsed in the last look."""
        return sum(section.parsed for section in self.sections.values())

    @property
    def problems(self) -> list[Problem]:
        """Return the problems of every section that can't be used and of every file."""
        found: list[Problem] = []
        for section in self.sections.values():
            if section.trouble is not None:
                found.append(section.trouble)  # what was read before it can't be relied on
                continue
            for path in section.shelf.broken:
                found += section.shelf.sheets[path].problems
        return found
