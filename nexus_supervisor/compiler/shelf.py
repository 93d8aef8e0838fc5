"""Shelves: the sheets of one section, and the indexes that make a change of one file cheap.

Decided here: which entries a section's files give, who provides a name, and which entries no file has any more. Not
decided here: whether entries fit together (``crosscheck.py``), and when the files are read (``survey.py``).

A file that is broken or unstable keeps the entry that it held: a half-saved file must not revoke anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Generic, TypeVar

from nexus_supervisor.core.content import Entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nexus_supervisor.compiler.sheets import Sheet
    from nexus_supervisor.core.content import Entry
    from nexus_supervisor.core.sections import SectionSpec
    from nexus_supervisor.models.facts import Claim

__all__ = ["Index", "Shelf", "claim_key"]

ClaimKey = tuple[tuple[str, ...], str]

_REMEMBERED = 10_000
"""How many files that are gone are remembered beside as many as there are."""


T = TypeVar("T", bound=Hashable)


class Index(Generic[T]):
    """Know which paths have a thing, and which things more than one path has."""

    def __init__(self) -> None:
        self._paths: defaultdict[T, set[str]] = defaultdict(set)
        self.shared: set[T] = set()

    def add(self, thing: T, path: str) -> None:
        """Note that a path has the thing."""
        paths = self._paths[thing]
        paths.add(path)
        if len(paths) > 1:
            self.shared.add(thing)

    def discard(self, thing: T, path: str) -> None:
        """Note that a path doesn't have the thing any more."""
        paths = self._paths[thing]
        paths.discard(path)
        if len(paths) <= 1:
            self.shared.discard(thing)
        if not paths:
            del self._paths[thing]

    def paths(self, thing: T) -> frozenset[str]:
        """Return the paths that have the thing."""
        return frozenset(self._paths.get(thing, ()))

    def __contains__(self, thing: object) -> bool:
        return thing in self._paths

    def __iter__(self) -> Iterator[T]:
        return iter(self._paths)


def claim_key(claim: Claim) -> ClaimKey:
    """Return what two entries must not have in common: the field, without indexes, and its value."""
    return tuple(part for part in claim.path if isinstance(part, str)), claim.value


class Shelf:
    """Hold the sheets of one section."""

    def __init__(self, spec: SectionSpec) -> None:
        self.spec = spec
        self.whole = True
        self.sheets: dict[str, Sheet] = {}
        self.entries = Entries()
        self.names = Index[str]()
        self.claims = Index[ClaimKey]()
        self.references = Index[tuple[str, str]]()
        self.broken: set[str] = set()
        self.with_secrets: set[str] = set()
        self.environment: Counter[str] = Counter()
        self._held: dict[str, str] = {}
        self._touched: set[str] = set()

    @property
    def sure(self) -> bool:
        """Say whether every name that the section's files give is known."""
        return self.whole and all(self.sheets[path].name is not None for path in self.broken)

    def put(self, sheet: Sheet) -> None:
        """Put a sheet in the place of the one that its path had."""
        self._forget(sheet.path)
        self.sheets[sheet.path] = sheet
        if sheet.name is not None:
            self.names.add(sheet.name, sheet.path)
            self._touched.add(sheet.name)
        if sheet.entry is None:
            self.broken.add(sheet.path)
            return
        self._held[sheet.path] = sheet.entry.name
        for claim in sheet.facts.claims:
            self.claims.add(claim_key(claim), sheet.path)
        for reference in sheet.facts.references:
            self.references.add((reference.section, reference.name), sheet.path)
        if sheet.secrets:
            self.with_secrets.add(sheet.path)
        self.environment.update(sheet.environment)

    def drop(self, path: str) -> None:
        """Take away the sheet of a file that is gone.

        What it held is remembered: a file that is back but not whole yet holds that still.
        """
        self._forget(path)
        if len(self._held) > 2 * len(self.sheets) + _REMEMBERED:
            self._held = {held: name for held, name in self._held.items() if held in self.sheets}

    def settle(self) -> None:
        """Bring the entries up to date with the sheets that were put and dropped."""
        changed: list[Entry] = []
        removed: list[str] = []
        for name in self._touched:
            entry = self._entry(name)
            if entry is not None:
                changed.append(entry)
            elif name in self.entries:
                removed.append(name)
        self._touched.clear()
        if changed or removed:
            self.entries = self.entries.changed(changed, removed)

    def _entry(self, name: str) -> Entry | None:
        """Return the entry of a name that exactly one file provides."""
        paths = self.names.paths(name)
        return self.sheets[next(iter(paths))].entry if len(paths) == 1 else None

    def _forget(self, path: str) -> None:
        sheet = self.sheets.pop(path, None)
        if sheet is None:
            return
        if sheet.name is not None:
            self.names.discard(sheet.name, path)
            self._touched.add(sheet.name)
        for claim in sheet.facts.claims:
            self.claims.discard(claim_key(claim), path)
        for reference in sheet.facts.references:
            self.references.discard((reference.section, reference.name), path)
        self.broken.discard(path)
        self.with_secrets.discard(path)
        self.environment.subtract(sheet.environment)
        for name in sheet.environment:
            if not self.environment[name]:
                del self.environment[name]

    def gone(self, running: Entries) -> tuple[str, ...]:
        """Return the names of running entries that no file has any more, as far as that can be known."""
        return self._sorted_out(running)[0]

    def doubtful(self, running: Entries) -> tuple[str, ...]:
        """Return the names of running entries that only a file which can't be read may have: nobody can say."""
        return self._sorted_out(running)[1]

    def _sorted_out(self, running: Entries) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names that are gone and those that may be."""
        absent = (name for name, _, there in running.differing(self.entries) if there is None)
        missing = [name for name in absent if name not in self.names]
        if not (missing and self.broken):
            return tuple(missing), ()
        seen = frozenset(self._held.values())
        kept, anything = self._kept_by_broken(running, seen)
        open_ones = [name for name in missing if name not in kept]
        gone = tuple(name for name in open_ones if name in seen or not anything)
        return gone, tuple(name for name in open_ones if name not in seen and anything)

    def _kept_by_broken(self, running: Entries, seen: frozenset[str]) -> tuple[set[str], bool]:
        """Return the names that broken files may hold, and whether one of them may hold any name at all.

        A file that was never whole since this process began is taken for what its own name says, where such an entry
        runs; otherwise it may hold any entry whose file was never seen.
        """
        kept: set[str] = set()
        anything = False
        for path in self.broken:
            stem = PurePosixPath(path).stem
            known = {name for name in (self._held.get(path), self.sheets[path].name) if name is not None}
            if not known and (self.spec.name_from is None or (stem in running and stem not in seen)):
                known = {stem}
            kept |= known
            anything = anything or not known
        return kept, anything

    def path_of(self, name: str) -> str:
        """Return the path of the file that provides a name or did, or the section's files where none is known."""
        paths: Iterable[str] = self.names.paths(name) or (path for path, held in self._held.items() if held == name)
        return min(paths, default=self.spec.files)
