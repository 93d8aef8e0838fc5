"""Deltas as bytes: the one payload format of pipes and journal.

Decided here: the encoding, and that a delta against an empty base carries whole content. Not decided here: what a
delta may change (``content.py`` applies it, ``trust.py`` checks the result against what was signed).
"""

from __future__ import annotations

from nexus_supervisor.core.codec import pack, unpack
from nexus_supervisor.core.content import Delta, Digest, SectionDelta
from nexus_supervisor.errors import ProtocolError

__all__ = ["decode", "encode"]

_MAX_NAME_CHARACTERS = 255


def encode(delta: Delta) -> bytes:
    """Return the bytes of a delta."""
    sections = {
        name: [change.apply, dict(change.changed), list(change.removed)] for name, change in delta.sections.items()
    }
    return pack([delta.base, sections])


def decode(raw: bytes | memoryview) -> Delta:
    """Return the delta that the bytes hold; raise ProtocolError for anything else."""
    value = unpack(raw)
    match value:
        case (None | str() as base, dict() as sections):
            return Delta(
                None if base is None else Digest(base), {_text(name): _change(one) for name, one in sections.items()}
            )
    message = "a delta must be [base, sections]"
    raise ProtocolError(message)


def _change(value: object) -> SectionDelta:
    match value:
        case ("live" | "restart" as apply, dict() as changed, tuple() as removed):
            if all(isinstance(body, bytes) for body in changed.values()):
                return SectionDelta(
                    apply, {_text(name): body for name, body in changed.items()}, tuple(map(_text, removed))
                )
    message = "a section of a delta must be [apply, changed, removed]"
    raise ProtocolError(message)


def _text(value: object) -> str:
    if isinstance(value, str) and len(value) <= _MAX_NAME_CHARACTERS:
        return value
    message = f"a name in a delta must be text of at most {_MAX_NAME_CHARACTERS} characters"
    raise ProtocolError(message)
