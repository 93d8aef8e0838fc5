from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nexus_workers.gateway.mapping import MAX_PATH_PARTS, MappingError, apply, check_path

BODY = {"model": "m", "messages": [{"content": "first"}, {"content": "last"}], "deep": {"a": {"b": 0}}, "0": "key"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("model", "m"),
        ("messages.0.content", "first"),
        ("messages.1.content", "last"),
        ("messages.-1.content", "last"),
        ("messages.-2.content", "first"),
        ("deep.a", {"b": 0}),
        ("deep.a.b", 0),
        ("0", "key"),
    ],
)
def test_a_path_leads_to_what_it_names(path: str, found: Any) -> None:
    assert apply({"field": path}, BODY) == {"field": found}


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("absent", "absent"),
        ("model.x", "x"),
        ("messages.2.content", "2"),
        ("messages.-3.content", "-3"),
        ("messages.content", "content"),
        ("messages.01.content", "01"),
        ("messages.1e0", "1e0"),
        ("messages.٣", "٣"),
        ("deep.a.b.c", "c"),
    ],
)
def test_a_path_that_leads_nowhere_names_field_path_and_end(path: str, end: str) -> None:
    with pytest.raises(MappingError) as caught:
        apply({"content": path}, BODY)
    assert str(caught.value) == f"field 'content' takes {path!r} from the body, which has nothing at {end!r}"


def test_without_a_mapping_the_fields_of_the_body_are_taken() -> None:
    assert apply({}, {"content": "x", "n": [1]}) == {"content": "x", "n": [1]}


def test_with_a_mapping_nothing_else_of_the_body_is_taken() -> None:
    assert apply({"content": "model"}, BODY) == {"content": "m"}


def test_a_number_is_a_key_of_an_object_and_a_position_of_a_list() -> None:
    assert apply({"x": "v.-1"}, {"v": {"-1": "key"}}) == {"x": "key"}
    assert apply({"x": "v.-1"}, {"v": ["position"]}) == {"x": "position"}


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b"])
def test_a_path_with_an_empty_part_is_wrong(path: str) -> None:
    assert check_path(path) is not None


def test_a_path_is_bounded() -> None:
    assert check_path(".".join("a" * MAX_PATH_PARTS)) is None
    assert "at most 32 parts, found 33" in (check_path(".".join("a" * (MAX_PATH_PARTS + 1))) or "")


@given(
    st.text(max_size=40),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    ),
)
def test_any_path_into_any_body_finds_or_names(path: str, body: Any) -> None:
    try:
        found = apply({"f": path}, {"root": body})
    except MappingError as error:
        found = {"f": str(error)}
    assert found.keys() == {"f"}
