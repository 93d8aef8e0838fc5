"""Content: sections of named entries in canonical bytes, and the digest that names them.

Decided here: how content is held (shards that two generations share), what its digest covers, and how a delta turns
one content into the next. Not decided here: which content may run (``trust.py``, ``rollout.py``) and what an entry
means (``models/``).

A section keeps its entries in 1,024 shards by a hash of the name. A change copies the shards that it touches and
shares the others, so a change of one entry among 100,000 costs microseconds; the section's root is a two-level hash
over the same shards, for the same reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NewType
from zlib import crc32

from nexus_supervisor.core import canonical
from nexus_supervisor.core.document import Document
from nexus_supervisor.errors import ProtocolError

__all__ = [
    "EMPTY",
    "SHARDS",
    "Apply",
    "Content",
    "Delta",
    "Digest",
    "Entries",
    "Entry",
    "Section",
    "SectionDelta",
    "Version",
]

Version = NewType("Version", int)
"""A strictly rising number, 1 and up: this supervisor's statement about one content."""

Digest = NewType("Digest", str)
"""64 lower-case hex digits of a SHA-256: the name of one content."""

Apply = str
"""``"live"`` or ``"restart"``: what a change of a section needs."""

SHARDS = 1024
_EMPTY_SHARD: Mapping[str, Entry] = {}
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold one entry: its name, its canonical JSON and the SHA-256 of that."""

    name: str
    body: bytes
    digest: bytes

    @classmethod
    def of(cls, name: str, body: bytes) -> Entry:
        """Make an entry from its canonical bytes."""
        return cls(name, body, hashlib.sha256(body).digest())


def shard_of(name: str) -> int:
    """Return the shard number, 0 to 1023, that holds an entry of this name."""
    return crc32(name.encode("utf-8", "surrogatepass")) % SHARDS


class Entries(Mapping[str, Entry]):
    """Hold the entries of one section; immutable, sharing shards with what it was made from."""

    __slots__ = ("_count", "_digests", "_document", "_shards")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        shards: list[Mapping[str, Entry]] = [_EMPTY_SHARD] * SHARDS
        digests = [_NO_DIGEST] * SHARDS
        self._shards, self._digests, self._count = shards, digests, 0
        self._document: Document | None = None
        self._put(entries, ())

    def _put(self, changed: Iterable[Entry], removed: Iterable[str]) -> None:
        """Apply changes in place; only used before the object is shared."""
        fresh: dict[int, dict[str, Entry]] = {}

        def shard(name: str) -> dict[str, Entry]:
            number = shard_of(name)
            if number not in fresh:
                fresh[number] = dict(self._shards[number])
            return fresh[number]

        for name in removed:
            shard(name).pop(name, None)
        for entry in changed:
            shard(entry.name)[entry.name] = entry
        for number, content in fresh.items():
            self._count += len(content) - len(self._shards[number])
            self._shards[number] = content
            self._digests[number] = _shard_digest(content)

    def changed(self, changed: Iterable[Entry], removed: Collection[str]) -> Entries:
        """Return the entries after a change; what did not change is shared."""
        after = Entries.__new__(Entries)
        after._shards, after._digests, after._count = list(self._shards), list(self._digests), self._count
        put = list(changed)
        after._put(put, removed)
        after._document = None
        if self._document is not None:
            after._document = self._document.changed(after, {*removed, *(entry.name for entry in put)})
        return after

    @property
    def document(self) -> Document:
        """Return the entries as one canonical JSON object; what is made from them follows at the cost of the change."""
        if self._document is None:
            self._document = Document.of(self)
        return self._document

    @property
    def root(self) -> str:
        """Return the hex SHA-256 over all (name, entry digest) pairs, by shard."""
        return hashlib.sha256(b"nexus-section-1\0" + b"".join(self._digests)).hexdigest()

    def __getitem__(self, name: str) -> Entry:
        return self._shards[shard_of(name)][name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._shards[shard_of(name)]

    def __iter__(self) -> Iterator[str]:
        for shard in self._shards:
            yield from shard

    def __len__(self) -> int:
        return self._count

    def differing(self, other: Entries) -> Iterator[tuple[str, Entry | None, Entry | None]]:
        """Yield (name, here, there) for each entry that differs; equal shards cost nothing."""
        if self._digests == other._digests:
            return
        for number, digest in enumerate(self._digests):
            if digest == other._digests[number]:
                continue
            mine, theirs = self._shards[number], other._shards[number]
            for name in sorted(mine.keys() | theirs.keys()):
                here, there = mine.get(name), theirs.get(name)
                if here is not there and (here is None or there is None or here.digest != there.digest):
                    yield name, here, there


def _shard_digest(shard: Mapping[str, Entry]) -> bytes:
    if not shard:
        return _NO_DIGEST
    state = hashlib.sha256()
    for name in sorted(shard):
        raw = name.encode("utf-8")
        state.update(len(raw).to_bytes(2, "big") + raw + shard[name].digest)
    return state.digest()


@dataclass(frozen=True)
class Section:
    """Hold one section: what a change of it needs, and its entries."""

    apply: Apply
    entries: Entries

    @cached_property
    def root(self) -> str:
        """Return the root hash of the entries."""
        return self.entries.root

    @property
    def document(self) -> bytes:
        """Return the section as one canonical JSON object, name to entry: the bytes of its file."""
        return bytes(self.entries.document)


@dataclass(frozen=True)
class Content:
    """Hold all sections; named by its digest."""

    sections: Mapping[str, Section]

    @cached_property
    def digest(self) -> Digest:
        """Return the SHA-256 of the canonical ``{section: {apply, entries, root}}``."""
        statement = {
            name: {"apply": section.apply, "entries": len(section.entries), "root": section.root}
            for name, section in self.sections.items()
        }
        return Digest(hashlib.sha256(canonical.encode(statement)).hexdigest())

    def after(self, delta: Delta) -> Content:
        """Apply a delta; raise ProtocolError where it doesn't fit this content."""
        if delta.base is not None and delta.base != self.digest:
            message = f"a delta against {delta.base[:12]} was given to content {self.digest[:12]}"
            raise ProtocolError(message)
        sections = dict(self.sections) if delta.base is not None else {}
        for name, change in delta.sections.items():
            before = sections.get(name)
            if before is None and delta.base is not None:
                message = f"a delta changes section {name!r}, which its base doesn't have"
                raise ProtocolError(message)
            entries = [Entry.of(entry, body) for entry, body in change.changed.items()]
            grown = Entries(entries) if before is None else before.entries.changed(entries, change.removed)
            sections[name] = Section(change.apply, grown)
        return Content(sections)

    def delta_from(self, base: Content | None) -> Delta:
        """Return what turns ``base`` into this content; the whole content where there is no common shape."""
        if base is None or base.sections.keys() != self.sections.keys():
            return Delta(None, {name: _whole(section) for name, section in self.sections.items()})
        changes = {name: _difference(base.sections[name], section) for name, section in self.sections.items()}
        return Delta(base.digest, {name: change for name, change in changes.items() if change is not None})


EMPTY = Content({})
"""Content before any version: no sections at all."""


@dataclass(frozen=True, slots=True)
class SectionDelta:
    """Say what changed in one section: entry bodies by name, and names that are gone."""

    apply: Apply
    changed: Mapping[str, bytes]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """Say how one content follows from another; ``base`` None means that this is the whole content."""

    base: Digest | None
    sections: Mapping[str, SectionDelta]


def _whole(section: Section) -> SectionDelta:
    return SectionDelta(section.apply, {name: section.entries[name].body for name in sorted(section.entries)})


def _difference(base: Section, section: Section) -> SectionDelta | None:
    if base.apply == section.apply and base.root == section.root:
        return None
    changed: dict[str, bytes] = {}
    removed: list[str] = []
    for name, _, there in base.entries.differing(section.entries):
        if there is None:
            removed.append(name)
        else:
            changed[name] = there.body
    return SectionDelta(section.apply, changed, tuple(removed))
