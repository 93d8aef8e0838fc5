from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.framing import HEADER_BYTES, MAX_DESCRIPTORS, MAX_FRAME_BYTES, FrameDecoder, frame
from nexus_supervisor.errors import ProtocolError

FRAMES = st.lists(st.tuples(st.binary(max_size=50), st.integers(0, MAX_DESCRIPTORS)), max_size=8)


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(raw) + 1) for place in places), len(raw)]
    return [raw[start:end] for start, end in pairwise(edges)]


@given(FRAMES, st.lists(st.integers(min_value=0), max_size=12))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    frames: list[tuple[bytes, int]], places: list[int]
) -> None:
    stream = b"".join(frame(body, descriptors) for body, descriptors in frames)
    decoder = FrameDecoder()
    received = [one for piece in cut(stream, places) for one in decoder.feed(piece)]
    assert received == frames
    assert decoder.pending == 0


def test_a_frame_that_is_not_whole_is_held_until_it_is() -> None:
    raw = frame(b"hello", 2)
    decoder = FrameDecoder()
    for byte in raw[:-1]:
        assert decoder.feed(bytes([byte])) == []
    assert decoder.pending == len(raw) - 1
    assert decoder.feed(raw[-1:]) == [(b"hello", 2)]


def test_the_largest_frame_passes_and_a_larger_one_is_not_made() -> None:
    largest = bytes(MAX_FRAME_BYTES)
    assert FrameDecoder().feed(frame(largest, MAX_DESCRIPTORS)) == [(largest, MAX_DESCRIPTORS)]
    for body, descriptors in [(largest + b"x", 0), (b"", MAX_DESCRIPTORS + 1), (b"", -1)]:
        with pytest.raises(ProtocolError, match="over the limit"):
            frame(body, descriptors)


@pytest.mark.parametrize("header", [b"\xff\xff\xff\xff\x00", b"\x00\x10\x00\x01\x00", b"\x00\x00\x00\x00\xff"])
def test_a_header_over_the_limit_is_refused_before_its_body_arrives(header: bytes) -> None:
    decoder = FrameDecoder()
    with pytest.raises(ProtocolError, match="was announced, over the limit"):
        decoder.feed(header)
    assert decoder.pending == 0


def test_a_decoder_may_have_a_lower_limit() -> None:
    assert FrameDecoder(4).feed(frame(b"four")) == [(b"four", 0)]
    with pytest.raises(ProtocolError, match="a frame of 5 bytes"):
        FrameDecoder(4).feed(frame(b"fiver"))


@given(st.binary(max_size=200))
def test_garbage_leads_to_frames_or_a_refusal_and_to_bounded_memory(garbage: bytes) -> None:
    decoder = FrameDecoder(64)
    try:
        frames = decoder.feed(garbage)
    except ProtocolError:
        frames = []
    assert all(len(body) <= 64 for body, _ in frames)
    assert decoder.pending < HEADER_BYTES + 64
