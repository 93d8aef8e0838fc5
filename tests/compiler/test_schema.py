"""The schema of a section judges files as the compiler does, as far as JSON Schema has words for it."""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_supervisor.compiler.schema import section_document
from nexus_supervisor.compiler.sheets import SheetMaker
from nexus_supervisor.core.options import LimitSettings
from nexus_supervisor.core.sections import SectionSpec
from nexus_supervisor.models.loading import load_model
from nexus_supervisor.models.secrets import Origins
from tests.support.editor import complaints

MODEL = "tests.support.catalog:Item"
PLAIN = SectionSpec("catalog", "catalog/*.toml", "live", MODEL)
NAMED = SectionSpec("catalog", "catalog/*.toml", "live", MODEL, table="item", name_from="name")
LIST = SectionSpec("catalog", "catalog.toml", "restart", MODEL, table="item", name_from="name", entries="list")
TABLES = SectionSpec("catalog", "catalog.toml", "live", MODEL, table="item", entries="tables")
BARE_TABLES = SectionSpec("catalog", "catalog.toml", "live", MODEL, entries="tables")
SPECS = {"plain": PLAIN, "named": NAMED, "list": LIST, "tables": TABLES, "bare tables": BARE_TABLES}

every_shape = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def document(spec: SectionSpec) -> dict[str, Any]:
    return section_document(spec, load_model(spec.model))


def in_file(spec: SectionSpec, entry: Any) -> Any:
    """The file of a section that holds one entry."""
    match spec.entries, spec.table:
        case "list", str(table):
            return {table: [entry]}
        case "tables", str(table):
            return {table: {"one": entry}}
        case "tables", None:
            return {"one": entry}
    return entry if spec.table is None else {spec.table: entry}


def compiles(spec: SectionSpec, text: str) -> bool:
    """Whether the compiler takes a file."""
    maker = SheetMaker(spec, load_model(spec.model), Origins(Path("/nowhere"), {}, bytes(32)), LimitSettings())
    raw = text.encode()
    return maker.sheet("catalog/one.toml", raw, hashlib.sha256(raw).digest()).problems == ()


def refused_by_the_editor(schema: dict[str, Any], texts: list[str]) -> list[bool]:
    """Whether an editor complains, text by text."""
    with TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "schema.json").write_text(json.dumps(schema))
        names = [f"{number:03}.toml" for number in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            (directory / name).write_text(f"#:schema ./schema.json\n\n{text}")
        bad = {one.file for one in complaints(directory)}
    return [name in bad for name in names]


# --- documents, and what may be wrong with one -----------------------------------------------------------------------

WORDS = st.text("abcxyz", min_size=1, max_size=4)
STOCK = st.fixed_dictionaries({}, optional={"amount": st.integers(0, 1_000), "shelf": WORDS})
PACKING = st.one_of(
    st.fixed_dictionaries({"kind": st.just("box"), "height": st.floats(0.5, 100) | st.integers(1, 100)}),
    st.fixed_dictionaries({"kind": st.just("bag")}, optional={"color": st.sampled_from(["red", "blue"])}),
)
GOOD = st.fixed_dictionaries(
    {"name": WORDS, "title": st.text("abc é", min_size=1, max_size=20)},
    optional={
        "code": WORDS,
        "price": st.integers(1, 9) | st.just("free"),
        "factor": st.floats(-10, 10) | st.integers(-10, 10),
        "listed": st.booleans(),
        "colors": st.lists(st.sampled_from(["red", "green"]), max_size=3),
        "labels": st.lists(WORDS, max_size=3),
        "sizes": st.dictionaries(WORDS, st.integers(-5, 5), max_size=2),
        "corner": st.lists(st.integers(), min_size=2, max_size=2).map(lambda two: [number % 100 for number in two]),
        "stock": STOCK,
        "spare": STOCK,
        "packing": PACKING,
        "needs": st.lists(WORDS, max_size=2),
        "token": WORDS,
        "since": st.just(datetime(2026, 11, 24, tzinfo=UTC)) | st.just("2026-11-24T00:00:00"),
    },
)
ODD = st.sampled_from(
    [0, 1, 7, -3, 5_000, 1.5, True, "", "x", "red", "free", "Quite a bit too long, this", [], ["a"], [1], [1, 2], {}]
) | st.sampled_from([{"a": 1}, {"amount": 2}, {"kind": "box"}, {"kind": "bag", "height": 3}])


@st.composite
def nearly_good(draw: st.DrawFn) -> dict[str, Any]:
    """A good entry, or one with one mistake in it: a key is missing, too much, or has an odd value."""
    entry: dict[str, Any] = copy.deepcopy(draw(GOOD))
    tables = [entry, *(value for value in entry.values() if isinstance(value, dict))]
    table = draw(st.sampled_from(tables))
    keys = sorted(key for key in table if key != "since")  # a text that is no date can't be told from one
    match draw(st.sampled_from(["good", "less", "more", "odd"])):
        case "less" if keys:
            del table[draw(st.sampled_from(keys))]
        case "more":
            table[draw(st.sampled_from(["colour", "nam", "amount"]))] = draw(ODD)
        case "odd" if keys:
            table[draw(st.sampled_from(keys))] = draw(ODD)
    return entry


@every_shape
@settings(max_examples=6)
@given(st.lists(nearly_good(), min_size=40, max_size=40))
def test_editor_and_compiler_agree_about_documents_with_one_mistake_and_without(
    spec: SectionSpec, entries: list[dict[str, Any]]
) -> None:
    sure = [{"name": "a", "title": "A"}, {"name": "a", "title": "A", "titel": "A"}]
    texts = [tomli_w.dumps(in_file(spec, entry)) for entry in (*sure, *entries)]

    verdicts = refused_by_the_editor(document(spec), texts)

    taken = [compiles(spec, text) for text in texts]
    assert [text for text, refused, good in zip(texts, verdicts, taken, strict=True) if refused == good] == []
    assert taken[:2] == [True, False]


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_a_file_of_one_entry_has_its_table_and_nothing_else() -> None:
    texts = ['[item]\nname = "a"\ntitle = "A"\n', "", '[item]\nname = "a"\ntitle = "A"\n[other]\n', "item = 3\n"]

    assert [compiles(NAMED, text) for text in texts] == [True, False, False, False]
    assert refused_by_the_editor(document(NAMED), texts) == [False, True, True, True]


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        (LIST, ["", '[[item]]\nname = "a"\ntitle = "A"\n', "[[items]]\n", "[item]\n", '[[item]]\ntitle = "A"\n']),
        (TABLES, ["", '[item.a]\nname = "a"\ntitle = "A"\n', "[items.a]\n", "[[item]]\n", "[item]\na = 3\n"]),
        (BARE_TABLES, ["", '[a]\nname = "a"\ntitle = "A"\n', "[a]\n", "[[a]]\n", "a = 3\n"]),
    ],
    ids=["list", "tables", "bare tables"],
)
def test_a_file_of_many_entries_may_be_empty_and_holds_only_entries(spec: SectionSpec, texts: list[str]) -> None:
    assert [compiles(spec, text) for text in texts] == [True, True, False, False, False]
    assert refused_by_the_editor(document(spec), texts) == [False, False, True, True, True]


