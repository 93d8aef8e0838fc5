"""What can go live, what is held, and how it is named."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import Change, Impact, differences, hold, is_stored_secret, key_text, pin
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
