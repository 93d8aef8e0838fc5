"""Facts: what cross-checks need to know about one entry, beside the others.

Decided here: the shape of a claim and of a reference. Not decided here: how they are found (``marked.py``) and what a
broken one leads to (``compiler/``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["NO_FACTS", "Claim", "Facts", "Reference"]


@dataclass(frozen=True, slots=True)
class Claim:
    """Say that an entry has a value that no other entry of its section may have; ``value`` is a digest for secrets."""

    path: tuple[str | int, ...]
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reference:
    """Say that an entry names an entry of another section."""

    path: tuple[str | int, ...]
    section: str
    name: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what one entry claims for itself alone, and which others it names."""

    claims: tuple[Claim, ...] = ()
    references: tuple[Reference, ...] = ()


NO_FACTS = Facts()
