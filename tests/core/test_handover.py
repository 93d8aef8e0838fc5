"""What one supervisor leaves to the next: it arrives as it was, and anything else is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import handover
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.forking import Load
from nexus_supervisor.core.handover import (
    FORMAT,
    HandedColumn,
    HandedContent,
    HandedCount,
    HandedFleet,
    HandedInherited,
    HandedListeners,
    HandedNotice,
    HandedNotices,
    HandedOutput,
    HandedPipe,
    HandedProbation,
    HandedProgram,
    HandedRows,
    HandedSocket,
    HandedStream,
    HandedWorker,
    HandedZygote,
    Handover,
    Preface,
    decode,
    encode,
)
from nexus_supervisor.core.lifecycle import Life, Seat
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.roster import Process, Slot
from nexus_supervisor.core.standing import Standing
from nexus_supervisor.errors import ProtocolError, RejectedError

NAMES = st.text("abc-0", min_size=1, max_size=6)
NUMBERS = st.integers(0, 1 << 31)
TIMES = st.floats(0, 1e9, allow_nan=False, allow_infinity=False)
SOCKETS = st.builds(HandedSocket, NUMBERS, NAMES, NAMES, NUMBERS, NUMBERS)
PIPES = st.builds(HandedPipe, NUMBERS, st.binary(max_size=20))
LOADS = st.builds(
    Load, NAMES, NUMBERS, NAMES, NAMES, NAMES, NAMES, st.lists(NAMES).map(tuple), NAMES, NAMES, NAMES,
    st.lists(NUMBERS, max_size=4).map(tuple),
)  # fmt: skip
VERSIONS = st.integers(1, 1000).map(Version)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64).map(Digest)
SLOTS = st.builds(
    Slot, NAMES, NUMBERS, NAMES, NUMBERS, NUMBERS, st.lists(TIMES, max_size=3).map(tuple), NUMBERS,
    st.none() | TIMES, st.sampled_from(Seat), NAMES, st.text(max_size=8), st.booleans(),
)  # fmt: skip
PROCESSES = st.builds(
    Process, NAMES, NUMBERS, NUMBERS, TIMES, life=st.sampled_from(Life), pid=st.none() | NUMBERS,
    active=st.none() | VERSIONS, digest=st.none() | DIGESTS, deadline=TIMES, ready_since=st.none() | TIMES,
)  # fmt: skip
STANDINGS = st.just(Standing()) | st.builds(
    lambda at, text: Standing().rejected(at, (Problem("a.toml", 3, "key", "code", text),)), TIMES, st.text(max_size=9)
)
FLEETS = st.builds(
    HandedFleet, VERSIONS, DIGESTS, st.lists(SLOTS, max_size=3).map(tuple), st.lists(PROCESSES, max_size=3).map(tuple),
    st.dictionaries(NAMES, NUMBERS), NUMBERS, st.lists(st.builds(HandedCount, NAMES, NUMBERS, NUMBERS)).map(tuple),
    STANDINGS, st.none() | DIGESTS,
    st.builds(
        HandedProbation, st.none() | VERSIONS, TIMES,
        st.dictionaries(NAMES, st.lists(TIMES, max_size=3).map(tuple), max_size=2), st.none() | TIMES,
    ),
)  # fmt: skip
FACTS = st.dictionaries(
    NAMES, st.none() | st.booleans() | NUMBERS | TIMES | st.text(max_size=5) | st.lists(NAMES).map(tuple), max_size=3
)
NOTICES = st.lists(
    st.builds(HandedNotice, NUMBERS, TIMES, st.just("info"), NAMES, st.text(max_size=20), FACTS), max_size=3
).map(tuple)
HANDOVERS = st.builds(
    Handover,
    began=TIMES,
    started=TIMES,
    upgrades=NUMBERS,
    audience=NAMES,
    public_key=st.none() | st.binary(min_size=32, max_size=32),
    lock=NUMBERS,
    control=SOCKETS,
    environment=st.lists(NAMES, max_size=3).map(tuple),
    room=NUMBERS,
    fleet=FLEETS,
    contents=st.lists(st.builds(HandedContent, DIGESTS, NUMBERS), max_size=2).map(tuple),
    listeners=st.builds(
        HandedListeners,
        st.lists(SOCKETS, max_size=2).map(tuple),
        st.lists(st.builds(HandedProgram, NAMES, st.lists(NUMBERS).map(tuple)), max_size=2).map(tuple),
        st.builds(
            HandedInherited,
            st.lists(NUMBERS).map(tuple),
            st.dictionaries(NAMES, st.lists(NUMBERS).map(tuple)),
            st.dictionaries(NAMES, NAMES),
            NAMES,
        ),
    ),
    rows=st.builds(
        HandedRows,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        st.dictionaries(NAMES, st.dictionaries(NAMES, NUMBERS)),
        st.lists(NUMBERS).map(tuple),
        st.lists(st.builds(HandedColumn, NAMES, NUMBERS, NUMBERS), max_size=2).map(tuple),
    ),
    workers=st.lists(st.builds(HandedWorker, NAMES, NUMBERS, NUMBERS, PIPES), max_size=3).map(tuple),
    generation=NUMBERS,
    zygotes=st.lists(st.builds(HandedZygote, NUMBERS, PIPES, LOADS, NUMBERS), max_size=2).map(tuple),
    output=st.lists(
        st.builds(
            HandedOutput,
            NAMES,
            NUMBERS,
            NUMBERS,
            st.none() | TIMES,
            st.lists(st.builds(HandedStream, NAMES, NUMBERS, st.binary(max_size=9), NUMBERS), max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    notices=st.builds(HandedNotices, NOTICES, NUMBERS, NOTICES),
)


@given(HANDOVERS)
def test_what_is_handed_over_arrives_as_it_was(handed: Handover) -> None:
    preface, arrived = decode(encode(handed, "1.2.3"))
    assert arrived == handed
    assert preface == Preface(FORMAT, handover.protocol(), "1.2.3")


@given(HANDOVERS, st.data())
def test_a_damaged_handover_is_refused_or_is_another_one(handed: Handover, data: st.DataObject) -> None:
    raw = bytearray(encode(handed, "1.2.3"))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        _, arrived = decode(bytes(raw))
    except (ProtocolError, RejectedError):
        return
    assert isinstance(arrived, Handover)


@given(st.binary(max_size=300))
def test_garbage_is_no_handover(raw: bytes) -> None:
    with pytest.raises((ProtocolError, RejectedError)):
        decode(raw)


def _with(preface: Preface) -> bytes:
    told = handover._CODEC.encode(preface)  # what a supervisor of another version would write
    return len(told).to_bytes(8, "big") + told + b"whatever it says"


def test_another_format_and_another_protocol_are_refused_with_what_to_do() -> None:
    same = Preface(FORMAT, handover.protocol(), "0.9")
    with pytest.raises(RejectedError, match=r"version 0\.9 speak another protocol than this one: restart the daemon"):
        decode(_with(replace(same, protocol="another")))
    with pytest.raises(RejectedError, match=rf"format {FORMAT + 1}, and this one takes format {FORMAT}: restart"):
        decode(_with(replace(same, format=FORMAT + 1)))
