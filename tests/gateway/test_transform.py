from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nexus_workers.gateway.transform import TransformError, apply

from tests.support.gateway import a_source

ENOUGH = 1_000


def after(steps: list[Any], fields: dict[str, Any], most: int = ENOUGH) -> Any:
    return apply(a_source("a", transform={"content": tuple(steps)}).transform, fields, most)


@pytest.mark.parametrize(
    ("steps", "before", "expected"),
    [
        (["strip"], " \tx y\n", "x y"),
        (["collapse_spaces"], " a \n\t b  c ", "a b c"),
        (["lower"], "ÄB", "äb"),
        (["upper"], "aß", "ASS"),
        (["json"], {"b": [1, None, "ä"]}, '{"b":[1,null,"ä"]}'),
        ([{"truncate": 2}], "äöü", "äö"),
        ([{"truncate": 9}], "äöü", "äöü"),
        ([{"replace": ["aa", "b"]}], "aaaaa", "bba"),
        ([{"replace": [".", ""]}], "a.b.c", "abc"),
        ([{"default": "x"}], None, "x"),
        ([{"default": "x"}], "", ""),
        ([{"default": 0}], False, False),
        (["strip", "lower", {"replace": ["secret", "…"]}, {"truncate": 3}], " My SECRET ", "my "),
        ([{"default": "  X "}, "strip", "lower"], None, "x"),
        (["json", {"truncate": 3}], [1, 2], "[1,"),
    ],
)
def test_each_step_does_what_its_name_says_in_the_order_given(steps: list[Any], before: Any, expected: Any) -> None:
    assert after(steps, {"content": before}) == {"content": expected}


@pytest.mark.parametrize("value", ["x", 1, 2.5, True, ["a", "b"]])
def test_a_missing_field_gets_the_default(value: Any) -> None:
    assert after([{"default": value}], {"other": 1}) == {"other": 1, "content": value}


@pytest.mark.parametrize("step", ["strip", "lower", "json", "drop", {"truncate": 1}, {"replace": ["a", "b"]}])
def test_a_missing_field_stays_missing_without_a_default(step: Any) -> None:
    assert after([step], {"other": 1}) == {"other": 1}


def test_a_dropped_field_is_gone_and_the_others_are_as_they_were() -> None:
    assert after(["drop"], {"a": 1, "content": 2, "b": 3}) == {"a": 1, "b": 3}


def test_the_fields_keep_their_order_and_the_original_is_left_alone() -> None:
    fields = {"a": 1, "content": " x ", "b": 3}
    assert list(after(["strip"], fields)) == ["a", "content", "b"]
    assert fields["content"] == " x "


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (True, "a boolean"), (1, "a number"), (1.5, "a number"), ([], "a list"), ({}, "an object")],
)
@pytest.mark.parametrize("step", ["strip", "collapse_spaces", "lower", "upper", {"truncate": 1}])
def test_a_step_for_text_refuses_any_other_value_by_its_kind(step: Any, value: Any, kind: str) -> None:
    with pytest.raises(TransformError) as caught:
        after([step], {"content": value})
    name = step if isinstance(step, str) else "truncate"
    assert str(caught.value) == f"field 'content': step {name} takes text, found {kind}"


@pytest.mark.parametrize(
    ("steps", "value"),
    [
        ([{"replace": ["a", "bb"]}], "a" * 6),
        (["upper"], "ß" * 6),
        (["json", "json", "json"], '"""'),
        (["strip"], "x" * 11),
    ],
)
def test_a_field_that_becomes_too_long_is_refused(steps: list[Any], value: str) -> None:
    with pytest.raises(TransformError, match="would become longer than 10 characters"):
        after(steps, {"content": value}, 10)


def test_a_replacement_that_would_not_fit_in_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(TransformError):
        after([{"replace": ["a", "b" * 1_000]}] * 16, {"content": "a" * 1_000_000}, 2_000_000)


STEPS: Any = st.one_of(
    st.sampled_from(["strip", "collapse_spaces", "lower", "upper", "json"]),
    st.builds(lambda most: {"truncate": most}, st.integers(1, 50)),
    st.builds(lambda old, new: {"replace": [old, new]}, st.text(min_size=1, max_size=3), st.text(max_size=5)),
    st.builds(lambda value: {"default": value}, st.text(max_size=5) | st.integers(-9, 9) | st.booleans()),
)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(STEPS, min_size=1, max_size=6), st.dictionaries(st.sampled_from(["content", "a"]), VALUES))
def test_whatever_comes_out_is_json_within_its_bounds(steps: list[Any], fields: dict[str, Any]) -> None:
    try:
        changed = after(steps, fields, 200)
    except TransformError:
        return
    assert json.loads(json.dumps(changed)) == changed
    assert not isinstance(changed.get("content"), str) or len(changed["content"]) <= 200
    assert changed.get("a") == fields.get("a")
