"""Shelves: the sheets of one section, and the indexes that make a change of one file cheap.

Decided here: which entries a section's files give, who provides a name, and which entries no file has any more. Not
decided here: whether entries fit together (``crosscheck.py``), and when the files are read (``survey.py``).

A file that is broken or unstable keeps every entry that it held: a half-saved file must not revoke anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from itertools import chain, zip_longest
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Generic, TypeVar

from nexus_supervisor.core.content import Entries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexus_supervisor.compiler.sheets import Item, Sheet
    from nexus_supervisor.core.content import Entry
    from nexus_supervisor.core.sections import SectionSpec
    from nexus_supervisor.models.facts import Claim

__all__ = ["Index", "Place", "Shelf", "claim_key"]

ClaimKey = tuple[tuple[str, ...], str]

Place = tuple[str, int]
"""Where an entry is written: the path of the file, and the number of the entry in it."""

_REMEMBERED = 10_000
"""How many names that files held which are gone are remembered beside twice as many as there are."""


T = TypeVar("T", bound=Hashable)


class Index(Generic[T]):
    """Know which entries have a thing, and which things more than one entry has."""

    def __init__(self) -> None:
        self._places: defaultdict[T, set[Place]] = defaultdict(set)
        self.shared: set[T] = set()

    def add(self, thing: T, place: Place) -> None:
        """Note that an entry has the thing."""
        places = self._places[thing]
        places.add(place)
        if len(places) > 1:
            self.shared.add(thing)

    def discard(self, thing: T, place: Place) -> None:
        """Note that an entry doesn't have the thing any more."""
        places = self._places[thing]
        places.discard(place)
        if len(places) <= 1:
            self.shared.discard(thing)
        if not places:
            del self._places[thing]

    def places(self, thing: T) -> list[Place]:
        """Return where the entries are that have the thing, in order."""
        return sorted(self._places.get(thing, ()))

    def __contains__(self, thing: object) -> bool:
        return thing in self._places

    def __iter__(self) -> Iterator[T]:
        return iter(self._places)


def claim_key(claim: Claim) -> ClaimKey:
    """Return what two entries must not have in common: the field, without indexes, and its value."""
    return tuple(part for part in claim.path if isinstance(part, str)), claim.value


