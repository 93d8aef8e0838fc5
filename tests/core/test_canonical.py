from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import canonical
from nexus_supervisor.errors import ProtocolError

TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)


def shuffled(value: Any) -> Any:
    """Return an equal value whose objects were filled in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def test_canonical_bytes_are_sorted_dense_and_utf_8() -> None:
    assert canonical.encode({"b": [1, 2.5, None], "a": {"é": True}}) == '{"a":{"é":true},"b":[1,2.5,null]}'.encode()


@given(VALUES)
def test_a_value_survives_and_its_bytes_are_stable(value: Any) -> None:
    raw = canonical.encode(value)
    assert canonical.decode(raw) == value
    assert canonical.encode(canonical.decode(raw)) == raw


@given(VALUES)
def test_the_order_of_keys_makes_no_difference(value: Any) -> None:
    assert canonical.encode(shuffled(value)) == canonical.encode(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [math.nan], {"a": math.inf}, "\ud800"])
def test_a_value_that_json_cannot_hold_is_not_encoded(value: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON|surrogates"):
        canonical.encode(value)


@pytest.mark.parametrize("value", [b"x", {1, 2}, object()])
def test_a_type_that_json_does_not_have_is_not_encoded(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical.encode(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"a":1,"a":2}',
        b'[{"a":1,"a":1}]',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"1" * 5_000,
        b"[" * 100_000,
        b"1 2",
        b"\xff",
        b"\xef\xbb\xbf1",
        '"x"'.encode("utf-16"),
        b'"\\ud800"',
        b"'a'",
        b"\x00",
    ],
)
def test_bytes_that_are_not_strict_json_are_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="not strict JSON"):
        canonical.decode(raw)


def test_a_view_of_memory_is_decoded_like_bytes() -> None:
    assert canonical.decode(memoryview(b'{"a":1}')) == {"a": 1}


@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_what_is_decoded_can_be_encoded_again(raw: bytes) -> None:
    try:
        value = canonical.decode(raw)
    except ProtocolError:
        return
    assert canonical.decode(canonical.encode(value)) == value
