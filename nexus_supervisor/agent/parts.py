"""Parts: what an offer brings besides its message, wherever it traveled.

Decided here: that it is exactly what the message announces. Not decided here: what the parts say (``staging.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexus_supervisor.errors import ProtocolError
from nexus_supervisor.wire import close_all, received_payload

if TYPE_CHECKING:
    from nexus_supervisor.core.messages import Stage

__all__ = ["Parts", "Raw", "parts_of"]

Raw = bytes | memoryview

_MAX_PAYLOAD_BYTES = 1 << 30


class Parts(NamedTuple):
    """Hold what an offer brings besides its message: the packed delta, secret values, and rows of the counters."""

    payload: Raw | None = None
    secrets: Raw | None = None
    rows: Raw | None = None


def parts_of(message: Stage, descriptors: list[int]) -> Parts:
    """Return the parts of an offer and close the descriptors; raise ProtocolError where it isn't what was said."""
    announced = (message.payload_beside, message.secrets_beside, message.rows_beside)
    if len(descriptors) != sum(announced):
        close_all(descriptors)
        text = f"{len(descriptors)} descriptors arrived beside an offer that announces {sum(announced)}"
        raise ProtocolError(text)
    rest = list(descriptors)
    inline = (message.payload, None, message.rows)
    try:
        found = [
            received_payload(part, rest.pop(0) if beside else None, _MAX_PAYLOAD_BYTES)
            for part, beside in zip(inline, announced, strict=True)
        ]
    except BaseException:
        close_all(rest)
        raise
    return Parts(*found)
