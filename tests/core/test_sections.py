from __future__ import annotations

from typing import Any

import pytest

from nexus_supervisor.core.sections import SectionSpec, default_sections
from nexus_supervisor.core.settings import Parsed, parse

GOOD: dict[str, Any] = {"name": "routes", "files": "routes/*.toml", "apply": "live"}


def declared(*sections: Any) -> Parsed:
    return parse({"supervisor": {"section": list(sections)}}, cpu_count=1)


def errors(*sections: Any) -> list[tuple[str, str]]:
    return [(mistake.key, mistake.code) for mistake in declared(*sections).errors]


def test_the_gateway_has_live_sources_and_destinations_that_need_a_restart() -> None:
    sections = parse({}, cpu_count=1).settings.supervisor.sections
    assert sections == default_sections("gateway")
    assert [(one.name, one.files, one.apply) for one in sections] == [
        ("sources", "sources/*.toml", "live"),
        ("destinations", "destinations/*.toml", "restart"),
    ]
    assert [(one.model, one.table, one.name_from) for one in sections] == [
        ("nexus_workers.gateway.models:Source", "source", "name"),
        ("nexus_workers.gateway.models:Destination", "destination", "name"),
    ]


def test_another_program_has_no_sections_by_itself() -> None:
    assert parse({"supervisor": {"program": "asgi"}}, cpu_count=1).settings.supervisor.sections == ()


def test_declaring_any_section_replaces_the_defaults() -> None:
    parsed = declared(GOOD)
    assert parsed.errors == ()
    assert parsed.settings.supervisor.sections == (SectionSpec("routes", "routes/*.toml", "live", "", None, None),)


def test_an_empty_list_means_no_sections() -> None:
    assert declared().settings.supervisor.sections == ()


@pytest.mark.parametrize(
    "files", ["routes/*.toml", "routes/one.toml", "routes.toml", "a-b.c/x_1.toml", "keyring/*.toml"]
)
def test_a_section_is_all_files_of_a_directory_or_one_file(files: str) -> None:
    assert errors({**GOOD, "files": files}) == []


@pytest.mark.parametrize(
    "files",
    [
        "",
        "*.toml",
        "/etc/*.toml",
        "../x.toml",
        "a/../b.toml",
        "a/./b.toml",
        "a/b/*.toml",
        "a//b.toml",
        ".hidden/*.toml",
        "a/.b.toml",
        "routes/*",
        "routes/r*.toml",
        "routes/*.json",
        "routes/**/*.toml",
        "keys/*.toml",
        "compiled/*.toml",
        "state/x.toml",
        "daemon.toml",
        "routes/*.toml\n",
        "ro\x00utes/*.toml",
        "rôutes/*.toml",
        "a" * 300 + "/*.toml",
    ],
)
def test_files_outside_of_what_people_write_are_refused(files: str) -> None:
    assert errors({**GOOD, "files": files}) == [("supervisor.section[0].files", "range")]


@pytest.mark.parametrize("name", ["", "Routes", "1st", "a-b", "a b", "x" * 65, "é"])
def test_a_section_is_named_like_an_attribute(name: str) -> None:
    assert errors({**GOOD, "name": name}) == [("supervisor.section[0].name", "range")]


@pytest.mark.parametrize("name", ["daemon", "derived", "digest", "supervisor", "version"])
def test_a_section_may_not_hide_what_a_snapshot_has(name: str) -> None:
    assert errors({**GOOD, "name": name}) == [("supervisor.section[0].name", "value")]


@pytest.mark.parametrize("model", ["module", "module:", ":Class", "module:Class()", "a b:C", "a..b:C"])
def test_a_model_is_named_by_module_and_class(model: str) -> None:
    assert errors({**GOOD, "model": model}) == [("supervisor.section[0].model", "range")]


def test_what_a_section_must_say_is_asked_for() -> None:
    assert errors({}) == [
        ("supervisor.section[0].name", "missing"),
        ("supervisor.section[0].files", "missing"),
        ("supervisor.section[0].apply", "missing"),
    ]


def test_a_section_that_is_no_table_is_one_mistake() -> None:
    assert errors(GOOD, 3) == [("supervisor.section[1]", "type")]


def test_a_table_instead_of_a_list_of_tables_is_refused_with_the_right_brackets() -> None:
    parsed = parse({"supervisor": {"section": GOOD}}, cpu_count=1)
    (mistake,) = parsed.errors
    assert mistake.message == "expected a list of tables, [[supervisor.section]], found a table"


def test_an_unknown_key_of_a_section_comes_with_a_suggestion() -> None:
    (mistake,) = declared({**GOOD, "modle": "m:C"}).errors
    assert mistake.message == 'there is no such key; did you mean "model"?'


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"entries": "one"}, []),
        ({"entries": "list", "table": "route", "name_from": "name"}, []),
        ({"entries": "tables"}, []),
        ({"entries": "tables", "table": "routes"}, []),
        ({"entries": "many"}, [("supervisor.section[0].entries", "range")]),
        ({"entries": "list", "name_from": "name"}, [("supervisor.section[0].table", "missing")]),
        ({"entries": "list", "table": "route"}, [("supervisor.section[0].name_from", "missing")]),
        ({"entries": "tables", "name_from": "name"}, [("supervisor.section[0].name_from", "value")]),
    ],
)
def test_a_section_says_what_a_file_holds_and_what_names_its_entries(
    more: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    assert errors({**GOOD, **more}) == expected


def test_two_sections_may_not_share_a_name() -> None:
    assert errors(GOOD, {**GOOD, "files": "x/*.toml"}) == [("supervisor.section[1].name", "duplicate")]


@pytest.mark.parametrize(
    ("here", "there", "shared"),
    [
        ("x/*.toml", "x/*.toml", True),
        ("x/*.toml", "x/a.toml", True),
        ("x/a.toml", "x/*.toml", True),
        ("x/a.toml", "x/b.toml", False),
        ("x/*.toml", "y/*.toml", False),
        ("a.toml", "b.toml", False),
        ("a.toml", "x/*.toml", False),
    ],
)
def test_a_file_belongs_to_one_section(here: str, there: str, shared: bool) -> None:
    found = errors({**GOOD, "files": here}, {**GOOD, "name": "other", "files": there})
    assert found == ([("supervisor.section[1].files", "duplicate")] if shared else [])


def test_a_bad_section_is_left_out_and_the_good_ones_stay() -> None:
    parsed = declared({**GOOD, "apply": "later"}, {**GOOD, "name": "other"})
    assert [section.name for section in parsed.settings.supervisor.sections] == ["other"]


def test_there_is_a_limit_to_the_number_of_sections() -> None:
    many = [{**GOOD, "name": f"s{number}", "files": f"s{number}/*.toml"} for number in range(65)]
    assert errors(*many) == [("supervisor.section", "limit")]
    assert errors(*many[:64]) == []
