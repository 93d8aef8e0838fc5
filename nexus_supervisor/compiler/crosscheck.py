"""Cross-checks: whether the entries of a content fit together.

Decided here: that names and unique values are unique, and that every reference names an entry. Not decided here: what
an entry claims and refers to (``models/marked.py``) and what a problem leads to (``compile.py``).

Files are checked by the indexes of their shelves. A content in which a change is held differs from the files in some
entries: those are looked at as they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.layout import name_key
from nexus_supervisor.compiler.sheets import dotted
from nexus_supervisor.compiler.shelf import claim_key
from nexus_supervisor.compiler.tree import shown
from nexus_supervisor.core.content import Entries
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.models.mistakes import ModelMistakesError, Path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.compiler.shelf import Place, Shelf
    from nexus_supervisor.core.content import Content
    from nexus_supervisor.models.facts import Facts
    from nexus_supervisor.models.loading import EntryModel
    from nexus_supervisor.models.secrets import SecretSource

__all__ = ["CrossCheck", "Locate", "not_an_entry"]

Locate = Callable[[str, Path], int]
"""Find the line of a key in the file of a path; 0 where it can't be told."""

_Stored = Mapping[str, "Facts | None"]
_NOTHING = Entries()
_KNOWN_SHOWN = 5


class CrossCheck:
    """Check what the shelves of all sections hold, and contents that were made from them."""

    def __init__(self, shelves: Mapping[str, Shelf], models: Mapping[str, EntryModel], locate: Locate) -> None:
        self._shelves, self._models, self._locate = shelves, models, locate

    def files(self) -> Iterator[Problem]:
        """Yield what doesn't fit together in the files.

        A broken file counts by its name; where that isn't known, no reference to its section is called wrong.
        """
        names = {section: shelf.names for section, shelf in self._shelves.items()}
        unsure = {section for section, shelf in self._shelves.items() if not shelf.sure}
        for shelf in self._shelves.values():
            yield from self._shared(shelf)
            for section, name in shelf.references:
                if name not in names.get(section, ()) and section not in unsure:
                    ending = _meant(name, names[section]) if section in names else ": there is no such section"
                    yield from self._dangling(shelf, (section, name), ending, without=())

    def content(self, content: Content, source: SecretSource) -> Iterator[Problem]:
        """Yield what doesn't fit together in a content that differs from valid files only by what is held.

        ``source`` knows the secrets of the content.
        """
        entries = {section: part.entries for section, part in content.sections.items()}
        for section, shelf in self._shelves.items():
            stored: dict[str, Facts | None] = {}
            for name, _, there in shelf.entries.differing(entries.get(section, _NOTHING)):
                try:
                    stored[name] = self._models[section].examine(there.body, source) if there else None
                except ModelMistakesError as refused:
                    message = f"the entry {name}, as it runs, isn't valid any more: {refused}"
                    yield Problem(shown(shelf.path_of(name)), 0, f"{section}.{name}", "value", message)
            for target in shelf.references:
                if target[1] not in entries.get(target[0], ()):
                    ending = ": it is there, but waits for a restart"
                    yield from self._dangling(shelf, target, ending, without=stored)
            yield from _stored_references(shelf, stored, entries)
            yield from _stored_claims(shelf, stored)

    def _shared(self, shelf: Shelf) -> Iterator[Problem]:
        """Yield a problem for each entry that has the name or a unique value of another one."""
        for name in sorted(shelf.names.shared):
            places = shelf.names.places(name)
            keys = [(place[0], name_key(shelf.spec, shelf.item(place).place)) for place in places]
            yield from self._twice(keys, f"the name '{name}'")
        for claimed in sorted(shelf.claims.shared):
            places = shelf.claims.places(claimed)
            yield from self._twice([(place[0], _claim_key(shelf, place, claimed)) for place in places], "a value")

    def _twice(self, places: list[tuple[str, Path]], words: str) -> Iterator[Problem]:
        first, first_key = places[0]
        elsewhere = f"{shown(first)}:{self._locate(first, first_key)}"
        for path, key in places[1:]:
            message = f"expected {words} that no other entry has, found that of {elsewhere}"
            yield Problem(shown(path), self._locate(path, key), dotted(key), "duplicate", message)

    def _dangling(
        self, shelf: Shelf, target: tuple[str, str], ending: str, *, without: Collection[str]
    ) -> Iterator[Problem]:
        """Yield a problem for each key in the files that names the entry, less the entries named in ``without``."""
        for path, number in shelf.references.places(target):
            item = shelf.item((path, number))
            if item.name in without:
                continue
            for one in item.facts.references:
                if (one.section, one.name) == target:
                    key = (*item.place, *one.path)
                    message = not_an_entry(*target, ending)
                    yield Problem(shown(path), self._locate(path, key), dotted(key), "reference", message)


def _stored_references(shelf: Shelf, stored: _Stored, entries: Mapping[str, Entries]) -> Iterator[Problem]:
    for name, facts in stored.items():
        for one in facts.references if facts else ():
            if one.name not in entries.get(one.section, ()):
                message = not_an_entry(one.section, one.name, ": the change of this entry waits for a restart")
                yield Problem(shown(shelf.path_of(name)), 0, dotted(one.path), "reference", message)


def _stored_claims(shelf: Shelf, stored: _Stored) -> Iterator[Problem]:
    taken: dict[Any, str] = {}
    for name, facts in sorted(stored.items()):
        for claim in facts.claims if facts else ():
            key = claim_key(claim)
            files = [place[0] for place in shelf.claims.places(key) if shelf.item(place).name not in stored]
            if (other := min(files, default=taken.get(key))) is not None:
                message = f"expected a value that no other entry has, found that of {shown(other)}, as it runs"
                yield Problem(shown(shelf.path_of(name)), 0, dotted(claim.path), "duplicate", message)
            taken[key] = shelf.path_of(name)


def _claim_key(shelf: Shelf, place: Place, claimed: Any) -> Path:
    """Return where in a file a claimed value of an entry is."""
    item = shelf.item(place)
    found = (claim.path for claim in item.facts.claims if claim_key(claim) == claimed)
    return (*item.place, *next(found, ()))


def not_an_entry(section: str, name: str, ending: str) -> str:
    """Return the sentence about a reference that names no entry."""
    return f"expected the name of an entry of {section}, found '{shown(name[:64])}'{ending}"


def _meant(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about a name that is none: which one is meant, or which there are."""
    names = sorted(known)
    if (near := suggestion(name, names)) is not None:
        return f": did you mean {near}?"
    more = ", …" if len(names) > _KNOWN_SHOWN else ""
    return f": there is {', '.join(names[:_KNOWN_SHOWN])}{more}" if names else ": there are none"
