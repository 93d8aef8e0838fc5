from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parents[2]
PACKAGES = {"nexus_supervisor": "nexus_supervisor", "workers": "nexus_workers"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy, so that the clone stays clean and two builds don't meet."""
    place = tmp_path_factory.mktemp("build")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, place)
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (place / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def metadata(unpacked: Path) -> Message:
    (path,) = unpacked.glob("*.dist-info/METADATA")
    return Parser().parsestr(path.read_text(encoding="utf-8"))


def entry_points(unpacked: Path) -> configparser.ConfigParser:
    (path,) = unpacked.glob("*.dist-info/entry_points.txt")
    parser = configparser.ConfigParser()
    parser.read(path)
    return parser


def run(unpacked: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    environment = {"PYTHONPATH": str(unpacked), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_brings_two_packages_and_nothing_else_to_the_top(unpacked: Path) -> None:
    names = {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"}
    assert names == {"nexus_supervisor", "nexus_workers"}


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_file_of_the_packages_is_in_the_wheel(unpacked: Path, folder: str) -> None:
    source, installed = ROOT / folder, unpacked / PACKAGES[folder]
    written = {
        path.relative_to(source) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert written - {path.relative_to(installed) for path in installed.rglob("*")} == set()


@pytest.mark.parametrize("package", PACKAGES.values())
def test_the_packages_say_that_they_are_typed(unpacked: Path, package: str) -> None:
    assert (unpacked / package / "py.typed").is_file()


def test_the_license_travels_with_the_wheel(unpacked: Path) -> None:
    (license_file,) = unpacked.glob("*.dist-info/licenses/LICENSE")
    assert "Apache License" in license_file.read_text(encoding="utf-8")
    assert metadata(unpacked)["License-Expression"] == "Apache-2.0"


def test_the_packages_that_it_needs_are_named(unpacked: Path) -> None:
    needed = " ".join(metadata(unpacked).get_all("Requires-Dist", []))
    for name in ("watchdog", "msgpack", "cryptography", "psutil", "click"):
        assert name in needed
    assert metadata(unpacked)["Requires-Python"] == ">=3.11"


def test_the_command_and_the_worker_programs_are_entry_points(unpacked: Path) -> None:
    declared = entry_points(unpacked)
    assert dict(declared["console_scripts"]) == {"nexus-supervisor": "nexus_supervisor.cli:main"}
    assert {"gateway", "asgi", "hello"} <= set(declared["nexus_supervisor.workers"])


def test_every_entry_point_leads_to_a_module_or_something_that_can_be_called(unpacked: Path) -> None:
    declared = entry_points(unpacked)
    targets = [target for group in declared.sections() for target in declared[group].values()]
    script = "import sys; from importlib.metadata import EntryPoint as E; import nexus_supervisor\n"
    script += "assert nexus_supervisor.__path__[0].startswith(sys.argv[1]), nexus_supervisor.__path__\n"
    script += "for target in sys.argv[2:]: assert callable(E('x', target, 'x').load()) or ':' not in target, target\n"
    done = run(unpacked, "-c", script, str(unpacked), *targets)
    assert done.returncode == 0, done.stderr


def test_what_was_installed_runs_as_a_module(unpacked: Path) -> None:
    done = run(unpacked, "-m", "nexus_supervisor", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
