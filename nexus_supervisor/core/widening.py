"""Widening: whether an entry may do more than before, by the fields that its model marks for that.

Decided here: when a value counts as wider than another. Not decided here: which fields are marked (``models/``) and
what a wider one leads to (``guards.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import is_stored_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexus_supervisor.core.changes import Pattern

__all__ = ["ANY_PLACE", "Wide", "WideField", "wider", "widened"]

ANY_PLACE = "*"
"""The part of a pattern that stands for any key of a table, and for any place in a list."""


@dataclass(frozen=True, slots=True)
class Wide:
    """Say what of a field gives more rights.

    A switch is wider when it is turned on; a number when it is greater, at least ``times`` as great; a list when it is
    longer or names anything new; a table when it has a new key, or a wider value under one; a text when it comes later
    in ``order``, or, without one, when it becomes any other text but the empty one. With ``less`` the smaller one is
    wider, and the list that names less. With ``empty_is_all`` nothing (0, an empty text or list) means no limit, so
    that it is wider than anything else. Values that can't be compared count as wider: nobody can say that they aren't.
    """

    times: float = 1.0
    less: bool = False
    empty_is_all: bool = False
    order: tuple[str, ...] = ()


WideField = tuple["Pattern", Wide]
"""Where a field is in the entries of a section, and what of it gives more rights."""


def widened(before: Any, after: Any, fields: Sequence[WideField]) -> list[Pattern]:
    """Return the places at which one of these fields is wider after than before, in order.

    What was there only before or only after is a field of another model, or of an item that came or went: no place.
    """
    found = {place for pattern, wide in fields for place in _led(before, after, pattern, (), wide)}
    return sorted(found)


def _led(here: Any, there: Any, pattern: Pattern, path: Pattern, wide: Wide) -> Iterator[Pattern]:
    """Yield the wider places that a pattern leads to below a pair of values."""
    if not pattern:
        yield from _wider(here, there, path, wide)
        return
    first, rest = pattern[0], pattern[1:]
    mine, theirs = _places(here), _places(there)
    for key in mine.keys() & theirs.keys() if first == ANY_PLACE else {first} & mine.keys() & theirs.keys():
        yield from _led(mine[key], theirs[key], rest, (*path, key), wide)


def _places(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {str(number): item for number, item in enumerate(value)}
    return value if isinstance(value, dict) else {}


def _wider(here: Any, there: Any, path: Pattern, wide: Wide) -> Iterator[Pattern]:
    """Yield the place itself, or those in a table, at which a value is wider."""
    tables = isinstance(here, dict) and isinstance(there, dict)
    if not tables or is_stored_secret(here) or is_stored_secret(there) or (wide.empty_is_all and not (here and there)):
        if wider(here, there, wide):
            yield path
        return
    came, went = (here, there) if wide.less else (there, here)
    yield from ((*path, key) for key in came.keys() - went.keys())
    for key in here.keys() & there.keys():
        yield from _wider(here[key], there[key], (*path, key), wide)


def wider(here: Any, there: Any, wide: Wide) -> bool:
    """Say whether a value gives more rights than the one before."""
    if canonical.encode(here) == canonical.encode(there):
        return False
    if wide.empty_is_all and not (here and there):
        return not there and bool(here)
    if wide.less:
        here, there = there, here
    return _more(here, there, wide)


def _more(here: Any, there: Any, wide: Wide) -> bool:
    """Say whether the second of two values that differ is more than the first."""
    match here, there:
        case (None, _) | (_, None) | (bool(), bool()):
            return bool(there)
        case (bool(), _) | (_, bool()):
            return True
        case (int() | float(), int() | float()):
            return bool(there > here and there >= here * wide.times)
        case (list(), list()):
            known = {canonical.encode(item) for item in here}
            return len(there) > len(here) or any(canonical.encode(item) not in known for item in there)
        case (str(), str()):
            ranks = [wide.order.index(text) if text in wide.order else -1 for text in (here, there)]
            return ranks[1] > ranks[0] if min(ranks) >= 0 else bool(there)
    return True
