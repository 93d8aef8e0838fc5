from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NewType

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import compilation, control, messages
from nexus_supervisor.core.codec import Codec, pack, unpack
from nexus_supervisor.core.framing import MAX_FRAME_BYTES
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.errors import ProtocolError

Number = NewType("Number", int)


@dataclass(frozen=True, slots=True)
class Inner:
    label: str


@dataclass(frozen=True, slots=True)
class Sample:
    whole: int
    number: float
    flag: bool
    named: Number
    maybe: bytes | None
    items: tuple[Inner, ...]
    rows: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Empty:
    pass


@dataclass(frozen=True, slots=True)
class Foreign:
    pass


CODEC: Codec[Sample | Empty] = Codec(Sample | Empty)
GOOD: dict[str, Any] = {
    "whole": 1,
    "number": 0.5,
    "flag": True,
    "named": 7,
    "maybe": None,
    "items": [{"label": "x"}],
    "rows": {"a": {"b": 1}},
}
INTEGERS = st.integers(-(2**63), 2**64 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SAMPLES = st.builds(
    Sample,
    INTEGERS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    INTEGERS.map(Number),
    st.none() | st.binary(max_size=20),
    st.lists(st.builds(Inner, TEXT), max_size=4).map(tuple),
    st.dictionaries(TEXT, st.dictionaries(TEXT, INTEGERS, max_size=3), max_size=3),
)


def sample(**changes: Any) -> bytes:
    return pack(["Sample", {**GOOD, **changes}])


@given(SAMPLES | st.just(Empty()))
def test_a_message_survives(message: Sample | Empty) -> None:
    assert CODEC.decode(CODEC.encode(message)) == message


def test_the_good_sample_is_good() -> None:
    assert CODEC.decode(sample()) == Sample(1, 0.5, True, Number(7), None, (Inner("x"),), {"a": {"b": 1}})


def test_a_whole_number_is_taken_where_a_float_is_wanted() -> None:
    decoded = CODEC.decode(sample(number=2))
    assert isinstance(decoded, Sample)
    assert (decoded.number, type(decoded.number)) == (2.0, float)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("whole", True),
        ("whole", 1.0),
        ("whole", "1"),
        ("whole", None),
        ("number", True),
        ("number", "0.5"),
        ("number", math.nan),
        ("number", math.inf),
        ("flag", 1),
        ("named", "7"),
        ("maybe", "text"),
        ("items", {}),
        ("items", [1]),
        ("items", [{"label": b"x"}]),
        ("items", [{}]),
        ("items", [{"label": "x", "more": 1}]),
        ("rows", []),
        ("rows", {b"a": {}}),
        ("rows", {"a": 1}),
        ("rows", {"a": {"b": "1"}}),
    ],
)
def test_a_field_of_another_type_is_refused(field: str, wrong: Any) -> None:
    with pytest.raises(ProtocolError, match="Sample"):
        CODEC.decode(sample(**{field: wrong}))


@dataclass(frozen=True, slots=True)
class Grown:
    old: int
    label: str = "none"
    items: tuple[Inner, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)


GROWN: Codec[Grown | Empty] = Codec(Grown | Empty)


def test_a_field_with_a_default_may_be_missing_in_what_an_older_writer_wrote() -> None:
    assert GROWN.decode(pack(["Grown", {"old": 1}])) == Grown(1)
    assert GROWN.decode(pack(["Grown", {"old": 1, "label": "x"}])) == Grown(1, "x")


@pytest.mark.parametrize("fields", [{}, {"label": "x"}, {"old": 1, "new": 2}, {"old": 1, "label": 2}])
def test_a_field_without_a_default_is_needed_and_an_unknown_one_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="Grown"):
        GROWN.decode(pack(["Grown", fields]))


def test_a_refusal_says_which_fields_may_be_missing() -> None:
    with pytest.raises(ProtocolError) as caught:
        GROWN.decode(pack(["Grown", {}]))
    assert str(caught.value) == "Grown: expected the fields [items], [label], old, [rows]"