@pytest.mark.parametrize("name", ["", "A", "a b", "a.b", "x" * 65])
def test_an_entry_has_a_name_of_the_same_letters_wherever_it_stands(name: str) -> None:
    entry = {"name": name, "title": "A"}
    named = tomli_w.dumps({"item": entry})
    keyed = tomli_w.dumps({"item": {name: {**entry, "name": "a"}}})

    assert (compiles(NAMED, named), compiles(TABLES, keyed)) == (False, False)
    assert refused_by_the_editor(document(NAMED), [named]) == [True]
    assert refused_by_the_editor(document(TABLES), [keyed]) == [True]


@every_shape
def test_a_section_without_a_model_takes_any_keys(spec: SectionSpec) -> None:
    free = SectionSpec("free", spec.files, "live", table=spec.table, name_from=spec.name_from, entries=spec.entries)
    text = tomli_w.dumps(in_file(free, {"name": "a", "deep": {"any": [1, {"thing": True}]}}))

    assert compiles(free, text)
    assert refused_by_the_editor(document(free), [text]) == [False]


# --- what it says ----------------------------------------------------------------------------------------------------


def test_the_schema_says_what_a_change_of_a_file_and_of_a_field_needs() -> None:
    live, restart = document(NAMED), document(LIST)
    fields = live["properties"]["item"]["properties"]

    assert live["description"] == "catalog/*.toml: section catalog. A change is live."
    assert restart["description"].endswith("A change needs a restart.")
    assert fields["stock"]["description"] == "A change of it needs a restart."
    assert fields["code"]["description"] == "No two entries may have the same."
    assert fields["needs"]["description"] == "Names an entry of catalog."
    assert fields["title"]["description"] == "What buyers read."


def test_a_secret_is_text_and_says_how_it_may_be_written() -> None:
    token = document(PLAIN)["properties"]["token"]

    assert (token["type"], token["writeOnly"]) == ("string", True)
    assert '"env:NAME", "file:PATH"' in token["description"]
    assert "default" not in token


def test_no_key_of_the_schema_is_one_of_a_newer_draft_and_every_reference_leads_somewhere() -> None:
    schema = document(LIST)

    def nodes(value: Any) -> Any:
        if isinstance(value, dict):
            yield value
            for one in value.values():
                yield from nodes(one)
        elif isinstance(value, list):
            for one in value:
                yield from nodes(one)

    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    for node in nodes(schema):
        assert not node.keys() & {"$defs", "prefixItems", "discriminator", "dependentSchemas"}
        if "$ref" in node:
            assert node.keys() == {"$ref"}
            assert node["$ref"].removeprefix("#/definitions/") in schema["definitions"]
