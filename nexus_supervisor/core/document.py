"""The document of a section: its one file, as bytes that a small change doesn't have to write again.

Decided here: how the canonical JSON object of all entries is kept in blocks, so that size and hash follow a change of
one entry among 100,000 at the cost of hashing. Not decided here: what an entry says (``content.py``) and where the file
goes (``supervisor/archive.py``).

The blocks are runs of entries in the order of their names. A changed document shares every block that the change does
not touch, and the hash states before the first one that it does.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from json import JSONEncoder
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from nexus_supervisor.core.content import Entry

__all__ = ["Document"]

_BLOCK_ENTRIES: Final = 64
_name = JSONEncoder(ensure_ascii=False).encode


class _Block(NamedTuple):
    """Hold a run of entries: their names in order, and their bytes with commas between them."""

    names: tuple[str, ...]
    raw: bytes


class Document:
    """Hold the bytes of one section's file; immutable to its users."""

    __slots__ = ("_blocks", "_states")

    def __init__(self, blocks: Sequence[_Block], states: Sequence[hashlib._Hash]) -> None:
        self._blocks = blocks
        self._states = states  # the hash of all before block 0, before block 1, …, as far as they are known

    @classmethod
    def of(cls, entries: Mapping[str, Entry]) -> Document:
        """Return the document of these entries."""
        return cls(list(_blocks(sorted(entries), entries)), [hashlib.sha256(b"{")])

    def changed(self, entries: Mapping[str, Entry], names: Collection[str]) -> Document:
        """Return the document of ``entries``, which differ from this document's in these names only."""
        if not self._blocks or 4 * len(names) > len(entries):
            return Document.of(entries)
        touched: dict[int, set[str]] = {}
        for name in names:
            number = max(0, bisect_right(self._blocks, name, key=_first) - 1)
            touched.setdefault(number, set(self._blocks[number].names)).add(name)
        blocks = list(self._blocks)
        for number in sorted(touched, reverse=True):
            blocks[number : number + 1] = _blocks(sorted(name for name in touched[number] if name in entries), entries)
        return Document(blocks, self._states[: min(touched, default=len(blocks)) + 1])

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return 2 + sum(len(block.raw) for block in self._blocks) + max(0, len(self._blocks) - 1)

    @property
    def sha256(self) -> str:
        """Return the hex SHA-256 of the bytes; only what follows the first change is hashed again."""
        states = list(self._states)
        for number in range(len(states) - 1, len(self._blocks)):
            state = states[-1].copy()
            state.update(b"," * (number > 0))
            state.update(self._blocks[number].raw)
            states.append(state)
        self._states = states
        end = states[-1].copy()
        end.update(b"}")
        return end.hexdigest()

    def __bytes__(self) -> bytes:
        """Return the whole as one canonical JSON object, name to entry."""
        return b"{" + b",".join([block.raw for block in self._blocks]) + b"}"


def _first(block: _Block) -> str:
    return block.names[0]


def _blocks(names: Sequence[str], entries: Mapping[str, Entry]) -> Iterator[_Block]:
    """Yield the blocks of some names in order: one where they are few enough, else halves full, to grow."""
    step = _BLOCK_ENTRIES if len(names) > 2 * _BLOCK_ENTRIES else 2 * _BLOCK_ENTRIES
    for start in range(0, len(names), step):
        part = tuple(names[start : start + step])
        yield _Block(part, b",".join([b"%b:%b" % (_name(name).encode(), entries[name].body) for name in part]))
