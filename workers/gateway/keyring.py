"""The keyring: which source a presented key belongs to.

Decided here: how a key is looked up (by its keyed hash, so that cost and timing tell nothing about the keys that
exist) and how the index of one snapshot follows from that of the snapshot before. Not decided here: what a source may
do (``permissions.py``).

The index is built when a snapshot is staged, never inside a request. It is cut into 1,024 shards by the first bits of
the digest; a change copies the shards that it touches and shares the others.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from nexus_supervisor.models.marks import keyed_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nexus_supervisor.core.shards import Shards

    from .models import Destination, Source

__all__ = ["GatewaySnapshot", "Index", "derive_index", "identify", "presented_key"]

_SHARDS = 1024
_EMPTY: Mapping[str, str] = MappingProxyType({})
_MAX_KEY_BYTES = 4096


class GatewaySnapshot(Protocol):
    """See of a snapshot what the gateway needs."""

    @property
    def version(self) -> int:
        """Return the version."""

    @property
    def sources(self) -> Shards[Source]:
        """Return the sources by name."""

    @property
    def destinations(self) -> Shards[Destination]:
        """Return the destinations by name."""

    @property
    def program(self) -> Index:
        """Return the index that ``derive_index`` made."""


class Index:
    """Map digests of keys to names of sources; immutable."""

    __slots__ = ("_shards",)

    def __init__(self, shards: tuple[Mapping[str, str], ...] = (_EMPTY,) * _SHARDS) -> None:
        self._shards = shards

    def find(self, digest: str) -> str | None:
        """Return the name of the source with this key digest (64 hex digits), or None."""
        return self._shards[_shard_of(digest)].get(digest)

    def changed(self, removed: Iterable[str], added: Mapping[str, str]) -> Index:
        """Return the index without the removed digests and then with the added ones; what did not change is shared."""
        fresh: dict[int, dict[str, str]] = {}
        for digest in removed:
            self._writable(fresh, digest).pop(digest, None)
        for digest, name in added.items():
            self._writable(fresh, digest)[digest] = name
        shards = list(self._shards)
        for number, shard in fresh.items():
            shards[number] = shard
        return Index(tuple(shards))

    def _writable(self, fresh: dict[int, dict[str, str]], digest: str) -> dict[str, str]:
        number = _shard_of(digest)
        if number not in fresh:
            fresh[number] = dict(self._shards[number])
        return fresh[number]


_NOTHING = Index()


def derive_index(snapshot: GatewaySnapshot, before: GatewaySnapshot | None) -> Index:
    """Return the index of a snapshot, made from that of the snapshot before by what differs."""
    if before is None:
        return _NOTHING.changed((), {source.api_key.digest: name for name, source in snapshot.sources.items()})
    removed: list[str] = []
    added: dict[str, str] = {}
    for name, old, new in before.sources.differing(snapshot.sources):
        if old is not None:
            removed.append(old.api_key.digest)
        if new is not None:
            added[new.api_key.digest] = name
    return before.program.changed(removed, added)


def identify(snapshot: GatewaySnapshot, pepper: bytes, key: str) -> Source | None:
    """Return the source of this snapshot that a presented key belongs to, or None."""
    name = snapshot.program.find(keyed_digest(pepper, key))
    return None if name is None else snapshot.sources[name]


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the Bearer key of a request (RFC 6750, section 2.1), or None where there is not exactly one."""
    found = [value for name, value in headers if name == b"authorization"]
    if len(found) != 1 or len(found[0]) > _MAX_KEY_BYTES:
        return None
    scheme, _, key = found[0].partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    try:
        return key.strip().decode("utf-8") or None
    except UnicodeDecodeError:
        return None


def _shard_of(digest: str) -> int:
    return int(digest[:3], 16) >> 2
