"""Sheets: what one file of a section is, once it was read.

Decided here: how a file becomes entries, or problems with a line each, and which entries need not be judged again. Not
decided here: which tables of a file are entries (``layout.py``), whether entries fit together (``crosscheck.py``), and
which files are read (``survey.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nexus_supervisor.compiler.layout import entries_of
from nexus_supervisor.compiler.parsing import SyntaxTroubleError, parse
from nexus_supervisor.compiler.positions import Positions, positions
from nexus_supervisor.compiler.tree import shown
from nexus_supervisor.core.content import Entry
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.models.facts import NO_FACTS, Facts
from nexus_supervisor.models.loading import digest_of
from nexus_supervisor.models.mistakes import MOST_MISTAKES, Mistake, ModelMistakesError, Path, shortened
from nexus_supervisor.models.secrets import FileIdentity, identity_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexus_supervisor.compiler.layout import Found
    from nexus_supervisor.compiler.reading import TroubleError
    from nexus_supervisor.core.options import LimitSettings
    from nexus_supervisor.core.sections import SectionSpec
    from nexus_supervisor.models.loading import EntryModel
    from nexus_supervisor.models.secrets import Origins

__all__ = ["Item", "Sheet", "SheetMaker", "broken", "dotted", "problems_at"]

_DEEPEST = 2
"""How many keys may lead to an entry: its table, and which of those."""

_NOTHING: frozenset[Path] = frozenset()
_NO_FILES: frozenset[tuple[str, FileIdentity | None]] = frozenset()
_MOST_OF_A_FILE = 2 * (MOST_MISTAKES + 1)
"""How many mistakes of a file are kept: those of one entry and those beside it are shortened each."""


@dataclass(frozen=True, slots=True)
class Item:
    """Hold one entry of a file: where in it, its name, and what it was compiled to.

    The name is known for many an entry that has problems, ``entry`` for none. ``written`` is the digest of the table as
    it was written. ``files`` are those that secrets were read from, also where the entry was refused: another file may
    be what it lacks.
    """

    place: Path
    name: str | None
    entry: Entry | None = None
    written: bytes = b""
    facts: Facts = NO_FACTS
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: frozenset[str] = frozenset()
    files: Mapping[str, FileIdentity | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sheet:
    """Hold what one file is: its entries in their order, and its problems; ``sure`` says that every name is known."""

    path: str
    raw_digest: bytes
    items: tuple[Item, ...]
    problems: tuple[Problem, ...] = ()
    sure: bool = True
    files: frozenset[tuple[str, FileIdentity | None]] = frozenset()


def broken(path: str, trouble: TroubleError, raw_digest: bytes = b"") -> Sheet:
    """Return the sheet of a file that can't be read or parsed."""
    line = trouble.line if isinstance(trouble, SyntaxTroubleError) else 0
    problem = Problem(shown(path), line, "", trouble.code, trouble.message)
    return Sheet(path, raw_digest, (), (problem,), sure=False)


def dotted(path: Path) -> str:
    """Return a key path as people read it, such as ``source.steps[0].name``; invisible characters are escaped."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return shown(text.removeprefix("."))


def problems_at(path: str, mistakes: Iterable[Mistake], lines: Positions) -> tuple[Problem, ...]:
    """Give mistakes the file and line of the key that they are about."""
    file = shown(path)
    return tuple(Problem(file, lines.line(one.path), dotted(one.path), one.code, one.message) for one in mistakes)


class SheetMaker:
    """Turn the files of one section into sheets."""

    def __init__(self, spec: SectionSpec, model: EntryModel, origins: Origins, limits: LimitSettings) -> None:
        self.spec, self._model, self._origins, self._limits = spec, model, origins, limits

    def secrets_moved(self, files: Iterable[tuple[str, FileIdentity | None]]) -> bool:
        """Say whether one of the files that secrets are in is another one than it was."""
        return any(identity_of(self._origins, ref) != known for ref, known in files)

    def sheet(self, path: str, raw: bytes, digest: bytes, before: Sheet | None = None) -> Sheet:
        """Return the sheet of a file that was read; ``digest`` is the SHA-256 of its bytes.

        What the file wrote ``before`` in the same words, with secrets in the same files, is not judged again.
        """
        try:
            parsed = parse(raw, self._limits)
        except SyntaxTroubleError as trouble:
            return broken(path, trouble, digest)
        mistakes = list(parsed.mistakes)
        found = entries_of(path, parsed.document, self.spec, mistakes)
        noted = frozenset(one.path for one in mistakes) if mistakes else _NOTHING
        mistakes = shortened(mistakes)
        known = {(item.name, item.written): item for item in before.items if item.entry} if before else {}
        items = [self._item(one, known, noted, mistakes) for one in found or ()]
        if noted:
            spoiled = {path[:length] for path in noted for length in range(_DEEPEST + 1)}
            items = [Item(one.place, one.name, files=one.files) if one.place in spoiled else one for one in items]
        return Sheet(
            path,
            digest,
            tuple(items),
            _problems(path, mistakes, parsed.text) if mistakes else (),
            sure=found is not None and None not in [item.name for item in items],
            files=_NO_FILES.union(*[item.files.items() for item in items if item.files]),
        )

    def _item(
        self,
        found: Found,
        known: Mapping[tuple[str | None, bytes], Item],
        noted: frozenset[Path],
        mistakes: list[Mistake],
    ) -> Item:
        """Return one entry of a file, noting mistakes where its model refuses it."""
        place, name, table = found.place, found.name, found.table
        if table is None:
            return Item(place, name)
        old = known.get((name, digest_of(table))) if known else None
        if old is not None and not self.secrets_moved(old.files.items()):
            return old if old.place == place else replace(old, place=place)
        try:
            compiled = self._model.compile(table, self._origins)
        except ModelMistakesError as refused:
            worded = [Mistake((*place, *one.path), one.code, one.message) for one in refused.mistakes]
            mistakes += [one for one in worded if not _covered(one.path, noted)]
            return Item(place, name, files=refused.files)
        if name is None:
            return Item(place, name, files=compiled.files)
        entry, facts = Entry.of(name, compiled.body), compiled.facts
        return Item(place, name, entry, compiled.written, facts, compiled.secrets, compiled.environment, compiled.files)


def _problems(path: str, mistakes: list[Mistake], text: str) -> tuple[Problem, ...]:
    kept = mistakes if len(mistakes) <= _MOST_OF_A_FILE else shortened(mistakes)
    return problems_at(path, kept, positions(text))


def _covered(path: Path, noted: frozenset[Path]) -> bool:
    """Say whether a mistake is about a value that a mistake is already noted for."""
    return any(path[:length] in noted for length in range(1, len(path) + 1))
