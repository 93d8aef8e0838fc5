"""What counts as wider: every kind of value, and where a pattern leads in a pair of entries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.widening import Wide, widened, wider

ANY, TENFOLD, LESS = Wide(), Wide(times=10), Wide(less=True)
OPEN, OPEN_LIMIT = Wide(empty_is_all=True), Wide(times=10, empty_is_all=True)
ORDERED = Wide(order=("public", "internal", "secret"), empty_is_all=True)
SECRET, OTHER_SECRET = {"digest": "1" * 64, "ref": None}, {"digest": "2" * 64, "ref": None}


@pytest.mark.parametrize(
    ("before", "after", "wide", "expected"),
    [
        (False, True, ANY, True),
        (True, False, ANY, False),
        (True, False, LESS, True),
        (1, 2, ANY, True),
        (2, 1, ANY, False),
        (2, 1, LESS, True),
        (-5, -4, ANY, True),
        (1, 1.5, ANY, True),
        (10, 99, TENFOLD, False),
        (10, 100, TENFOLD, True),
        (0, 1, TENFOLD, True),
        (10, 0, OPEN_LIMIT, True),
        (0, 1_000_000, OPEN_LIMIT, False),
        (10, 99, OPEN_LIMIT, False),
        (["a"], ["a", "b"], ANY, True),
        (["a", "b"], ["c"], ANY, True),
        (["a", "b"], ["b"], ANY, False),
        (["a", "b"], ["b", "a"], ANY, False),
        (["a"], ["a", "a"], ANY, True),
        (["a", "b"], ["b"], LESS, True),
        (["a"], ["a", "b"], LESS, False),
        (["a"], [], OPEN, True),
        ([], ["a"], OPEN, False),
        (["a"], ["b"], OPEN, True),
        (["a", "b"], ["b"], OPEN, False),
        (["a"], None, OPEN, True),
        ("public", "secret", ORDERED, True),
        ("secret", "public", ORDERED, False),
        ("secret", "", ORDERED, True),
        ("", "secret", ORDERED, False),
        ("public", "unknown", ORDERED, True),
        ("guest", "admin", ANY, True),
        ("guest", "", ANY, False),
        (None, 5, ANY, True),
        (None, 0, ANY, False),
        (5, None, ANY, False),
        (5, "all", ANY, True),
        (5, True, ANY, True),
    ],
)
def test_a_value_is_wider_where_it_gives_more(before: Any, after: Any, wide: Wide, expected: bool) -> None:
    assert wider(before, after, wide) is expected


VALUES = st.none() | st.booleans() | st.integers(-3, 30) | st.text("ab", max_size=1) | st.lists(st.integers(0, 2))
WIDES = st.sampled_from([ANY, TENFOLD, LESS, OPEN, OPEN_LIMIT, ORDERED])


@given(VALUES, WIDES)
def test_no_value_is_wider_than_itself(value: Any, wide: Wide) -> None:
    assert not wider(value, value, wide)


@given(st.integers(-30, 30), st.integers(-30, 30), WIDES)
def test_no_two_numbers_are_wider_than_each_other(here: int, there: int, wide: Wide) -> None:
    assert not (wider(here, there, wide) and wider(there, here, wide))


def places(before: Any, after: Any, *fields: tuple[str, Wide]) -> list[str]:
    return [
        ".".join(place) for place in widened(before, after, [(tuple(path.split(".")), wide) for path, wide in fields])
    ]


def test_patterns_lead_through_tables_and_lists_to_every_wider_place() -> None:
    before = {"tier": 1, "pools": {"a": {"size": 1}, "b": {"size": 2}}, "steps": [{"size": 1}, {"size": 1}]}
    after = {"tier": 1, "pools": {"a": {"size": 2}, "b": {"size": 1}}, "steps": [{"size": 1}, {"size": 9}]}

    assert places(before, after, ("tier", ANY), ("pools.*.size", ANY), ("steps.*.size", ANY)) == [
        "pools.a.size",
        "steps.1.size",
    ]


def test_a_field_that_is_there_only_on_one_side_is_none() -> None:
    assert places({"old": 1}, {"new": 1}, ("old", ANY), ("new", ANY)) == []
    assert places({"pools": {"a": {"size": 1}}}, {"pools": {"b": {"size": 9}}}, ("pools.*.size", ANY)) == []
    assert places({"pool": None}, {"pool": {"size": 9}}, ("pool.size", ANY)) == []


def test_a_marked_table_is_wider_at_new_keys_and_at_wider_values() -> None:
    assert places({"of": {"a": 1, "b": 5}}, {"of": {"a": 2, "b": 4, "c": 0}}, ("of", ANY)) == ["of.a", "of.c"]
    assert places({"of": {"a": 1, "b": 5}}, {"of": {"a": 2}}, ("of", LESS)) == ["of.b"]
    assert places({"of": {"a": 1}}, {"of": {}}, ("of", OPEN)) == ["of"]


def test_a_marked_secret_counts_as_a_value() -> None:
    assert places({"key": SECRET}, {"key": OTHER_SECRET}, ("key", ANY)) == ["key"]
    assert places({"key": SECRET}, {"key": SECRET}, ("key", ANY)) == []
