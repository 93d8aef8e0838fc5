"""Two contents, compared: what differs, what it needs, and what is shown of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import BUILT_IN, hold
from nexus_supervisor.core.comparison import compare
from nexus_supervisor.core.content import EMPTY, Content, Entries, Entry, Section
from nexus_supervisor.core.widening import Wide

SECRET = {"digest": "1" * 64, "ref": "env:ONE"}
OTHER_SECRET = {"digest": "2" * 64, "ref": "env:ONE"}


def section(apply: str = "live", /, **entries: Any) -> Section:
    return Section(apply, Entries(Entry.of(name, canonical.encode(body)) for name, body in entries.items()))


def told(before: Content, after: Content, **fields: tuple[tuple[str, ...], ...]) -> list[tuple[str, str, str]]:
    return [(one.key, one.kind, one.needs) for one in compare(before, after, fields)]


def test_the_same_content_has_no_difference() -> None:
    content = Content({"sources": section(a={"tier": 1}), BUILT_IN: section("restart", daemon={"port": 1})})

    assert compare(content, content, {}) == ()


def test_entries_and_fields_are_added_removed_and_changed() -> None:
    before = Content({"sources": section(a={"tier": 1, "note": None, "old": 1}, gone={})})
    after = Content({"sources": section(a={"tier": 2, "note": "x", "old": None}, new={})})

    assert told(before, after) == [
        ("sources.a.note", "added", "live"),
        ("sources.a.old", "removed", "live"),
        ("sources.a.tier", "changed", "live"),
        ("sources.gone", "removed", "live"),
        ("sources.new", "added", "live"),
    ]


def test_a_section_needs_a_restart_unless_it_is_live_before_and_after() -> None:
    live, restart = section(a={"x": 1}), section("restart", a={"x": 2}, b={})

    assert {needs for _, _, needs in told(Content({"one": live}), Content({"one": restart}))} == {"restart"}
    assert told(Content({"one": live}), Content({"one": live, "two": live})) == [("two.a", "added", "restart")]


def test_a_marked_field_needs_a_restart_and_the_fields_beside_it_don_t() -> None:
    before = Content({"sources": section(a={"tier": 1, "sub": {"path": "x", "more": 1}}, b={"sub": None})})
    after = Content({"sources": section(a={"tier": 2, "sub": {"path": "y", "more": 2}}, b={"sub": {"path": "z"}})})

    assert told(before, after, sources=(("sub", "path"),)) == [
        ("sources.a.sub.more", "changed", "live"),
        ("sources.a.sub.path", "changed", "restart"),
        ("sources.a.tier", "changed", "live"),
        ("sources.b.sub", "added", "restart"),
    ]


def test_settings_need_what_each_of_them_needs() -> None:
    before = Content({BUILT_IN: section("restart", daemon={"port": 1, "own": 1}, supervisor={"name": "a"})})
    after = Content(
        {
            BUILT_IN: section(
                "restart",
                daemon={"port": 2, "own": 2, "log_level": "debug"},
                supervisor={"name": "b", "rollout": {"canary": 2}},
            )
        }
    )

    assert told(before, after) == [
        ("daemon.log_level", "added", "live"),
        ("daemon.own", "changed", "restart"),
        ("daemon.port", "changed", "restart"),
        ("supervisor.name", "changed", "start"),
        ("supervisor.rollout", "added", "live"),
    ]


def test_where_nothing_was_before_nothing_needs_a_restart() -> None:
    after = Content({"two": section("restart", a={}), BUILT_IN: section("restart", daemon={"port": 1}, supervisor={})})

    assert told(EMPTY, after) == [("daemon.port", "added", "live"), ("two.a", "added", "live")]


def test_secrets_are_never_shown_and_a_new_one_is_told() -> None:
    older = {"key": SECRET, "keys": [SECRET, 1], "none": None, "same": SECRET}
    newer = {"key": OTHER_SECRET, "keys": [OTHER_SECRET, 1], "none": SECRET, "same": SECRET}
    before, after = Content({"sources": section(a=older)}), Content({"sources": section(a=newer)})

    found = {one.path[0]: (one.before, one.after) for one in compare(before, after, {})}

    assert found == {
        "key": ("<secret>", "<changed>"),
        "keys": (["<secret>", 1], "<changed>"),
        "none": (None, "<secret>"),
    }


def test_a_field_that_gives_more_than_before_is_widened_and_a_new_entry_is_not() -> None:
    before = Content({"s": section("restart", a={"tier": 1, "of": {"x": [1]}, "no": 1})})
    after = Content({"s": section("restart", a={"tier": 2, "of": {"x": [2]}, "no": 2}, b={"tier": 9})})
    fields = {"s": ((("tier",), Wide()), (("of", "x"), Wide()), (("gone",), Wide()))}

    found = {one.key: one.widened for one in compare(before, after, {}, fields)}

    assert found == {"s.a.no": False, "s.a.of.x": True, "s.a.tier": True, "s.b": False}
    assert not any(one.widened for one in compare(before, after, {}))


def test_where_only_an_item_of_a_list_is_wider_the_list_is_what_is_widened() -> None:
    before, after = (Content({"s": section(a={"pools": [{"size": 1}, {"size": size}]})}) for size in (1, 2))

    (one,) = compare(before, after, {}, {"s": ((("pools", "*", "size"), Wide()),)})

    assert (one.key, one.widened) == ("s.a.pools", True)


VALUES = st.none() | st.integers(0, 2)
BODIES = st.fixed_dictionaries({"a": VALUES, "b": st.none() | st.fixed_dictionaries({"c": VALUES, "d": VALUES})})
CONTENTS = st.dictionaries(st.sampled_from("xyz"), BODIES).map(lambda entries: Content({"s": section(**entries)}))
FIELDS = st.sampled_from([(), (("a",),), (("b", "c"),), (("b",),), (("a",), ("b", "d"))])


@given(CONTENTS, CONTENTS, FIELDS)
def test_what_needs_a_restart_is_exactly_what_a_running_daemon_holds(
    before: Content, after: Content, fields: tuple[tuple[str, ...], ...]
) -> None:
    _, held = hold(before, after, {}, {"s": fields})

    assert [key for key, _, needs in told(before, after, s=fields) if needs == "restart"] == list(held)
