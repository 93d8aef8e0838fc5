"""Spelling: which known word somebody meant.

Decided here: how far apart two words are, and when a suggestion is worth making. Not decided here: what an unknown
word leads to.

The distance counts insertions, deletions, replacements and swaps of two neighbors (optimal string alignment).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["one_edit_away", "suggestion"]

_MAX_WORD_CHARACTERS = 64


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is nearest, or None where none is near enough to be meant.

    Letter case, ``-`` and ``_`` don't count. Of words equally near, the first in alphabetical order is returned.
    """
    if not 0 < len(word) <= _MAX_WORD_CHARACTERS:
        return None
    meant, bound = _folded(word), _bound(word)
    best: tuple[int, str] | None = None
    for candidate in known:
        if abs(len(candidate) - len(word)) > bound:
            continue
        ranked = (_distance(meant, _folded(candidate)), candidate)
        if ranked[0] <= bound and (best is None or ranked < best):
            best = ranked
    return None if best is None else best[1]


def one_edit_away(a: str, b: str) -> bool:
    """Say whether one insertion, deletion, replacement or swap of neighbors makes ``b`` of ``a``."""
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    here, there = a[start:], b[start:]
    if len(a) != len(b):
        return here[1:] == there or here == there[1:]
    return here[1:] == there[1:] or (here[2:] == there[2:] and here[:2] == there[1::-1])


def _bound(word: str) -> int:
    """Return how many edits still count as near: one for short words, up to three for long ones."""
    return min(3, max(1, len(word) // 3))


def _folded(word: str) -> str:
    return word.casefold().replace("-", "_")


def _distance(a: str, b: str) -> int:
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, right in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == b[j - 2] and right == a[i - 2]:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