def test_a_refusal_names_the_field_but_not_its_value() -> None:
    with pytest.raises(ProtocolError) as caught:
        CODEC.decode(sample(items=[{"label": "fine"}, {"label": b"hunter2"}]))
    assert str(caught.value) == "Sample.items[1].label: expected str, found bytes"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        pack(None),
        pack("Sample"),
        pack(["Sample"]),
        pack(["Sample", GOOD, 1]),
        pack([1, GOOD]),
        pack(["Foreign", {}]),
        pack(["Sample", {}]),
        pack(["Sample", {**GOOD, "more": 1}]),
        pack(["Empty", []]),
        pack({"Sample": GOOD}),
        pack(["Empty", {}]) + b"\x00",
        pack(["Empty", {}])[:-1],
        msgpack.packb(["Empty", msgpack.ExtType(1, b"")]),
        msgpack.packb(["Empty", msgpack.Timestamp(0)]),
        b"\x92\xa5Empty\x82\xa1a\x01\xa1a\x02",
        b"\x92\xa5Empty\x81\x01\x01",
        b"\x92\xa5\xff\xff\xff\xff\xff\x80",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000 + b"\x90",
        b"\xc1",
    ],
    ids=range(23),
)
def test_anything_but_a_whole_message_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        CODEC.decode(raw)


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_is_a_message(garbage: bytes) -> None:
    try:
        message = CODEC.decode(garbage)
    except ProtocolError:
        return
    assert CODEC.decode(CODEC.encode(message)) == message


@given(SAMPLES, st.data())
def test_a_flipped_bit_is_refused_or_gives_another_message(message: Sample, data: st.DataObject) -> None:
    raw = bytearray(CODEC.encode(message))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    try:
        changed = CODEC.decode(bytes(raw))
    except ProtocolError:
        return
    assert isinstance(changed, Sample | Empty)


def test_a_message_of_another_pipe_is_not_encoded() -> None:
    foreign: Any = Foreign()
    with pytest.raises(ProtocolError, match="Foreign is not a message of this pipe"):
        CODEC.encode(foreign)


def test_a_message_over_the_limit_of_a_frame_is_neither_encoded_nor_decoded() -> None:
    large = Sample(1, 0.5, True, Number(7), bytes(MAX_FRAME_BYTES), (), {})
    with pytest.raises(ProtocolError, match="over the limit of a frame"):
        CODEC.encode(large)
    with pytest.raises(ProtocolError, match="over the limit"):
        CODEC.decode(sample(maybe=bytes(MAX_FRAME_BYTES)))


@pytest.mark.parametrize("value", ["\ud800", 2**64, {"a": object()}])
def test_what_cannot_be_packed_is_refused_like_any_other_message(value: Any) -> None:
    with pytest.raises(ProtocolError, match="can't be packed"):
        pack(value)


def test_unpacking_has_a_limit_of_its_own() -> None:
    assert unpack(pack(b"four"), 6) == b"four"
    with pytest.raises(ProtocolError, match="7 bytes are over the limit of 6"):
        unpack(pack(b"fiver"), 6)


PROBLEM = Problem("sources/a.toml", 7, "source.tier", "range", "expected 0 to 3, found 9")
WORKER = {"slot": "gateway-0", "incarnation": 2}
REAL: list[tuple[Codec[Any], Any]] = [
    (messages.TO_WORKER, messages.Activate(1, messages.Version(3))),
    (messages.TO_WORKER, messages.Drain(2.5)),
    (messages.FROM_WORKER, messages.Retired(**WORKER, oldest=messages.Version(3))),
    (messages.FROM_WORKER, messages.Retired(**WORKER, oldest=messages.Version(3), replaced_at=1.5)),
    (messages.FROM_WORKER, messages.Retired(**WORKER, oldest=messages.Version(3), lingering=2, lingering_since=0.5)),
    (
        messages.FROM_WORKER,
        messages.Staged(**WORKER, push=1, version=messages.Version(3), digest=messages.Digest("00")),
    ),
    (compilation.TO_COMPILER, compilation.Look(1, ("sources/a.toml",), whole=False)),
    (compilation.TO_COMPILER, compilation.Look(1, None, whole=True)),
    (compilation.FROM_COMPILER, compilation.Refused(1, (PROBLEM,), False, ("sources.a",), None, None, False, ())),
    (control.REQUESTS, control.PushRequest("a reason", None, "active")),
    (control.REQUESTS, control.StatusRequest()),
    (control.ANSWERS, control.Ended(8, "HELD", "One change is held.", (str(PROBLEM),), b"{}")),
]


@pytest.mark.parametrize(("codec", "message"), REAL, ids=[type(message).__name__ for _, message in REAL])
def test_the_messages_of_every_pipe_survive(codec: Codec[Any], message: Any) -> None:
    assert codec.decode(codec.encode(message)) == message
