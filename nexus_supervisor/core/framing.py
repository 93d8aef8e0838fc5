"""Frames on a stream: where one message ends and the next begins, and how many descriptors travel beside it.

Decided here: the header and its limits. Not decided here: what a frame means (``codec.py``) and how bytes and
descriptors move (the shell and the agent).

A frame is a 4-byte big-endian length of the body, one byte with the number of file descriptors that travel beside it,
and the body. Descriptors arrive in the order of their frames (unix(7): SCM_RIGHTS is not merged across messages).
"""

from __future__ import annotations

import struct

from nexus_supervisor.errors import ProtocolError

__all__ = ["HEADER_BYTES", "MAX_DESCRIPTORS", "MAX_FRAME_BYTES", "FrameDecoder", "frame"]

_HEADER = struct.Struct(">IB")
HEADER_BYTES = _HEADER.size
MAX_FRAME_BYTES = 1 << 20
MAX_DESCRIPTORS = 64


def frame(body: bytes, descriptors: int = 0) -> bytes:
    """Return the bytes of one frame; raise ProtocolError where it is over the limit."""
    if len(body) > MAX_FRAME_BYTES or not 0 <= descriptors <= MAX_DESCRIPTORS:
        message = f"a frame of {len(body)} bytes and {descriptors} descriptors is over the limit"
        raise ProtocolError(message)
    return _HEADER.pack(len(body), descriptors) + body


class FrameDecoder:
    """Cut a stream into frames, whatever the pieces in which it arrives."""

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, received: bytes) -> list[tuple[bytes, int]]:
        """Take received bytes; return the complete frames as (body, number of descriptors).

        Raise ProtocolError as soon as a header announces more than the limit: nothing of it is buffered then.
        """
        self._buffer += received
        frames: list[tuple[bytes, int]] = []
        while len(self._buffer) >= HEADER_BYTES:
            length, descriptors = _HEADER.unpack_from(self._buffer)
            if length > self._limit or descriptors > MAX_DESCRIPTORS:
                self._buffer.clear()
                message = f"a frame of {length} bytes and {descriptors} descriptors was announced, over the limit"
                raise ProtocolError(message)
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                break
            frames.append((bytes(self._buffer[HEADER_BYTES:end]), descriptors))
            del self._buffer[:end]
        return frames

    @property
    def rest(self) -> bytes:
        """Return the beginning of a frame that is held."""
        return bytes(self._buffer)

    @property
    def pending(self) -> int:
        """Return how many bytes of an incomplete frame are held."""
        return len(self._buffer)
