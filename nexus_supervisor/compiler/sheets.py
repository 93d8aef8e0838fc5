"""Sheets: what one file of a section is, once it was read.

Decided here: how a file becomes an entry, or problems with a line each. Not decided here: whether entries fit together
(``crosscheck.py``) and which files are read (``survey.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.parsing import SyntaxTroubleError, parse
from nexus_supervisor.compiler.positions import Positions, positions
from nexus_supervisor.compiler.tree import shown
from nexus_supervisor.core.content import Entry
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.models.facts import NO_FACTS, Facts
from nexus_supervisor.models.mistakes import MOST_MISTAKES, Mistake, ModelMistakesError, shortened
from nexus_supervisor.models.secrets import FileIdentity, identity_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexus_supervisor.compiler.reading import TroubleError
    from nexus_supervisor.core.options import LimitSettings
    from nexus_supervisor.core.sections import SectionSpec
    from nexus_supervisor.models.loading import Compiled, EntryModel
    from nexus_supervisor.models.mistakes import Path
    from nexus_supervisor.models.secrets import Origins

__all__ = ["Sheet", "SheetMaker", "broken", "dotted", "problems_at"]

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_NAME_WORDS = "expected a name of 1 to 64 lower-case letters, digits, _ and -"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Hold what one file is: an entry, or problems; ``name`` is known for many a file that has problems."""

    path: str
    raw_digest: bytes
    name: str | None
    entry: Entry | None
    problems: tuple[Problem, ...] = ()
    facts: Facts = NO_FACTS
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: frozenset[str] = frozenset()
    files: Mapping[str, FileIdentity | None] = field(default_factory=dict)


def broken(path: str, trouble: TroubleError, raw_digest: bytes = b"") -> Sheet:
    """Return the sheet of a file that can't be read or parsed."""
    line = trouble.line if isinstance(trouble, SyntaxTroubleError) else 0
    return Sheet(path, raw_digest, None, None, (Problem(shown(path), line, "", trouble.code, trouble.message),))


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

    def secrets_moved(self, sheet: Sheet) -> bool:
        """Say whether a file that a secret of the sheet is in is another one than it was."""
        return any(identity_of(self._origins, ref) != known for ref, known in sheet.files.items())

    def sheet(self, path: str, raw: bytes, digest: bytes) -> Sheet:
        """Return the sheet of a file that was read; ``digest`` is the SHA-256 of its bytes."""
        try:
            parsed = parse(raw, self._limits)
        except SyntaxTroubleError as trouble:
            return broken(path, trouble, digest)
        mistakes = shortened(parsed.mistakes)
        table = _table_of(parsed.document, self.spec, mistakes)
        name = _name_of(path, table, self.spec, mistakes)
        compiled = None if table is None else self._compiled(table, mistakes)
        if mistakes or compiled is None or name is None:
            return Sheet(path, digest, name, None, problems_at(path, mistakes, positions(parsed.text)))
        entry = Entry.of(name, compiled.body)
        return Sheet(
            path, digest, name, entry, (), compiled.facts, compiled.secrets, compiled.environment, compiled.files
        )

    def _compiled(self, table: dict[str, Any], mistakes: list[Mistake]) -> Compiled | None:
        """Compile the table by the section's model; None, and mistakes noted, where it is refused."""
        noted = {one.path for one in mistakes}
        prefix = _prefix(self.spec)
        try:
            return self._model.compile(table, self._origins)
        except ModelMistakesError as refused:
            found = [Mistake((*prefix, *one.path), one.code, one.message) for one in refused.mistakes]
            mistakes += [one for one in found if not _covered(one.path, noted)]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's model may raise anything
            message = f"the model {self.spec.model} raised {type(error).__name__} on this: a mistake in the model"
            mistakes.append(Mistake(prefix, "internal", message))
        return None


def _prefix(spec: SectionSpec) -> Path:
    return () if spec.table is None else (spec.table,)


def _table_of(document: dict[str, Any], spec: SectionSpec, mistakes: list[Mistake]) -> dict[str, Any] | None:
    """Return the table that is the entry; None where the file doesn't have it."""
    wanted = spec.table
    if wanted is None:
        return document
    if wanted not in document:
        near = suggestion(wanted, islice(document, MOST_MISTAKES))
        words = "found none: write it" if near is None else f"found [{shown(near)}]: did you mean {wanted}?"
        mistakes.append(Mistake(() if near is None else (near,), "missing", f"expected the table [{wanted}], {words}"))
        return None
    strangers = [key for key in document if key != wanted]
    text = f"expected nothing beside the table [{wanted}], found another key: remove it, or move it into that table"
    mistakes += shortened([Mistake((key,), "unknown_key", text) for key in strangers])
    found = document[wanted]
    if not isinstance(found, dict):
        mistakes.append(Mistake((wanted,), "type", f"expected the table [{wanted}], found another value"))
        return None
    return found


def _name_of(path: str, table: dict[str, Any] | None, spec: SectionSpec, mistakes: list[Mistake]) -> str | None:
    """Return the entry's name as far as the file says it."""
    key = spec.name_from
    if key is None:
        stem = PurePosixPath(path).stem
        text = f"{_NAME_WORDS} before .toml, found '{shown(stem)}'"
        return _valid_name(stem, Mistake((), "value", text), mistakes)
    if table is None:
        return None
    where, found = (*_prefix(spec), key), table.get(key)
    if isinstance(found, str):
        text = f"{_NAME_WORDS}, found '{shown(found[:64])}'"
        return _valid_name(found, Mistake(where, "value", text), mistakes)
    code, words = ("missing", "found none: write it") if found is None else ("type", "found another type")
    mistakes.append(Mistake(where, code, f"{_NAME_WORDS}, {words}"))
    return None


def _valid_name(name: str, otherwise: Mistake, mistakes: list[Mistake]) -> str | None:
    if _NAME.fullmatch(name):
        return name
    mistakes.append(otherwise)
    return None


def _covered(path: Path, noted: set[Path]) -> bool:
    """Say whether a mistake is about a value that a mistake is already noted for."""
    return any(path[:length] in noted for length in range(1, len(path) + 1))
