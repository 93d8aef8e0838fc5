"""schema: on stdout or beside the files, also where parts of the directory are wrong; and what editors make of it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import tomli
from click.testing import CliRunner, Result

from nexus_supervisor.cli import main
from tests.support.editor import complaints
from tests.support.nexus import Nexus

EXAMPLES = sorted(path.parent for path in (Path(__file__).parents[2] / "docs" / "examples").glob("*/daemon.toml"))


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(
        main, [str(one) for one in arguments], env={"NEXUS_HOME": None, **environment}, catch_exceptions=False
    )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Make a directory as init does."""
    directory = tmp_path / "shop"
    assert run("init", directory, "--program", "asgi").exit_code == 0
    return directory


def test_one_section_is_one_document(shop: Path) -> None:
    shown = run("schema", "knobs", "-d", shop)

    document = json.loads(shown.stdout)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert document["x-nexus-section"] == "knobs"
    assert document["required"] == ["greeting", "shop"]
    assert document["additionalProperties"] is False
    assert document["properties"]["shop"]["description"] == "The shop's name. A change of it needs a restart."
    assert run("schema", "knobs", "-d", shop, "--json").stdout == shown.stdout


def test_without_a_section_all_of_them_are_there_by_name(shop: Path) -> None:
    documents = json.loads(run("schema", "-d", shop).stdout)

    assert list(documents) == ["daemon", "knobs"]
    assert documents["knobs"] == json.loads(run("schema", "knobs", "-d", shop).stdout)
    assert documents["daemon"] == json.loads(run("schema", "daemon", "-d", shop).stdout)


def test_the_schema_of_daemon_toml_needs_no_directory(tmp_path: Path) -> None:
    shown = run("schema", "daemon", "-d", tmp_path / "missing")

    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["title"] == "daemon.toml"


def test_an_unknown_section_is_wrong_usage_and_names_the_one_that_was_meant(shop: Path) -> None:
    near, far = run("schema", "knob", "-d", shop), run("schema", "elephant", "-d", shop)

    assert (near.exit_code, far.exit_code) == (2, 2)
    assert "there is no section 'knob': did you mean knobs?" in near.stderr
    assert "there is no section 'elephant': there are daemon, knobs" in far.stderr


# --- files -----------------------------------------------------------------------------------------------------------


def test_written_schemas_follow_the_model_and_only_what_changed_is_written(shop: Path) -> None:
    daemon, knobs = shop / "schemas" / "daemon.json", shop / "schemas" / "knobs.json"
    before = daemon.stat()
    model = shop / "models.py"
    model.write_text(model.read_text().replace("le=50", "le=70"))

    told = run("schema", "--write", "-d", shop)

    assert told.stdout.splitlines() == [f"{daemon} is up to date", f"{knobs} is written"]
    assert json.loads(knobs.read_text())["properties"]["discount_percent"]["maximum"] == 70
    assert daemon.stat().st_ino == before.st_ino
    assert knobs.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in knobs.parent.iterdir()) == ["daemon.json", "knobs.json"]
    again = json.loads(run("schema", "--write", "--json", "-d", shop).stdout)
    assert again == {"written": [], "unchanged": [str(daemon), str(knobs)]}


def test_one_section_alone_can_be_written(shop: Path) -> None:
    shutil.rmtree(shop / "schemas")

    assert run("schema", "knobs", "--write", "-d", shop).exit_code == 0
    assert [path.name for path in (shop / "schemas").iterdir()] == ["knobs.json"]


@pytest.mark.parametrize("there", ["{}", "not JSON", '["x-nexus-section"]', ""])
def test_a_file_that_is_no_schema_of_ours_is_not_overwritten_and_nothing_else_is(shop: Path, there: str) -> None:
    mine, other = shop / "schemas" / "knobs.json", shop / "schemas" / "daemon.json"
    mine.write_text(there)
    other.unlink()

    refused = run("schema", "--write", "-d", shop)

    assert refused.exit_code == 6
    assert f"{mine} is no schema that was written by this command, and is not overwritten" in refused.stderr
    assert mine.read_text() == there
    assert not other.exists()


