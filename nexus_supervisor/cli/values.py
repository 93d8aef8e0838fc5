"""Values: one place in one content, and how a value is shown without a secret.

Decided here: how a dotted key leads to a value, and that a secret is never shown. Not decided here: what the value is
worth (``explain.py``, ``history.py``). In stored content a secret is a reference and a digest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import BUILT_IN, is_stored_secret, key_text
from nexus_supervisor.core.comparison import redacted
from nexus_supervisor.core.rules import Share
from nexus_supervisor.core.settings import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.content import Content

__all__ = ["ABSENT", "Place", "flat", "shown", "value_of"]

ABSENT: Any = object()
"""What a place holds where there is no such place."""

Path = tuple[str | int, ...]


class Place(NamedTuple):
    """Name one entry of a section, or a value in it."""

    section: str
    entry: str
    path: Path

    @property
    def key(self) -> str:
        """Return the dotted key under which people know it."""
        steps = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in self.path)
        return f"{key_text(self.section, self.entry)}{steps}"

    @property
    def variable(self) -> str:
        """Return the variable of the environment that may give a setting."""
        return f"NEXUS_{'__'.join((self.entry, *map(str, self.path))).upper()}"

    def is_given(self, overrides: Mapping[str, Any]) -> bool:
        """Say whether the environment gives this setting."""
        return self.section == BUILT_IN and _at(overrides.get(self.entry, {}), self.path) is not ABSENT

    def value_in(self, content: Content, overrides: Mapping[str, Any]) -> Any:
        """Return the value that a content has here, or ABSENT."""
        section = content.sections.get(self.section)
        if section is None or self.entry not in section.entries:
            return ABSENT
        return value_of(self, canonical.decode(section.entries[self.entry].body), overrides)


def value_of(place: Place, body: Any, overrides: Mapping[str, Any]) -> Any:
    """Return the value at a place of an entry, or ABSENT; of a setting that nobody wrote, its default."""
    if place.section != BUILT_IN:
        return _at(body, place.path)
    given = _at(overrides.get(place.entry, {}), place.path)
    if given is not ABSENT:
        return given
    written = _at(body, place.path)
    if written is not ABSENT:
        return written
    settings = parse({place.entry: body}, cpu_count=os.cpu_count() or 1).settings
    return _setting(getattr(settings, place.entry), place.path)


def shown(value: Any) -> str:
    """Return a value in one line, without a secret."""
    return "nothing" if value is ABSENT else json.dumps(redacted(value), ensure_ascii=False)


def flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every value in a value with its dotted key, in order; what is empty is a value."""
    if isinstance(value, Mapping) and value and not is_stored_secret(value):
        for name in sorted(value):
            yield from flat(f"{key}.{name}", value[name])
    else:
        yield key, value


def _at(value: Any, path: Path) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return ABSENT
    return value


def _setting(table: Any, path: Path) -> Any:
    for step in path:
        table = getattr(table, str(step), ABSENT) if is_dataclass(table) else ABSENT
    if isinstance(table, Share):
        return str(table) if table.percent else table.amount
    return ABSENT if is_dataclass(table) or isinstance(table, (tuple, Mapping)) else table
