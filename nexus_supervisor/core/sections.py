"""Sections: which files form a section of the content, and what a change of it needs.

Decided here: what ``[[supervisor.section]]`` may say, and the sections that a program has where it declares none. Not
decided here: how the files are read (``compiler/``) and what their entries mean (``models/``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from nexus_supervisor.core.rules import Text, Word
from nexus_supervisor.core.snapshot import RESERVED
from nexus_supervisor.core.tables import Mistake, read_list

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_SECTIONS", "RESERVED_NAMES", "SectionSpec", "default_sections", "read_sections"]

RESERVED_NAMES = RESERVED | {"supervisor"}
"""Names that a snapshot gives to something else, so no section may have them."""

MAX_SECTIONS = 64
_NAME = Text('a name such as "sources": a lower-case letter, then up to 63 of a-z, 0-9 and _', r"[a-z][a-z0-9_]{0,63}")
_FILES = Text(
    'all files of one directory ("sources/*.toml") or one file ("models.toml"), relative to DIR, outside keys/, '
    "compiled/ and state/",
    r"(?!(keys|compiled|state)/|daemon\.toml$)(\w[\w.-]{0,99}/(\*|\w[\w.-]{0,99})|\w[\w.-]{0,99})\.toml",
)
_MODEL = Text('"module:Class", or "" for plain documents', r"(\w+(\.\w+)*:\w+(\.\w+)*)?")
_KEY = Text("a key of 1 to 64 letters, digits, _ and -", r"[\w-]{1,64}")


@dataclass(frozen=True, slots=True)
class SectionSpec:
    """Declare one section of the content."""

    name: Annotated[str, _NAME, "the attribute of a snapshot that holds the section's entries"]
    files: Annotated[str, _FILES, "where its entries are: all files of a directory, or one file"]
    apply: Annotated[str, Word(("live", "restart")), "what a change needs: nothing, or a restart"]
    model: Annotated[str, _MODEL, "the model of an entry; none: entries are plain documents"] = ""
    table: Annotated[str | None, _KEY, "the one table of a file that is the entry; none: the whole file"] = None
    name_from: Annotated[str | None, _KEY, "the field that names the entry; none: the file's name without .toml"] = None
    entries: Annotated[
        str,
        Word(("one", "list", "tables")),
        "what a file holds: one entry, a list of tables [[table]], or a table of tables, named by their keys",
    ] = "one"


_GATEWAY = (
    SectionSpec("sources", "sources/*.toml", "live", "nexus_workers.gateway.models:Source", "source", "name"),
    SectionSpec(
        "destinations",
        "destinations/*.toml",
        "restart",
        "nexus_workers.gateway.models:Destination",
        "destination",
        "name",
    ),
)


def default_sections(program: str) -> tuple[SectionSpec, ...]:
    """Return the sections of a program that declares none: two for the gateway, none for others."""
    return _GATEWAY if program == "gateway" else ()


def read_sections(tables: Any, where: str, mistakes: list[Mistake]) -> tuple[SectionSpec, ...]:
    """Read the list of section tables, noting every mistake; a bad section is left out of the result."""
    return read_list(SectionSpec, tables, where, (0, MAX_SECTIONS, "sections"), mistakes, _conflicts)


def _conflicts(section: SectionSpec, others: Sequence[SectionSpec], key: str) -> list[Mistake]:
    """Return what keeps a section, good by itself, from standing beside the others."""
    mistakes = []
    if section.name in RESERVED_NAMES:
        words = ", ".join(sorted(RESERVED_NAMES))
        message = f"a snapshot uses this name for something else: choose another than {words}"
        mistakes.append(Mistake(f"{key}.name", "value", message))
    mistakes += _odd_names(section, key)
    for other in others:
        if other.name == section.name:
            mistakes.append(Mistake(f"{key}.name", "duplicate", f'a section "{section.name}" is already declared'))
        if _overlap(other.files, section.files):
            message = f'the section "{other.name}" already holds {other.files}: a file belongs to one section'
            mistakes.append(Mistake(f"{key}.files", "duplicate", message))
    return mistakes


def _odd_names(section: SectionSpec, key: str) -> list[Mistake]:
    """Return what keeps entries from having a name, where a file holds several."""
    if section.entries == "list" and section.table is None:
        return [Mistake(f"{key}.table", "missing", 'entries = "list" needs table, the T of [[T]] in the files')]
    if section.entries == "list" and section.name_from is None:
        return [Mistake(f"{key}.name_from", "missing", 'entries = "list" needs name_from, a field of the entry')]
    if section.entries == "tables" and section.name_from is not None:
        message = 'with entries = "tables" the keys of the tables are the names: remove name_from'
        return [Mistake(f"{key}.name_from", "value", message)]
    return []


def _overlap(here: str, there: str) -> bool:
    """Say whether two patterns can mean the same file."""
    if here == there:
        return True
    directories = [files.rpartition("/")[0] for files in (here, there)]
    return directories[0] == directories[1] != "" and ("/*" in here or "/*" in there)
