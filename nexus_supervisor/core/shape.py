"""The shape of a content beside that of another: how many entries each section has and lost, and how large it is.

Decided here: which figures these are. Not decided here: how they are counted (the supervisor, which holds contents) and
which shapes are suspicious (``guards.py``). Contents never enter the fleet; their shapes do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["NO_SHAPE", "SectionShape", "Shape"]


@dataclass(frozen=True, slots=True)
class SectionShape:
    """Count the entries of one section: ``before`` and ``after``, and how many of those before are ``removed``."""

    before: int
    after: int
    removed: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Compare two contents: their sections by name (of either), and the bytes of all entries before and after."""

    sections: Mapping[str, SectionShape]
    bytes_before: int = 0
    bytes_after: int = 0


NO_SHAPE = Shape(MappingProxyType({}))
"""Nothing beside nothing."""