def test_what_a_link_leads_to_is_not_overwritten(shop: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine.json"
    shutil.move(shop / "schemas" / "knobs.json", elsewhere)
    (shop / "schemas" / "knobs.json").symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    (shop / "models.py").write_text((shop / "models.py").read_text().replace("le=50", "le=70"))

    assert run("schema", "--write", "-d", shop).exit_code == 6
    assert elsewhere.read_bytes() == before


def test_a_directory_that_is_missing_is_not_made(tmp_path: Path) -> None:
    for arguments in (["--write"], ["daemon", "--write"], []):
        assert run("schema", *arguments, "-d", tmp_path / "missing").exit_code == 3
    assert list(tmp_path.iterdir()) == []


# --- a directory that is not valid -----------------------------------------------------------------------------------


def test_mistakes_elsewhere_don_t_matter(shop: Path) -> None:
    (shop / "knobs" / "main.toml").write_text("greeting = [\n")
    settings = shop / "daemon.toml"
    settings.write_text(settings.read_text().replace("port = 8080", "prt = 8080").replace("bake_seconds", "cake"))

    assert run("check", shop).exit_code == 3
    assert run("schema", "-d", shop).exit_code == 0


def test_a_model_that_can_t_be_loaded_is_a_problem_and_the_others_are_described(shop: Path) -> None:
    (shop / "models.py").write_text("import no_such_module\n")

    everything = run("schema", "-d", shop)
    one = run("schema", "knobs", "-d", shop)

    assert list(json.loads(everything.stdout)) == ["daemon"]
    assert (everything.exit_code, one.exit_code, one.stdout) == (3, 3, "")
    assert "daemon.toml:33: supervisor.section[0].model: the model 'models:Knobs' can't be loaded" in one.stderr


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('apply = "live"', 'apply = "alive"', "supervisor.section[0].apply: expected one of"),
        ("[daemon]", "[daemon", "daemon.toml:6: this is not valid TOML"),
    ],
)
def test_a_declaration_that_can_t_be_read_is_a_problem_with_its_line(shop: Path, old: str, new: str, told: str) -> None:
    settings = shop / "daemon.toml"
    settings.write_text(settings.read_text().replace(old, new))

    result = run("schema", "-d", shop)

    assert result.exit_code == 3
    assert told in result.stderr


def test_a_model_that_ends_the_process_is_a_refusal_and_not_our_end(shop: Path) -> None:
    (shop / "models.py").write_text("import os\nos._exit(9)\n")

    result = run("schema", "-d", shop)

    assert result.exit_code == 3
    assert "the process that imports the models ended with exit code 9" in result.stderr


def test_what_a_model_prints_is_no_part_of_the_document(shop: Path) -> None:
    (shop / "models.py").write_text(
        f"print('hello')\n{(shop / 'models.py').read_text()}".replace("from __future__ import annotations\n", "")
    )

    assert json.loads(run("schema", "knobs", "-d", shop).stdout)["title"] == "knobs"


def test_models_are_not_imported_here(shop: Path) -> None:
    (shop / "models.py").write_text("import sys\nsys.modules['nexus_was_here'] = sys\n")

    run("schema", "-d", shop)

    assert "nexus_was_here" not in sys.modules


# --- beside a daemon that runs ---------------------------------------------------------------------------------------


def test_schemas_that_are_written_while_it_runs_are_no_part_of_the_content(shop: Path) -> None:
    shutil.rmtree(shop / "schemas")

    with Nexus(shop, "-w", "1") as nexus:
        assert run("schema", "--write", "-d", shop).exit_code == 0
        pushed = nexus.push()
        assert (pushed.outcome, nexus.version) == ("APPLIED", 1)


# --- editors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('greeting = "hi"\nshop = "S"\ndiscount_percent = 51\n', [(5, "the value must be ≤ 50, but found 51")]),
        ('greeting = "hi"\nshop = "S"\ncolour = 3\n', [(5, '"colour" is not allowed')]),
        ('greeting = 3\nshop = "S"\n', [(3, "expected a value of type String, but found Integer")]),
        ('greeting = ""\nshop = "S"\n', [(3, "the length must be ≥ 1, but found 0")]),
        ('greeting = "hi"\n', [(1, '"shop" is required')]),
    ],
)  # fmt: skip
def test_an_editor_names_the_line_of_a_mistake(shop: Path, text: str, found: list[tuple[int, str]]) -> None:
    (shop / "knobs" / "main.toml").write_text(f"#:schema ../schemas/knobs.json\n\n{text}")

    assert [(one.line, one.message) for one in complaints(shop)] == found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_editor_finds_nothing_wrong_in_the_examples(tmp_path: Path, example: Path) -> None:
    directory = shutil.copytree(example, tmp_path / example.name)
    assert run("schema", "--write", "-d", directory).exit_code == 0
    declared = tomli.loads((directory / "daemon.toml").read_text())["supervisor"].get("section", [])
    schemas = {"daemon.toml": "daemon", **{one["files"]: one["name"] for one in declared}}

    for pattern, section in schemas.items():
        for path in directory.glob(pattern):
            text = path.read_text()
            if not text.startswith("#:schema "):
                path.write_text(f"#:schema {directory}/schemas/{section}.json\n\n{text}")

    assert complaints(directory) == []
