"""Permissions: whether a source may do what its request asks for.

Decided here: the order of the checks and the reason of each refusal. Not decided here: who asks (``keyring.py``) and
what a source declares (``models.py``).

Whether another source exists is told to nobody but its own key: a foreign name is refused in the same words, whether
there is such a source or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import problem

if TYPE_CHECKING:
    from .models import Source

__all__ = ["target_of_write"]


def target_of_write(source: Source, asked_for: str) -> str:
    """Return the name of the destination that this write goes to; raise Refused (403 or 409) where it may not."""
    if asked_for != source.name:
        raise problem(403, "foreign_source", "this key is not the key of the source that the path names")
    if not source.can_write:
        raise problem(403, "can_write", f"source {source.name} may not write: its can_write is false")
    operations = source.policy.allowed_operations
    if operations and "write" not in operations:
        raise problem(403, "allowed_operations", f"source {source.name} may not write: its policy does not allow it")
    target = source.target_destination
    if target is None:
        raise problem(409, "no_destination", f"source {source.name} names no target_destination to write to")
    destinations = source.policy.allowed_destinations
    if destinations and target not in destinations:
        raise problem(403, "allowed_destinations", f"source {source.name} may not write to destination {target}")
    return target
