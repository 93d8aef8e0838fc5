"""A model that was changed after it was imported: what it refuses says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.compilation import Refused, Seen
from tests.support.compiler_process import compiler
from tests.support.compiling import DAEMON, make_directory, source, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.compiler_process import CompilerProcess

HINT = "(own_models.py changed after it was imported: `restart` applies that)"
MODEL = """
from dataclasses import dataclass

@dataclass
class Source:
    name: str
    api_key: str
    target: str | None = None
"""


def own(directory: Path) -> Path:
    make_directory(directory)
    write(directory / "own_models.py", MODEL)
    write(directory / "daemon.toml", DAEMON.replace("tests.support.shop:Source", "own_models:Source"))
    return directory


def messages(process: CompilerProcess) -> list[str]:
    refused = process.look()
    assert isinstance(refused, Refused)
    return [one.message for one in refused.problems]


def test_a_key_that_only_the_changed_model_knows_is_refused_with_a_hint(tmp_path: Path) -> None:
    directory = own(tmp_path / "shop")
    with compiler(directory) as process:
        assert isinstance(process.look(), Seen)
        write(directory / "own_models.py", f"{MODEL}    color: str = ''\n")
        write(directory / "sources/b.toml", source("b", 'color = "red"'))

        (message,) = messages(process)

        assert message.startswith("expected a known key, found an unknown one")
        assert message.endswith(HINT)


def test_without_a_change_of_the_model_there_is_no_hint(tmp_path: Path) -> None:
    directory = own(tmp_path / "shop")
    with compiler(directory) as process:
        assert isinstance(process.look(), Seen)
        write(directory / "sources/b.toml", source("b", 'color = "red"'))

        assert "imported" not in messages(process)[0]


def test_what_no_model_would_take_has_no_hint(tmp_path: Path) -> None:
    directory = own(tmp_path / "shop")
    with compiler(directory) as process:
        assert isinstance(process.look(), Seen)
        write(directory / "own_models.py", f"{MODEL}    color: str = ''\n")
        write(directory / "sources/b.toml", "[source")

        assert "imported" not in messages(process)[0]
