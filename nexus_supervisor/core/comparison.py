"""Comparison: what differs between two contents, field by field, and what each difference needs.

Decided here: what counts as one difference, whether it is live, and that no secret is shown. Not decided here: what is
held while a daemon runs (``changes.py``, whose rules these are), what is wider than before (``widening.py``) and how
differences are told (``cli/diff.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import BUILT_IN, Pattern, differences, is_stored_secret, key_text, moved
from nexus_supervisor.core.content import Entries, Section
from nexus_supervisor.core.settings import Needs, needs
from nexus_supervisor.core.widening import WideField, widened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexus_supervisor.core.content import Content, Entry

__all__ = ["CHANGED_SECRET", "SECRET", "Difference", "compare", "redacted"]

SECRET = "<secret>"  # noqa: S105 - what is shown instead of one
CHANGED_SECRET = "<changed>"  # noqa: S105
"""What a secret is shown as that is another one than before."""

Kind = Literal["added", "removed", "changed"]


_NOTHING_MARKED: Mapping[str, tuple[WideField, ...]] = MappingProxyType({})


class _Marks(NamedTuple):
    """Hold the marked fields of a section; ``restart`` is None for one that is not live before and after."""

    restart: tuple[Pattern, ...] | None
    wide: tuple[WideField, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Name one difference: a whole entry (``path`` is empty) or a field of one that both contents have.

    ``before`` and ``after`` are plain values without secrets; None where there is none. ``widened`` says that the entry
    may do more by it than before.
    """

    section: str
    entry: str
    path: tuple[str, ...]
    kind: Kind
    needs: Needs
    before: Any = None
    after: Any = None
    widened: bool = False

    @property
    def key(self) -> str:
        """Return the dotted key under which people know it."""
        return key_text(self.section, self.entry, *self.path)


def compare(
    before: Content,
    after: Content,
    restart_fields: Mapping[str, tuple[Pattern, ...]],
    wide_fields: Mapping[str, tuple[WideField, ...]] = _NOTHING_MARKED,
) -> tuple[Difference, ...]:
    """Return every difference in order of section, entry and field; ``restart_fields`` are those of live sections.

    ``wide_fields`` are those of any section of which more gives more rights. Where there was nothing before, nothing
    needs a restart.
    """
    found: list[Difference] = []
    for name in sorted(before.sections.keys() | after.sections.keys()):
        here, there = before.sections.get(name), after.sections.get(name)
        if name == BUILT_IN:
            found += _of_settings(here, there)
        else:
            is_live = here is not None and there is not None and here.apply == there.apply == "live"
            marks = _Marks(restart_fields.get(name, ()) if is_live else None, wide_fields.get(name, ()))
            found += _of_section(name, here, there, marks)
    return tuple(found if before.sections else (replace(one, needs="live") for one in found))


def _of_settings(here: Section | None, there: Section | None) -> Iterator[Difference]:
    """Yield what differs in daemon.toml; its tables are always there, so there are only fields."""
    for table in ("daemon", "supervisor"):
        for path, old, new in differences(_document(here, table), _document(there, table)):
            yield _field(BUILT_IN, table, path, needs(key_text(BUILT_IN, table, *path)), old, new)


def _of_section(name: str, here: Section | None, there: Section | None, marks: _Marks) -> Iterator[Difference]:
    """Yield what differs in a section."""
    whole: Needs = "restart" if marks.restart is None else "live"
    nothing = Entries()
    older, newer = here.entries if here else nothing, there.entries if there else nothing
    for entry, old, new in sorted(older.differing(newer), key=lambda found: found[0]):
        if old is None or new is None:
            yield Difference(name, entry, (), "added" if old is None else "removed", whole)
        else:
            yield from _of_entry(name, old, new, marks)


def _of_entry(section: str, old: Entry, new: Entry, marks: _Marks) -> Iterator[Difference]:
    here, there = canonical.decode(old.body), canonical.decode(new.body)
    held = [()] if marks.restart is None else moved(here, there, marks.restart)
    wide = widened(here, there, marks.wide)
    for path, was, now in differences(here, there):
        needed: Needs = "restart" if any(_meet(path, one) for one in held) else "live"
        one = _field(section, old.name, path, needed, was, now)
        yield replace(one, widened=any(_meet(path, place) for place in wide))


def _meet(path: tuple[str, ...], held: tuple[str, ...]) -> bool:
    """Say whether one of two places is in the other."""
    common = min(len(path), len(held))
    return path[:common] == held[:common]


def _field(section: str, entry: str, path: tuple[str, ...], needed: Needs, old: Any, new: Any) -> Difference:
    was, now = redacted(old), redacted(new)
    if was == now and type(was) is type(now):
        now = CHANGED_SECRET  # what differs is a secret in it
    kind: Kind = "added" if old is None else "removed" if new is None else "changed"
    return Difference(section, entry, path, kind, needed, was, now)


def redacted(value: Any) -> Any:
    """Return a plain value with every secret in it replaced."""
    if is_stored_secret(value):
        return SECRET
    if isinstance(value, dict):
        return {key: redacted(item) for key, item in value.items()}
    return [redacted(item) for item in value] if isinstance(value, list) else value


def _document(section: Section | None, table: str) -> Any:
    return canonical.decode(section.entries[table].body) if section is not None and table in section.entries else {}
