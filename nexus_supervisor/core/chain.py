"""The chain: records as bytes that can be cut or changed nowhere without notice.

Decided here: the frame of a record, the hash that ties it to all before it, and where a damaged chain ends. Not
decided here: what a record says (``records.py``) and what is done about damage (``supervisor/journal.py``).

A record is a 4-byte big-endian length of the body, the SHA-256 of the previous record's hash and the body, and the
body. The hash before the first record is a constant.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from typing import Final

from nexus_supervisor.core import codec
from nexus_supervisor.core.records import MAX_RECORD_BYTES, RECORDS, Candidate, Record
from nexus_supervisor.errors import ProtocolError

__all__ = ["GENESIS", "HEADER_BYTES", "INCOMPLETE", "Scan", "head", "numbers", "scan"]

GENESIS: Final = hashlib.sha256(b"nexus-journal-1\0").digest()

_HEADER = struct.Struct(">I32s")
HEADER_BYTES: Final = _HEADER.size
INCOMPLETE: Final = "the last record is incomplete"

# How every Candidate begins, up to its number, however many fields it has: a map of up to 15 or of up to 255. Its bytes
# over 127 stand alone (a zero follows the one that could lead), so no UTF-8 text, and with it nothing that people
# wrote, can contain it.
_CANDIDATE_START: Final = (
    re.escape(codec.pack([Candidate.__name__, {}])[:-1])
    + rb"(?:[\x80-\x8f]|\xde\x00.)"
    + re.escape(codec.pack("version"))
)
_CANDIDATE_NUMBER: Final = re.compile(_CANDIDATE_START + rb"([\x00-\x7f]|\xcc.|\xcd.{2}|\xce.{4}|\xcf.{8})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Scan:
    """Hold the good records from the start, where they end, the last hash, and what is wrong after that (or "")."""

    records: tuple[Record, ...]
    end: int
    chain: bytes
    damage: str


def head(chain: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return the header that ties a body to the chain so far, and the chain with it."""
    digest = _digest(chain, body)
    return _HEADER.pack(len(body), digest), digest


def scan(raw: bytes | memoryview) -> Scan:
    """Return the records of a journal's bytes up to the first that doesn't belong there."""
    view = memoryview(raw)
    records: list[Record] = []
    position, chain, damage = 0, GENESIS, ""
    while position < len(view) and not damage:
        found = _next(view[position:], chain)
        if isinstance(found, str):
            damage = found
        else:
            record, chain, length = found
            records.append(record)
            position += length
    return Scan(tuple(records), position, chain, damage)


def numbers(tail: bytes) -> tuple[int, ...]:
    """Return the numbers of all candidates that begin anywhere in bytes that are no chain any more."""
    return tuple(codec.unpack(found) for found in _CANDIDATE_NUMBER.findall(tail))


def _next(view: memoryview, chain: bytes) -> tuple[Record, bytes, int] | str:
    """Return the first record, the chain with it and its length; or what is wrong with it."""
    if len(view) < HEADER_BYTES:
        return INCOMPLETE
    length, stated = _HEADER.unpack_from(view)
    end = HEADER_BYTES + length
    if length > MAX_RECORD_BYTES or end > len(view):
        return INCOMPLETE
    body = view[HEADER_BYTES:end]
    digest = _digest(chain, body)
    if digest != stated:
        return "a record does not belong to the chain"
    try:
        return RECORDS.decode(bytes(body)), digest, end
    except ProtocolError as error:
        return f"a record can't be understood: {error}"


def _digest(chain: bytes, body: bytes | memoryview) -> bytes:
    state = hashlib.sha256(chain)
    state.update(body)
    return state.digest()
