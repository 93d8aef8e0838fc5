"""Permissions: whether a source may do what its request asks for.

Decided here: the order of the checks and the reason of each refusal. Not decided here: who asks (``keyring.py``), what
a source declares (``models.py``), and what a query may see (``questions.py``).

Whether another source exists is told to nobody but its own key: a foreign name is refused in the same words, whether
there is such a source or not. Whether a destination exists is told to sources that may read all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .answers import problem

if TYPE_CHECKING:
    from collections.abc import Container

    from .models import Source
    from .questions import Question

__all__ = ["check_question", "check_reader", "target_of_write"]


def target_of_write(source: Source, asked_for: str) -> str:
    """Return the name of the destination that this write goes to; raise Refused (403 or 409) where it may not."""
    if asked_for != source.name:
        raise problem(403, "foreign_source", "this key is not the key of the source that the path names")
    if not source.can_write:
        raise problem(403, "can_write", f"source {source.name} may not write: its can_write is false")
    _check_operation(source, "write")
    target = source.target_destination
    if target is None:
        raise problem(409, "no_destination", f"source {source.name} names no target_destination to write to")
    destinations = source.policy.allowed_destinations
    if destinations and target not in destinations:
        raise problem(403, "allowed_destinations", f"source {source.name} may not write to destination {target}")
    return target


def check_reader(source: Source, destination: str, known: Container[str]) -> None:
    """Raise Refused (403 or 404) where a source may not read this destination, or there is none of ``known``."""
    if not source.can_read:
        raise problem(403, "can_read", f"source {source.name} may not read: its can_read is false")
    destinations = source.policy.allowed_destinations
    if destinations and destination not in destinations:
        detail = f"source {source.name} may not read the destination that the path names"
        raise problem(403, "allowed_destinations", detail)
    if destination not in known:
        raise problem(404, "unknown_destination", "there is no destination of the name in the path")


def check_question(source: Source, question: Question) -> None:
    """Raise Refused (403) where a source may not ask this."""
    _check_operation(source, "search" if question.words else "read")
    modes = source.policy.allowed_retrieval_modes
    if modes and question.mode not in modes:
        detail = f"source {source.name} may not ask in mode {question.mode}: its policy does not allow it"
        raise problem(403, "allowed_retrieval_modes", detail)
    profiles = source.policy.allowed_profiles
    if profiles and question.profile is not None and question.profile not in profiles:
        detail = f"source {source.name} may not ask for this profile: its policy does not allow it"
        raise problem(403, "allowed_profiles", detail)


def _check_operation(source: Source, operation: Literal["read", "write", "search"]) -> None:
    operations = source.policy.allowed_operations
    if operations and operation not in operations:
        detail = f"source {source.name} may not {operation}: its policy does not allow it"
        raise problem(403, "allowed_operations", detail)
