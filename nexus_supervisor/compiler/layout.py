"""Layouts: which tables of a parsed file are entries, and what they are called.

Decided here: how the declaration of a section (``entries``, ``table``, ``name_from``) is applied to a document. Not
decided here: what an entry means (``models/``) and what becomes of a file (``sheets.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.tree import shown
from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.models.mistakes import MOST_MISTAKES, Mistake, Path, found_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.sections import SectionSpec

__all__ = ["Found", "entries_of", "name_key"]

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_NAME_WORDS = "expected a name of 1 to 64 lower-case letters, digits, _ and -"
_SHOWN_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Found:
    """Say where in a document an entry is, and as far as the document says it, its name and its table."""

    place: Path
    name: str | None
    table: dict[str, Any] | None = field(repr=False)


def name_key(spec: SectionSpec, place: Path) -> Path:
    """Return the key that names an entry at a place: a field, its own key, or nothing where the file's name does."""
    if spec.name_from is not None:
        return (*place, spec.name_from)
    return () if spec.entries == "one" else place


def entries_of(
    path: str, document: dict[str, Any], spec: SectionSpec, mistakes: list[Mistake]
) -> tuple[Found, ...] | None:
    """Return the entries that a document writes, noting mistakes; None where nobody can tell which those are.

    A file of many entries may be empty: then it has none.
    """
    held = _held(document, spec, mistakes)
    if spec.entries == "one":
        return (_only(path, held, spec, mistakes),)
    if held is None:
        return None if document else ()
    if spec.entries == "list" and isinstance(held, list):
        return tuple(_of_list(held, spec, mistakes))
    if spec.entries == "tables" and isinstance(held, dict):
        return tuple(_of_tables(held, spec, mistakes))
    words = f"a list of tables, [[{spec.table}]]" if spec.entries == "list" else f"tables, [{spec.table}.NAME]"
    mistakes.append(Mistake((spec.table or "",), "type", f"expected {words}, found {found_text(held)}"))
    return None


def _held(document: dict[str, Any], spec: SectionSpec, mistakes: list[Mistake]) -> Any:
    """Return what is below the table that a section names, or the document; None where the file has no such table."""
    wanted = spec.table
    if wanted is None:
        return document
    many = spec.entries != "one"
    if wanted not in document:
        if document or not many:
            mistakes.append(_without_table(document, wanted, _header(spec)))
        return None
    strangers = [key for key in document if key != wanted]
    text = (
        f"expected nothing beside the table {_header(spec)}, found another key: remove it, or move it into that table"
    )
    mistakes += [Mistake((key,), "unknown_key", text) for key in strangers]
    return document[wanted]


def _header(spec: SectionSpec) -> str:
    return f"[[{spec.table}]]" if spec.entries == "list" else f"[{spec.table}]"


def _without_table(document: dict[str, Any], wanted: str, header: str) -> Mistake:
    near = suggestion(wanted, islice(document, MOST_MISTAKES))
    words = "found none: write it" if near is None else f"found [{shown(near)}]: did you mean {wanted}?"
    return Mistake(() if near is None else (near,), "missing", f"expected the table {header}, {words}")


def _only(path: str, held: Any, spec: SectionSpec, mistakes: list[Mistake]) -> Found:
    place = () if spec.table is None else (spec.table,)
    if held is not None and not isinstance(held, dict):
        mistakes.append(Mistake(place, "type", f"expected the table [{spec.table}], found another value"))
        held = None
    if spec.name_from is not None:
        return Found(place, None if held is None else _named(held, place, spec.name_from, mistakes), held)
    stem = PurePosixPath(path).stem
    text = f"{_NAME_WORDS} before .toml, found '{shown(stem)}'"
    return Found(place, _valid(stem, Mistake((), "value", text), mistakes), held)


def _of_list(held: list[Any], spec: SectionSpec, mistakes: list[Mistake]) -> Iterator[Found]:
    for index, table in enumerate(held):
        place = (spec.table or "", index)
        if isinstance(table, dict):
            yield Found(place, _named(table, place, spec.name_from or "", mistakes), table)
        else:
            mistakes.append(Mistake(place, "type", f"expected a table, found {found_text(table)}"))
            yield Found(place, None, None)


def _of_tables(held: dict[str, Any], spec: SectionSpec, mistakes: list[Mistake]) -> Iterator[Found]:
    for key, table in held.items():
        place = (key,) if spec.table is None else (spec.table, key)
        text = f"{_NAME_WORDS}, found '{shown(key[:_SHOWN_CHARACTERS])}'"
        name = _valid(key, Mistake(place, "value", text), mistakes)
        if isinstance(table, dict):
            yield Found(place, name, table)
        else:
            mistakes.append(Mistake(place, "type", f"expected a table, the entry {key}, found {found_text(table)}"))
            yield Found(place, name, None)


def _named(table: dict[str, Any], place: Path, key: str, mistakes: list[Mistake]) -> str | None:
    """Return the name that a field of the table gives."""
    where, found = (*place, key), table.get(key)
    if isinstance(found, str):
        text = f"{_NAME_WORDS}, found '{shown(found[:_SHOWN_CHARACTERS])}'"
        return _valid(found, Mistake(where, "value", text), mistakes)
    code, words = ("missing", "found none: write it") if found is None else ("type", "found another type")
    mistakes.append(Mistake(where, code, f"{_NAME_WORDS}, {words}"))
    return None


def _valid(name: str, otherwise: Mistake, mistakes: list[Mistake]) -> str | None:
    if _NAME.fullmatch(name):
        return name
    mistakes.append(otherwise)
    return None
