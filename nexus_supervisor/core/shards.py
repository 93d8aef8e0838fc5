"""Shards: a read-only mapping that shares what did not change with the mapping that it was made from.

Decided here: how values are kept by name. Not decided here: what the values are. The shards are those of
``core/content.py``: a change of one name among 100,000 copies one shard of 1,024.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar

from nexus_supervisor.core.content import SHARDS, shard_of

__all__ = ["Shards"]

V_co = TypeVar("V_co", covariant=True)

_EMPTY: Mapping[str, object] = MappingProxyType({})


class Shards(Mapping[str, V_co]):
    """Hold values by name; immutable, sharing shards with what it was made from."""

    __slots__ = ("_count", "_shards")

    _shards: list[Mapping[str, V_co]]
    _count: int

    def __init__(self, values: Mapping[str, V_co] | None = None) -> None:
        self._shards, self._count = [_EMPTY] * SHARDS, 0  # type: ignore[list-item]
        if values:
            self._put(values, ())

    def changed(self, changed: Mapping[str, V_co], removed: Iterable[str] = ()) -> Shards[V_co]:
        """Return the values after a change; what did not change is shared."""
        after: Shards[V_co] = Shards()
        after._shards, after._count = list(self._shards), self._count
        after._put(changed, removed)
        return after

    def differing(self, other: Shards[V_co]) -> Iterator[tuple[str, V_co | None, V_co | None]]:
        """Yield (name, here, there) for each value that is not the same object; shared shards cost nothing."""
        for mine, theirs in zip(self._shards, other._shards, strict=True):
            if mine is theirs:
                continue
            for name in sorted(mine.keys() | theirs.keys()):
                here, there = mine.get(name), theirs.get(name)
                if here is not there:
                    yield name, here, there

    def _put(self, changed: Mapping[str, V_co], removed: Iterable[str]) -> None:
        """Apply changes in place; only used before the object is shared."""
        fresh: dict[int, dict[str, V_co]] = {}

        def shard(name: str) -> dict[str, V_co]:
            number = shard_of(name)
            if number not in fresh:
                fresh[number] = dict(self._shards[number])
            return fresh[number]

        for name in removed:
            shard(name).pop(name, None)
        for name, value in changed.items():
            shard(name)[name] = value
        for number, content in fresh.items():
            self._count += len(content) - len(self._shards[number])
            self._shards[number] = content

    def __getitem__(self, name: str) -> V_co:
        return self._shards[shard_of(name)][name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._shards[shard_of(name)]

    def __iter__(self) -> Iterator[str]:
        for shard in self._shards:
            yield from shard

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        """Show how many values there are, never what they are."""
        return f"<{len(self)} entries>"
