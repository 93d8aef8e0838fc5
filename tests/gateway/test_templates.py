from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import tomli

from nexus_supervisor.core import settings
from nexus_supervisor.models.loading import load_model
from nexus_supervisor.models.secrets import Origins

TEMPLATES = Path(str(resources.files("nexus_supervisor.cli"))) / "templates" / "gateway"
MODELS = {
    "source": load_model("nexus_workers.gateway.models:Source"),
    "destination": load_model("nexus_workers.gateway.models:Destination"),
}


def documents(folder: str, table: str) -> Any:
    return {path.stem: tomli.loads(path.read_text())[table] for path in sorted((TEMPLATES / folder).glob("*.toml"))}


def without_comment_marks(path: str) -> Any:
    """Return the text with its commented settings in force."""
    return re.sub(r"^# ?(?=\[|[a-z_]+ += )", "", path.read_text(), flags=re.MULTILINE)


@pytest.fixture
def origins(tmp_path: Path) -> Any:
    (tmp_path / "keys").mkdir()
    for name in documents("sources", "source"):
        (tmp_path / "keys" / f"demo-{name}.key").write_text(f"nxs_{name}\n")
    return Origins(tmp_path, {}, bytes(32))


@pytest.mark.parametrize("bake_seconds", ["0", "2"])
def test_the_settings_are_valid_without_a_warning(bake_seconds: str) -> None:
    text = (TEMPLATES / "daemon.toml").read_text()
    parsed = settings.parse(tomli.loads(text.replace("@BAKE_SECONDS@", bake_seconds)), cpu_count=2)
    assert (parsed.errors, parsed.warnings) == ((), ())
    assert parsed.settings.supervisor.rollout.bake_seconds == float(bake_seconds)
    assert parsed.settings.daemon.signing.enabled


def test_the_commented_settings_are_valid_too() -> None:
    text = without_comment_marks(TEMPLATES / "daemon.toml").replace("@BAKE_SECONDS@", "0")
    assert settings.parse(tomli.loads(text), cpu_count=2).errors == ()


def test_every_source_is_valid_and_one_may_write(origins: Origins) -> None:
    sources = documents("sources", "source")
    assert sources.keys() == {"claude-code", "cursor"}
    for name, document in sources.items():
        assert document["api_key"] == f"file:keys/demo-{name}.key"
        assert document["name"] == name
        MODELS["source"].compile(document, origins)
    assert [name for name, document in sources.items() if document["can_write"]] == ["claude-code"]


def test_the_commented_tables_of_a_source_are_valid_too(origins: Origins) -> None:
    document = tomli.loads(without_comment_marks(TEMPLATES / "sources" / "claude-code.toml"))["source"]
    assert document["mapping"]["content"] == "messages.-1.content"
    assert document["transform"].keys() == {"content", "labels"}
    assert document["idempotency"]["enabled"]
    MODELS["source"].compile(document, origins)


def test_the_source_that_may_only_read_sees_what_the_other_one_writes() -> None:
    sources = documents("sources", "source")
    assert sources["cursor"]["can_read"]
    firewall = sources["cursor"]["policy"]["retrieval_firewall"]
    assert firewall["visible_namespaces"] == [sources["claude-code"].get("namespace", "claude-code")]


def test_every_destination_is_valid_and_its_folder_is_part_of_the_template(origins: Origins) -> None:
    destinations = documents("destinations", "destination")
    assert destinations.keys() == {"main"}
    for document in destinations.values():
        MODELS["destination"].compile(document, origins)
        assert (TEMPLATES / document["db_path"]).parent.is_dir()


def test_every_source_names_a_destination_that_exists() -> None:
    targets = {document["target_destination"] for document in documents("sources", "source").values()}
    assert targets <= documents("destinations", "destination").keys()