class Shelf:
    """Hold the sheets of one section."""

    def __init__(self, spec: SectionSpec) -> None:
        self.spec = spec
        self.whole = True
        self.sheets: dict[str, Sheet] = {}
        self.count = 0
        self.entries = Entries()
        self.names = Index[str]()
        self.claims = Index[ClaimKey]()
        self.references = Index[tuple[str, str]]()
        self.broken: set[str] = set()
        self.with_secrets: set[Place] = set()
        self.environment: Counter[str] = Counter()
        self._held: dict[str, frozenset[str]] = {}
        self._remembered = 0
        self._touched: set[str] = set()

    @property
    def sure(self) -> bool:
        """Say whether every name that the section's files give is known."""
        return self.whole and all(self.sheets[path].sure for path in self.broken)

    def secrets_of(self, name: str) -> Mapping[str, str]:
        """Return the values of the secrets that travel with the entries of a name, as their files hold them."""
        return {
            digest: value for place in self.names.places(name) for digest, value in self.item(place).secrets.items()
        }

    def item(self, place: Place) -> Item:
        """Return the entry that is written at a place."""
        path, number = place
        return self.sheets[path].items[number]

    def put(self, sheet: Sheet) -> None:
        """Put a sheet in the place of the one that its path had; entries that it still has stay in the indexes."""
        old = self.sheets.get(sheet.path)
        self._reindex(sheet.path, old.items if old else (), sheet.items)
        self.sheets[sheet.path] = sheet
        if sheet.problems:
            self.broken.add(sheet.path)
        else:
            self.broken.discard(sheet.path)
            self._remember(sheet.path, frozenset(item.name for item in sheet.items if item.name is not None))

    def _reindex(self, path: str, before: Sequence[Item], after: Sequence[Item]) -> None:
        for number, (gone, new) in enumerate(zip_longest(before, after)):
            if gone is new:
                continue
            if gone is not None:
                self._unindex(gone, (path, number))
            if new is not None:
                self._index(new, (path, number))

    def _index(self, item: Item, place: Place) -> None:
        self.count += 1
        if item.name is not None:
            self.names.add(item.name, place)
            self._touched.add(item.name)
        for claim in item.facts.claims:
            self.claims.add(claim_key(claim), place)
        for reference in item.facts.references:
            self.references.add((reference.section, reference.name), place)
        if item.secrets:
            self.with_secrets.add(place)
        self.environment.update(item.environment)

    def _remember(self, path: str, names: frozenset[str]) -> None:
        self._remembered += len(names) - len(self._held.get(path, ()))
        self._held[path] = names

    def drop(self, path: str) -> None:
        """Take away the sheet of a file that is gone.

        What it held is remembered: a file that is back but not whole yet holds that still.
        """
        if (sheet := self.sheets.pop(path, None)) is not None:
            self._reindex(path, sheet.items, ())
        self.broken.discard(path)
        if self._remembered > 2 * self.count + _REMEMBERED:
            self._held = {held: names for held, names in self._held.items() if held in self.sheets}
            self._remembered = sum(map(len, self._held.values()))

    def settle(self) -> None:
        """Bring the entries up to date with the sheets that were put and dropped."""
        changed: list[Entry] = []
        removed: list[str] = []
        for name in self._touched:
            entry, known = self._entry(name), self.entries.get(name)
            if entry is None and known is not None:
                removed.append(name)
            elif entry is not None and entry is not known:
                changed.append(entry)
        self._touched.clear()
        if changed or removed:
            self.entries = self.entries.changed(changed, removed)

    def _entry(self, name: str) -> Entry | None:
        """Return the entry of a name that exactly one file provides, once."""
        places = self.names.places(name)
        return self.item(places[0]).entry if len(places) == 1 else None

    def _unindex(self, item: Item, place: Place) -> None:
        self.count -= 1
        if item.name is not None:
            self.names.discard(item.name, place)
            self._touched.add(item.name)
        for claim in item.facts.claims:
            self.claims.discard(claim_key(claim), place)
        for reference in item.facts.references:
            self.references.discard((reference.section, reference.name), place)
        self.with_secrets.discard(place)
        self.environment.subtract(item.environment)
        for name in item.environment:
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
        seen = frozenset(chain.from_iterable(self._held.values()))
        kept, anything = self._kept_by_broken(running, seen)
        open_ones = [name for name in missing if name not in kept]
        gone = tuple(name for name in open_ones if name in seen or not anything)
        return gone, tuple(name for name in open_ones if name not in seen and anything)

    def _kept_by_broken(self, running: Entries, seen: frozenset[str]) -> tuple[set[str], bool]:
        """Return the names that broken files may hold, and whether one of them may hold any name at all."""
        kept: set[str] = set()
        anything = False
        for path in self.broken:
            known = self._held.get(path, self._guessed(path, running, seen))
            if known is None:
                anything = True
            else:
                kept |= known
        return kept, anything

    def _guessed(self, path: str, running: Entries, seen: frozenset[str]) -> frozenset[str] | None:
        """Return what a broken file holds that was never whole since this process began; None: any entry never seen.

        A file of one entry holds the one whose name can be read, or what its own name says, where such an entry runs.
        One of many entries may have held more than can be read now.
        """
        if self.spec.entries != "one":
            return None
        if known := frozenset(item.name for item in self.sheets[path].items if item.name is not None):
            return known
        stem = PurePosixPath(path).stem
        by_stem = self.spec.name_from is None or (stem in running and stem not in seen)
        return frozenset({stem}) if by_stem else None

    def path_of(self, name: str) -> str:
        """Return the path of the file that provides a name or did, or the section's files where none is known."""
        if places := self.names.places(name):
            return places[0][0]
        return min((path for path, held in self._held.items() if name in held), default=self.spec.files)
