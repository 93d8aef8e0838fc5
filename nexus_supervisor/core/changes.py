"""Changes: what of a wanted content can go live now, what is held until a restart, and what differs.

Decided here: which part of a restart-required section, and of an entry with restart-required fields, is held, key by
key, and how a held key is named. Not decided here: whether the rest is still valid beside what is held (``compiler/``),
what a held change leads to (``fleet.py``).

The built-in section ``daemon`` holds the tables of daemon.toml as its entries, so its keys are named as they are
written (``daemon.port``); keys of every other section begin with the section's name (``destinations.main.db_path``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import canonical
from nexus_supervisor.core.content import Content, Entry, Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "BUILT_IN",
    "Change",
    "Impact",
    "Pattern",
    "differences",
    "hold",
    "is_stored_secret",
    "key_text",
    "moved",
    "pin",
]

BUILT_IN = "daemon"
"""The section that holds daemon.toml: entries ``daemon`` and ``supervisor``, the tables as written."""

Pattern = tuple[str, ...]
"""Where a field is in the entries of a section: keys, of which ``*`` stands for any."""

_ANY_KEY = "*"
_NO_FIELDS: Mapping[str, tuple[Pattern, ...]] = MappingProxyType({})
_ABSENT: Any = object()
_STORED_SECRET = {"digest", "ref"}
_MOST_NAMED = 5
"""How many entries of a section a summary names for each kind of change."""


def hold(
    running: Content,
    wanted: Content,
    live_keys: Mapping[str, tuple[str, ...]],
    restart_fields: Mapping[str, tuple[Pattern, ...]] = _NO_FIELDS,
) -> tuple[Content, tuple[str, ...]]:
    """Return the content that can go live now, and the dotted keys that wait for a restart.

    A live section is taken as wanted, but an entry that runs already keeps what its ``restart_fields`` lead to as it
    runs. Of a section that needs a restart every difference is held, except below its ``live_keys`` (dotted, beginning
    with an entry's name). A section that is new, gone, or changes what it needs is held whole, under its own name.
    Where nothing runs yet, nothing is held.
    """
    if not running.sections:
        return wanted, ()
    sections: dict[str, Section] = {}
    held: list[str] = []
    for name, before in running.sections.items():
        after = wanted.sections.get(name)
        if after is None or after.apply != before.apply:
            held.append(name)
            sections[name] = before
        elif before.apply == "live":
            sections[name], keys = _hold_fields(name, before, after, restart_fields.get(name, ()))
            held.extend(keys)
        else:
            sections[name], keys = _hold_section(name, before, after, live_keys.get(name, ()))
            held.extend(keys)
    held.extend(wanted.sections.keys() - running.sections.keys())
    return (Content(sections), tuple(sorted(held))) if held else (wanted, ())


def pin(running: Content, wanted: Content, keys: tuple[str, ...]) -> tuple[Content, tuple[str, ...]]:
    """Return the wanted content with these keys of daemon.toml as they run, and those of them that wait.

    For keys that only a new start of the supervisor reads: not even a restart of the workers applies them.
    """
    before, after = running.sections.get(BUILT_IN), wanted.sections.get(BUILT_IN)
    if before is None or after is None:
        return wanted, ()
    changed: list[Entry] = []
    held: list[str] = []
    for name in sorted(before.entries.keys() | after.entries.keys()):
        here, there = _document(before, name), _document(after, name)
        pinned = there
        for path in _below(name, keys):
            pinned = _with(pinned, path, _at(here, path))
        paths = [path for path, _, _ in differences(pinned, there)]
        if paths:
            held.extend(key_text(BUILT_IN, name, *path) for path in paths)
            changed.append(Entry.of(name, canonical.encode(pinned)))
    if not held:
        return wanted, ()
    section = Section(after.apply, after.entries.changed(changed, ()))
    return Content({**wanted.sections, BUILT_IN: section}), tuple(held)


def _document(section: Section, name: str) -> Any:
    return canonical.decode(section.entries[name].body) if name in section.entries else {}


def _hold_section(
    name: str, before: Section, after: Section, live_keys: tuple[str, ...]
) -> tuple[Section, tuple[str, ...]]:
    changed: list[Entry] = []
    held: list[str] = []
    for entry, here, there in before.entries.differing(after.entries):
        if here is None or there is None:
            held.append(key_text(name, entry))
            continue
        merged, keys = _hold_entry(here, there, _below(entry, live_keys))
        held.extend(key_text(name, entry, *path) for path in keys)
        if merged is not here:
            changed.append(merged)
    return Section(before.apply, before.entries.changed(changed, ())), tuple(held)


def _hold_entry(here: Entry, there: Entry, live: list[tuple[str, ...]]) -> tuple[Entry, list[tuple[str, ...]]]:
    """Return the running entry with its live keys as wanted, and the paths that are held."""
    merged, wanted = canonical.decode(here.body), canonical.decode(there.body)
    for path in live:
        merged = _with(merged, path, _at(wanted, path))
    return _merged(here, merged, there, wanted)


def _merged(here: Entry, merged: Any, there: Entry, wanted: Any) -> tuple[Entry, list[tuple[str, ...]]]:
    """Return the entry of a merged value, and the paths at which it is not as wanted."""
    held = [path for path, _, _ in differences(merged, wanted)]
    if not held:
        return there, []
    body = canonical.encode(merged)
    return (here if body == here.body else Entry.of(here.name, body)), held


def _hold_fields(
    name: str, before: Section, after: Section, fields: tuple[Pattern, ...]
) -> tuple[Section, tuple[str, ...]]:
    """Return the wanted section with the fields of its entries as they run, and the keys that are held so."""
    changed: list[Entry] = []
    held: list[str] = []
    for entry, here, there in before.entries.differing(after.entries) if fields else ():
        if here is None or there is None:
            continue
        running, wanted = canonical.decode(here.body), canonical.decode(there.body)
        kept = wanted
        for path in moved(running, wanted, fields):
            kept = _with(kept, path, _at(running, path))
        merged, keys = _merged(here, kept, there, wanted)
        held.extend(key_text(name, entry, *path) for path in keys)
        if keys:
            changed.append(merged)
    return (Section(after.apply, after.entries.changed(changed, ())) if changed else after), tuple(held)


def moved(here: Any, there: Any, fields: Sequence[Pattern]) -> list[tuple[str, ...]]:
    """Return the places at which what these fields lead to differs, those that hold others first.

    Where a field is there only on one side, the smallest thing that came or went with it is the place: an item of a
    table with any keys, or what became another kind of thing.
    """
    found = {path for field in fields for path in _moved(here, there, field, ())}
    return sorted(found, key=len)


def _moved(here: Any, there: Any, field: Pattern, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not (field and isinstance(here, dict) and isinstance(there, dict)):
        if any(differences(here, there)) and (_leads(here, field) or _leads(there, field)):
            yield path
        return
    first, rest = field[0], field[1:]
    for key in sorted(here.keys() | there.keys()) if first == _ANY_KEY else (first,):
        if key in here and key in there:
            yield from _moved(here[key], there[key], rest, (*path, key))
        elif _leads(here.get(key, _ABSENT), rest) or _leads(there.get(key, _ABSENT), rest):
            yield (*path, key) if first == _ANY_KEY or not path else path


def _leads(value: Any, field: Pattern) -> bool:
    """Say whether a field leads to anything in a value."""
    if not field:
        return value is not _ABSENT
    if not isinstance(value, dict):
        return False
    items = value.values() if field[0] == _ANY_KEY else (value.get(field[0], _ABSENT),)
    return any(_leads(item, field[1:]) for item in items)


def _below(entry: str, live_keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the paths, inside this entry, that are live."""
    paths = [tuple(key.split(".")) for key in live_keys]
    return [path[1:] for path in paths if path[0] == entry]


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _with(value: Any, path: tuple[str, ...], new: Any) -> Any:
    """Return ``value`` with ``new`` at the path, or without the path where ``new`` is absent."""
    if not path:
        return value if new is _ABSENT else new
    inner = value if isinstance(value, dict) else {}
    if new is _ABSENT and path[0] not in inner:
        return value
    if new is _ABSENT and len(path) == 1:
        return {key: item for key, item in inner.items() if key != path[0]}
    return {**inner, path[0]: _with(inner.get(path[0], {}), path[1:], new)}


def differences(here: Any, there: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield (path, here, there) for each leaf that differs; a list and a stored secret are leaves, absent is None."""
    if isinstance(here, dict) and isinstance(there, dict) and not (is_stored_secret(here) or is_stored_secret(there)):
        for key in sorted(here.keys() | there.keys()):
            mine, theirs = here.get(key, _ABSENT), there.get(key, _ABSENT)
            if mine is _ABSENT or theirs is _ABSENT:
                yield (*path, key), None if mine is _ABSENT else mine, None if theirs is _ABSENT else theirs
            else:
                yield from differences(mine, theirs, (*path, key))
    elif here is not there and canonical.encode(here) != canonical.encode(there):
        yield path, here, there


def is_stored_secret(value: Any) -> bool:
    """Say whether a value has the form in which secrets are stored: ``{digest, ref}``, both texts or no reference."""
    if not (isinstance(value, dict) and value.keys() == _STORED_SECRET):
        return False
    return isinstance(value["digest"], str) and isinstance(value["ref"], str | None)


def key_text(section: str, entry: str, *path: str) -> str:
    """Return the dotted key under which people know a value."""
    return ".".join((entry, *path) if section == BUILT_IN else (section, entry, *path))


@dataclass(frozen=True, slots=True)
class Change:
    """List the names of one section's entries that are new, gone, or different."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Impact:
    """Say what one content changes in another, by section; sections without a change are left out."""

    sections: Mapping[str, Change]

    @classmethod
    def of(cls, before: Content, after: Content) -> Impact:
        """Compare two contents; a section that only one of them has counts with all its entries."""
        names = sorted(before.sections.keys() | after.sections.keys())
        found = {name: _change(before.sections.get(name), after.sections.get(name)) for name in names}
        return cls({name: change for name, change in found.items() if change is not None})

    def __str__(self) -> str:
        """Show the counts in one line, such as ``sources: 1 added, 2 changed``."""
        return "; ".join(f"{name}: {_counts(change)}" for name, change in self.sections.items()) or "no change"

    @property
    def summary(self) -> str:
        """Name the entries in one line, such as ``sources: changed alpha, removed beta, gamma and 5 more``."""
        return "; ".join(f"{name}: {', '.join(_named(change))}" for name, change in self.sections.items())


def _change(before: Section | None, after: Section | None) -> Change | None:
    nothing: Mapping[str, Entry] = {}
    here, there = before.entries if before else nothing, after.entries if after else nothing
    if before and after:
        added, removed, changed = _sorted_out(before, after)
    else:
        added, removed, changed = tuple(sorted(there)), tuple(sorted(here)), ()
    return Change(added, removed, changed) if added or removed or changed else None


def _sorted_out(before: Section, after: Section) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    differing = sorted(before.entries.differing(after.entries), key=lambda found: found[0])
    added = tuple(name for name, here, _ in differing if here is None)
    removed = tuple(name for name, _, there in differing if there is None)
    return added, removed, tuple(name for name, here, there in differing if here is not None and there is not None)


def _counts(change: Change) -> str:
    counts = {"added": len(change.added), "removed": len(change.removed), "changed": len(change.changed)}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _named(change: Change) -> Iterator[str]:
    for word, names in (("added", change.added), ("changed", change.changed), ("removed", change.removed)):
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            yield f"{word} {', '.join(names[:_MOST_NAMED])}{more}"
