"""The contents that the supervisor holds, by digest, with what belongs to each.

Decided here: what is kept for how long, how little of a content has to be sent to a worker that holds another, and how
two contents compare in numbers. Not decided here: which content runs. Secret values are held as sealed memory that is
passed on and never read here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import canonical, delta
from nexus_supervisor.core.content import EMPTY, Content, Delta, Digest, Entries
from nexus_supervisor.core.handover import HandedContent
from nexus_supervisor.core.settings import Settings, parse
from nexus_supervisor.core.shape import SectionShape, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Contents", "Kept", "Parcel", "settings_of"]

_NOTHING = Entries()


@dataclass(slots=True)
class Kept:
    """Hold one content, its settings, the bytes of its entries, and the descriptor of its secrets, if it has any."""

    content: Content
    settings: Settings
    size: int
    secrets: int | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """Hold what turns one content into another: the encoded delta and the names that it brings, by live section."""

    base: Digest | None
    payload: bytes | None
    names: Mapping[str, tuple[str, ...]]


class Contents:
    """Hold contents by digest."""

    def __init__(self, overrides: Mapping[str, Any]) -> None:
        self._overrides = overrides
        self._kept: dict[Digest, Kept] = {}
        self._parcels: dict[tuple[Digest | None, Digest], Parcel] = {}

    def put(self, content: Content, secrets: int | None) -> Kept:
        """Keep a content; ``secrets`` is ours from now on, and replaces what was known."""
        kept = self._kept.get(content.digest)
        if kept is None:
            try:
                settings = self._settings(content)
            except BaseException:
                _close(secrets)
                raise
            kept = self._kept[content.digest] = Kept(content, settings, self._size(content), secrets)
        elif secrets is not None:
            _close(kept.secrets)
            kept.secrets = secrets
        return kept

    def get(self, digest: Digest) -> Kept:
        """Return a content that is kept; raise KeyError otherwise."""
        return self._kept[digest]

    def find(self, digest: Digest | None) -> Content | None:
        """Return the content of a digest, EMPTY for None; None where it isn't kept."""
        if digest is None or digest == EMPTY.digest:
            return EMPTY
        kept = self._kept.get(digest)
        return None if kept is None else kept.content

    def shape(self, before: Digest, after: Digest) -> Shape:
        """Return the shape of one kept content beside that of another, at the cost of what differs."""
        here, there = self.find(before), self.find(after)
        sizes = [0 if digest == EMPTY.digest else self._kept[digest].size for digest in (before, after)]
        pairs = _pairs(here or EMPTY, there or EMPTY)
        return Shape({name: _shape(*entries) for name, entries in pairs.items()}, *sizes)

    def parcel(self, holds: tuple[Digest, ...], target: Digest) -> Parcel:
        """Return the least that has to be sent to somebody who holds these contents."""
        if target in holds:
            return Parcel(target, None, {})
        base = next((digest for digest in holds if digest in self._kept), None)
        key = (base, target)
        if key not in self._parcels:
            content = self._kept[target].content
            change = content.delta_from(None if base is None else self._kept[base].content)
            self._parcels[key] = Parcel(change.base, delta.encode(change), _names(change))
        return self._parcels[key]

    def encoded(self, base: Digest | None, target: Digest) -> bytes:
        """Return the encoded delta from one content to another, also where they are the same; None: from nothing."""
        payload = self.parcel(() if base is None else (base,), target).payload
        return delta.encode(Delta(target, {})) if payload is None else payload

    def keep(self, digests: Iterable[Digest]) -> list[tuple[str, str]]:
        """Forget every content but these; return the live entries that no kept content has any more."""
        wanted = set(digests)
        forgotten = [self._kept.pop(digest) for digest in list(self._kept) if digest not in wanted]
        for kept in forgotten:
            _close(kept.secrets)
        bases = {None, *wanted}
        self._parcels = {key: one for key, one in self._parcels.items() if key[1] in wanted and key[0] in bases}
        return [key for kept in forgotten for key in self._only_in(kept.content)]

    def given(self, table: str, key: str) -> Any:
        """Return the setting ``supervisor.<table>.<key>`` that command line or environment give; None: they don't."""
        return self._overrides.get("supervisor", {}).get(table, {}).get(key)

    def handed(self) -> tuple[HandedContent, ...]:
        """Return the secrets of each content that has any."""
        return tuple(
            HandedContent(digest, kept.secrets) for digest, kept in self._kept.items() if kept.secrets is not None
        )

    def close(self) -> None:
        """Close every descriptor that is held."""
        self.keep(())

    def _size(self, content: Content) -> int:
        """Return the bytes of all entries; of those that a kept content shares, they are known."""
        known = next(reversed(self._kept.values()), None)
        pairs = _pairs(EMPTY if known is None else known.content, content).values()
        differing = (one for here, there in pairs for one in here.differing(there))
        grown = sum((len(there.body) if there else 0) - (len(here.body) if here else 0) for _, here, there in differing)
        return (0 if known is None else known.size) + grown

    def _settings(self, content: Content) -> Settings:
        """Return the settings of a content; those of a kept one where the section that holds them is the same."""
        section = content.sections.get("daemon")
        for kept in self._kept.values():
            if section is not None and kept.content.sections.get("daemon") is section:
                return kept.settings
        return settings_of(content, self._overrides)

    def _only_in(self, content: Content) -> list[tuple[str, str]]:
        """Return the live entries of a content that no kept one has; shared shards are passed over."""
        others = [kept.content for kept in self._kept.values()]
        if not others:
            return []
        gone = []
        for name, section in content.sections.items():
            newest = others[0].sections.get(name)
            if section.apply != "live":
                continue
            there = Entries() if newest is None else newest.entries
            names = [entry for entry, _, kept in section.entries.differing(there) if kept is None]
            gone += [(name, entry) for entry in names if not any(_has(other, name, entry) for other in others)]
        return gone


def settings_of(content: Content, overrides: Mapping[str, Any]) -> Settings:
    """Return the settings that a content and the command line give."""
    section = content.sections.get("daemon")
    document = {name: canonical.decode(entry.body) for name, entry in section.entries.items()} if section else {}
    if isinstance(document.get("daemon"), dict):
        document["daemon"] = {key: value for key, value in document["daemon"].items() if key != "admin_token"}
    return parse(document, overrides, cpu_count=os.cpu_count() or 1).settings


def _pairs(before: Content, after: Content) -> dict[str, tuple[Entries, Entries]]:
    """Return the entries of each section of either content."""
    names = sorted(before.sections.keys() | after.sections.keys())
    here, there = ({name: part.entries for name, part in one.sections.items()} for one in (before, after))
    return {name: (here.get(name, _NOTHING), there.get(name, _NOTHING)) for name in names}


def _shape(before: Entries, after: Entries) -> SectionShape:
    removed = sum(there is None for _, _, there in before.differing(after))
    return SectionShape(len(before), len(after), removed)


def _names(change: Delta) -> dict[str, tuple[str, ...]]:
    return {name: tuple(section.changed) for name, section in change.sections.items() if section.apply == "live"}


def _has(content: Content, section: str, entry: str) -> bool:
    held = content.sections.get(section)
    return held is not None and entry in held.entries


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
