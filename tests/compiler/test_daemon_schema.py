"""The schema of daemon.toml judges settings as the tables do that read them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_supervisor.compiler.daemon_schema import slip_of
from nexus_supervisor.compiler.schema import daemon_document
from nexus_supervisor.core.options import DaemonSettings
from nexus_supervisor.core.settings import Settings, parse
from nexus_supervisor.core.spelling import one_edit_away
from nexus_supervisor.core.tables import options
from tests.support.editor import complaints

SCHEMA = daemon_document()
OURS = list(options(DaemonSettings))


def refused_by_the_editor(texts: list[str]) -> list[bool]:
    with TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "daemon.json").write_text(json.dumps(SCHEMA))
        for number, text in enumerate(texts):
            (directory / f"{number:03}.toml").write_text(f"#:schema ./daemon.json\n\n{text}")
        bad = {one.file for one in complaints(directory)}
    return [f"{number:03}.toml" in bad for number in range(len(texts))]


def refused(document: dict[str, Any]) -> bool:
    return bool(parse(document, cpu_count=2).errors)


def leaves(table: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every setting with its rule."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, option in options(table).items():
        place = (*path, name)
        found += [(place, option.rule)] if option.rule is not None else leaves(option.table, place)
    return found


def inside(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return dict(value)


SETTINGS = leaves(Settings)
NAMES_ANOTHER = {("daemon", "tls", "section")}
"""What must be declared elsewhere in the file: no schema can look there."""


@pytest.mark.parametrize("edge", ["low", "high"])
def test_every_bound_is_the_same_on_both_sides_of_it(edge: str) -> None:
    documents = []
    for path, rule in SETTINGS:
        if hasattr(rule, edge):
            bound = getattr(rule, edge)
            documents += [inside(path, bound), inside(path, bound - 1), inside(path, bound + 1)]

    verdicts = refused_by_the_editor([tomli_w.dumps(one) for one in documents])

    assert [one for one, bad in zip(documents, verdicts, strict=True) if bad != refused(one)] == []


ODD = [
    0,
    1,
    3,
    -1,
    1.5,
    True,
    "",
    "x",
    "0.0.0.0",
    "info",
    "off",
    "canary",
    "50%",
    "05%",
    "0%",
    "101%",
    "a:b",
    "é",
    [],
    {},
]


def test_every_setting_takes_the_same_values_wherever_it_is_judged() -> None:
    documents = [inside(path, value) for path, _ in SETTINGS if path not in NAMES_ANOTHER for value in ODD]

    verdicts = refused_by_the_editor([tomli_w.dumps(one) for one in documents])

    assert [one for one, bad in zip(documents, verdicts, strict=True) if bad != refused(one)] == []


SECTIONS: list[dict[str, Any]] = [
    {},
    {"name": "a", "files": "a/*.toml", "apply": "live"},
    {"name": "a", "files": "a/*.toml", "apply": "live", "modell": "m:A"},
    {"name": "version", "files": "a/*.toml", "apply": "live"},
    {"name": "A", "files": "a/*.toml", "apply": "live"},
    {"name": "a", "files": "keys/*.toml", "apply": "live"},
    {"name": "a", "files": "daemon.toml", "apply": "live"},
    {"name": "a", "files": "a.toml", "apply": "restart", "entries": "list"},
    {"name": "a", "files": "a.toml", "apply": "restart", "entries": "list", "table": "b"},
    {"name": "a", "files": "a.toml", "apply": "restart", "entries": "list", "table": "b", "name_from": "c"},
    {"name": "a", "files": "a.toml", "apply": "restart", "entries": "tables"},
    {"name": "a", "files": "a.toml", "apply": "restart", "entries": "tables", "name_from": "c"},
    {"name": "a", "files": "a.toml", "apply": "restart", "entries": "one", "name_from": "c", "model": "m:A"},
]


def test_declarations_of_sections_are_judged_alike() -> None:
    documents = [{"supervisor": {"section": [one]}} for one in SECTIONS]

    verdicts = refused_by_the_editor([tomli_w.dumps(one) for one in documents])

    assert verdicts == [refused(one) for one in documents]


PROGRAMS: list[dict[str, Any]] = [
    {"program": []},
    {"program": [{}]},
    {"program": [{"name": "web"}]},
    {"program": [{"name": "Web"}]},
    {"program": [{"name": "web", "program": "a:b", "app": "a:b", "workers": 2, "threads": 3}]},
    {"program": [{"name": "web", "bind": "x"}, {"name": "jobs", "bind": ["unix:a", "[::1]:80", ""]}]},
    {"program": [{"name": "web", "bind": [1]}]},
    {"program": [{"name": "web", "restart": "transient", "strategy": "rest_for_one", "min_ready": "50%"}]},
    {"program": [{"name": "web", "restart": "sometimes"}]},
    {"program": [{"name": "web", "wrkers": 1}]},
    {"program": [{"name": "web"}], "workers": 2},
    {"program": [{"name": "web"}], "app": "a:b"},
    {"program": [{"name": "web"}], "threads": 2},
    {"program": [{"name": "web"}], "min_ready": 2},
    {"program": [{"name": f"p{number}"} for number in range(33)]},
]


def test_declarations_of_programs_are_judged_alike() -> None:
    documents = [{"supervisor": one} for one in PROGRAMS]

    verdicts = refused_by_the_editor([tomli_w.dumps(one) for one in documents])

    assert verdicts == [refused(one) for one in documents]


@settings(max_examples=10)
@given(st.data())
def test_other_keys_are_the_applications_unless_they_are_one_edit_away_from_one_of_ours(data: st.DataObject) -> None:
    near = st.sampled_from(OURS).flatmap(edited)
    keys = data.draw(st.lists(near | st.text("abc_-xyz", min_size=1, max_size=9), min_size=30, max_size=30))
    documents = [{"daemon": {key: {"any": [1, {"thing": True}]}}} for key in keys]

    verdicts = refused_by_the_editor([tomli_w.dumps(one) for one in documents])

    assert [one for one, bad in zip(documents, verdicts, strict=True) if bad != refused(one)] == []


@st.composite
def edited(draw: st.DrawFn, word: str) -> str:
    """A word with one letter more, less or another, or with two neighbors swapped; or with two such edits."""
    for _ in range(draw(st.integers(1, 2))):
        at, letter = draw(st.integers(0, len(word) - 1)), draw(st.sampled_from("abp_"))
        edits = [word[:at] + letter + word[at:], word[:at] + word[at + 1 :], word[:at] + letter + word[at + 1 :]]
        word = draw(st.sampled_from([*edits, word[:at] + word[at : at + 2][::-1] + word[at + 2 :]])) or "x"
    return word


@given(st.sampled_from(OURS).flatmap(edited), st.sampled_from(OURS))
def test_the_pattern_of_a_slip_matches_exactly_what_is_one_edit_away(word: str, ours: str) -> None:
    matches = re.search(slip_of(ours, OURS), word) is not None

    assert matches == (word not in OURS and one_edit_away(word, ours))


def test_every_setting_says_what_a_change_needs_and_has_its_default() -> None:
    daemon, supervisor = (SCHEMA["properties"][table]["properties"] for table in ("daemon", "supervisor"))

    assert daemon["port"]["default"] == 8080
    assert daemon["port"]["description"].endswith("A change needs a restart.")
    assert daemon["log_level"]["description"].endswith("A change is live.")
    assert daemon["signing"]["properties"]["enabled"]["description"].endswith("A change needs a stop and a new run.")
    assert supervisor["rollout"]["properties"]["max_parallel"]["default"] == "50%"
    assert "default" not in supervisor["workers"]
    assert "default" not in daemon["admin_token"]


def test_all_settings_are_in_it() -> None:
    def named(schema: dict[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        inner = schema.get("properties")
        return {path} if inner is None else {leaf for key, one in inner.items() for leaf in named(one, (*path, key))}

    assert named(SCHEMA) - {("supervisor", "section")} == {path for path, _ in SETTINGS}
    assert {field.name for field in dataclasses.fields(DaemonSettings)} - set(OURS) == {"application"}
