"""What can go live, what is held, and how it is named."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import Change, Impact, differences, hold, is_stored_secret, key_text, moved, pin
from nexus_supervisor.core.content import EMPTY, Content, Entries, Entry, Section
from nexus_supervisor.core.settings import LIVE_KEYS, START_KEYS

LIVE = {"daemon": LIVE_KEYS}


def section(apply: str, entries: dict[str, Any]) -> Section:
    return Section(apply, Entries(Entry.of(name, canonical.encode(value)) for name, value in entries.items()))


def content(
    sources: dict[str, Any] | None = None,
    destinations: dict[str, Any] | None = None,
    daemon: Any = None,
    supervisor: Any = None,
) -> Content:
    return Content(
        {
            "daemon": section("restart", {"daemon": daemon or {}, "supervisor": supervisor or {}}),
            "sources": section("live", sources or {}),
            "destinations": section("restart", destinations or {}),
        }
    )


def plain(of: Content) -> dict[str, dict[str, Any]]:
    return {
        name: {entry: canonical.decode(part.entries[entry].body) for entry in part.entries}
        for name, part in of.sections.items()
    }


def test_where_nothing_runs_nothing_is_held() -> None:
    wanted = content({"a": {}}, {"main": {}})

    assert hold(EMPTY, wanted, LIVE) == (wanted, ())


def test_live_sections_are_taken_as_wanted() -> None:
    running, wanted = content({"a": {"x": 1}, "b": {}}), content({"a": {"x": 2}, "c": {}})

    assert hold(running, wanted, LIVE) == (wanted, ())


def test_of_a_restart_section_each_differing_key_is_held() -> None:
    running = content({"a": {}}, {"main": {"db": {"path": "x"}, "n": 1}, "old": {}})
    wanted = content({"b": {}}, {"main": {"db": {"path": "y", "more": 1}, "n": 1}, "new": {}})

    effective, held = hold(running, wanted, LIVE)

    assert held == (
        "destinations.main.db.more",
        "destinations.main.db.path",
        "destinations.new",
        "destinations.old",
    )
    assert plain(effective) == plain(content({"b": {}}, {"main": {"db": {"path": "x"}, "n": 1}, "old": {}}))


def test_what_only_a_new_start_reads_waits_also_where_all_else_is_applied() -> None:
    running = content(daemon={"port": 1, "signing": {"enabled": True}}, supervisor={"workers": 2})
    wanted = content(daemon={"port": 2}, supervisor={"workers": 3, "name": "other"})

    effective, held = pin(running, wanted, START_KEYS)

    assert held == ("daemon.signing", "supervisor.name")
    assert plain(effective)["daemon"] == {
        "daemon": {"port": 2, "signing": {"enabled": True}},
        "supervisor": {"workers": 3},
    }
    assert pin(EMPTY, wanted, START_KEYS) == (wanted, ())
    assert pin(running, running, START_KEYS) == (running, ())


def test_live_keys_of_daemon_toml_go_live_beside_those_that_wait() -> None:
    running = content(
        daemon={"port": 1, "shutdown": {"drain_timeout_seconds": 1}},
        supervisor={"workers": 2, "rollout": {"bake_seconds": 1}, "guards": {"shrink": "off"}},
    )
    wanted = content(
        daemon={"port": 2, "log_level": "debug", "shutdown": {"drain_timeout_seconds": 9}},
        supervisor={"workers": 2, "rollout": {"canary": 1}, "section": [{"name": "x"}]},
    )

    effective, held = hold(running, wanted, LIVE)

    assert held == ("daemon.port", "supervisor.section")
    assert plain(effective)["daemon"] == {
        "daemon": {"port": 1, "log_level": "debug", "shutdown": {"drain_timeout_seconds": 9}},
        "supervisor": {"workers": 2, "rollout": {"canary": 1}},
    }


def test_where_only_live_keys_changed_nothing_is_held() -> None:
    running, wanted = content(daemon={"log_level": "info"}), content(daemon={"log_level": "debug"})

    effective, held = hold(running, wanted, LIVE)

    assert (effective.digest, held) == (wanted.digest, ())


def test_a_secret_is_one_key() -> None:
    running = content(destinations={"main": {"dsn": {"digest": "a", "ref": None}}})
    wanted = content(destinations={"main": {"dsn": {"digest": "b", "ref": None}}})

    assert hold(running, wanted, LIVE)[1] == ("destinations.main.dsn",)


def test_a_section_that_is_new_gone_or_changes_what_it_needs_is_held_whole() -> None:
    running = Content({"a": section("live", {"x": 1}), "b": section("restart", {"y": 1})})
    wanted = Content({"a": section("restart", {"x": 2}), "c": section("live", {"z": 1})})

    effective, held = hold(running, wanted, {})

    assert held == ("a", "b", "c")
    assert effective.digest == running.digest


def test_values_of_another_type_differ_even_where_they_are_equal() -> None:
    assert [path for path, _, _ in differences({"a": 1, "b": 1}, {"a": True, "b": 1.0})] == [("a",), ("b",)]


def test_a_list_is_one_key() -> None:
    assert list(differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]})) == [(("a",), [1, {"b": 2}], [1, {"b": 3}])]


def test_stored_secrets_are_known_by_their_form() -> None:
    assert is_stored_secret({"digest": "x", "ref": None})
    assert not is_stored_secret({"digest": "x"})
    assert not is_stored_secret("x")


def test_keys_of_daemon_toml_are_named_as_they_are_written() -> None:
    assert key_text("daemon", "daemon", "port") == "daemon.port"
    assert key_text("destinations", "main", "db_path") == "destinations.main.db_path"


def test_an_impact_names_what_is_added_removed_and_changed() -> None:
    before, after = content({"a": {}, "b": {}}), content({"b": {"x": 1}, "c": {}})

    impact = Impact.of(before, after)

    assert impact.sections == {"sources": Change(("c",), ("a",), ("b",))}
    assert str(impact) == "sources: 1 added, 1 removed, 1 changed"
    assert str(Impact.of(before, before)) == "no change"


VALUES = st.recursive(
    st.integers(0, 2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6
)
TABLES = st.dictionaries(st.sampled_from(["m", "n", "o"]), st.dictionaries(st.sampled_from("abc"), VALUES), max_size=3)
KEYS = st.lists(st.sampled_from(["m.a", "m.b.c", "n.a", "o"]), max_size=3, unique=True).map(tuple)


@given(TABLES, TABLES, KEYS)
def test_holding_is_stable_and_complete(here: dict[str, Any], there: dict[str, Any], live: tuple[str, ...]) -> None:
    running, wanted = content(destinations=here), content(destinations=there)
    keys = {"destinations": live}

    effective, held = hold(running, wanted, keys)
    again, held_again = hold(effective, wanted, keys)

    assert (again.digest, held_again) == (effective.digest, held)
    assert bool(held) == (effective.digest != wanted.digest)
    assert hold(running, running, keys) == (running, ())


# --- fields that need a restart, in live sections ---

FIELDS = {"sources": (("device",), ("limits", "high"), ("pools", "*", "size"))}


def of_source(running: Any, wanted: Any) -> tuple[Any, tuple[str, ...]]:
    """Return what goes live of one entry, and what of it is held."""
    effective, held = hold(content({"a": running}), content({"a": wanted}), LIVE, FIELDS)
    return plain(effective)["sources"]["a"], held


def test_a_marked_field_is_held_and_the_rest_of_its_entry_goes_live() -> None:
    running = {"device": "cpu", "limits": {"low": 1, "high": 2}, "tier": 1}
    wanted = {"device": "gpu", "limits": {"low": 3, "high": 4}, "tier": 2}

    assert of_source(running, wanted) == (
        {"device": "cpu", "limits": {"low": 3, "high": 2}, "tier": 2},
        ("sources.a.device", "sources.a.limits.high"),
    )


def test_an_entry_of_which_only_marked_fields_changed_is_the_one_that_runs() -> None:
    running, wanted = content({"a": {"device": "cpu"}}), content({"a": {"device": "gpu"}})

    effective, held = hold(running, wanted, LIVE, FIELDS)

    assert (effective.digest, held) == (running.digest, ("sources.a.device",))


def test_new_and_gone_entries_are_live_whatever_is_marked_in_them() -> None:
    running, wanted = content({"a": {"device": "cpu"}}), content({"b": {"device": "gpu"}})

    assert hold(running, wanted, LIVE, FIELDS) == (wanted, ())


def test_a_field_below_any_key_is_held_for_each_of_them() -> None:
    running = {"pools": {"a": {"size": 1, "n": 1}, "b": {"size": 1}, "c": {"n": 1}, "gone": {"size": 1}}}
    wanted = {"pools": {"a": {"size": 2, "n": 2}, "b": {"size": 1, "n": 1}, "c": {"n": 2}, "new": {"size": 1}}}

    assert of_source(running, wanted) == (
        {"pools": {"a": {"size": 1, "n": 2}, "b": {"size": 1, "n": 1}, "c": {"n": 2}, "gone": {"size": 1}}},
        ("sources.a.pools.a.size", "sources.a.pools.gone", "sources.a.pools.new"),
    )


def test_what_becomes_another_kind_of_thing_with_a_marked_field_is_held_whole() -> None:
    assert of_source({"limits": None, "n": 1}, {"limits": {"low": 1, "high": 2}, "n": 2}) == (
        {"limits": None, "n": 2},
        ("sources.a.limits",),
    )
    assert of_source({"limits": {"kind": "x", "high": 1}}, {"limits": {"kind": "y", "deep": 2}}) == (
        {"limits": {"kind": "x", "high": 1}},
        ("sources.a.limits.deep", "sources.a.limits.high", "sources.a.limits.kind"),
    )
    assert of_source({"limits": None}, {"limits": {"low": 1}}) == ({"limits": {"low": 1}}, ())
    assert of_source({"n": 1}, {"n": 1, "device": "cpu"}) == ({"n": 1}, ("sources.a.device",))


def test_a_value_of_another_type_is_a_change_also_inside_a_list() -> None:
    assert of_source({"device": [1]}, {"device": [True]}) == ({"device": [1]}, ("sources.a.device",))


def test_a_held_field_and_a_held_setting_are_listed_together() -> None:
    running, wanted = (
        content({"a": {"device": 1}}, daemon={"port": 1}),
        content({"a": {"device": 2}}, daemon={"port": 2}),
    )

    assert hold(running, wanted, LIVE, FIELDS)[1] == ("daemon.port", "sources.a.device")


PATTERNS = st.lists(
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3, unique=True
).map(tuple)


def at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


@given(TABLES, TABLES, PATTERNS)
def test_what_is_held_is_as_it_runs_and_with_what_is_live_makes_what_is_wanted(
    here: dict[str, Any], there: dict[str, Any], fields: tuple[tuple[str, ...], ...]
) -> None:
    running, wanted = content(here), content(there)

    effective, held = hold(running, wanted, {}, {"sources": fields})

    live = plain(effective)["sources"]
    assert live.keys() == there.keys()
    differing: set[str] = set()
    for name, entry in live.items():
        if name not in here:
            assert entry == there[name]
            continue
        # what is marked does not move without a restart, and what is held differs only at what is marked or around it
        assert moved(here[name], entry, fields) == []
        for path, is_live, is_wanted in differences(entry, there[name]):
            differing.add(key_text("sources", name, *path))
            assert is_live == at(here[name], path)
            assert is_wanted == at(there[name], path)
            assert any(path[: len(one)] == one for one in moved(here[name], there[name], fields))
    assert differing == set(held)
    assert bool(held) == (effective.digest != wanted.digest)
    assert hold(effective, wanted, {}, {"sources": fields}) == (effective, held)
