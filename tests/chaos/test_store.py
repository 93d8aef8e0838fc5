"""A store that is damaged between two runs: the next start serves, says so, and gives no number twice."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.chaos import add_item, make_stall
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALARMS = ("journal_failed", "config_signature_invalid")
chance = random.Random(20_261_124)


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1 << chance.randrange(8)]) + raw[at + 1 :]


def flip_anywhere(directory: Path) -> None:
    rewrite(directory / "state" / "journal", lambda raw: flipped(raw, chance.randrange(len(raw))))


def flip_at_the_end(directory: Path) -> None:
    rewrite(directory / "state" / "journal", lambda raw: flipped(raw, len(raw) - 1))


def truncate(directory: Path) -> None:
    rewrite(directory / "state" / "journal", lambda raw: raw[: chance.randrange(len(raw))])


def garbage(directory: Path) -> None:
    rewrite(directory / "state" / "journal", lambda raw: raw + chance.randbytes(1000))


def zeros(directory: Path) -> None:
    rewrite(directory / "state" / "journal", lambda raw: bytes(len(raw)))


def emptied(directory: Path) -> None:
    rewrite(directory / "state" / "journal", lambda _: b"")


def removed(directory: Path) -> None:
    (directory / "state" / "journal").unlink()


def damaged_content(directory: Path) -> None:
    rewrite(directory / "compiled" / "current" / "items.json", lambda raw: flipped(raw, len(raw) // 2))


def missing_content(directory: Path) -> None:
    (directory / "compiled" / "current" / "items.json").unlink()


def missing_pointer(directory: Path) -> None:
    (directory / "compiled" / "current").unlink()


def dangling_pointer(directory: Path) -> None:
    missing_pointer(directory)
    (directory / "compiled" / "current").symlink_to("000999")


def pointer_elsewhere(directory: Path) -> None:
    missing_pointer(directory)
    (directory / "compiled" / "current").symlink_to("../keys")


def no_versions(directory: Path) -> None:
    shutil.rmtree(directory / "compiled")


def files_in_the_way(directory: Path) -> None:
    (directory / "compiled" / ".000999.new").mkdir()
    (directory / "state" / "journal.new").mkdir()


def attack(directory: Path, damages: list[Callable[[Path], None]]) -> None:
    """Damage the store before each of several runs; what is new then gets a number above all that were ever given."""
    highest = price = 0
    for damage in (lambda _: None, *damages):
        if highest:
            damage(directory)
        with Nexus(directory) as nexus:
            started_with = nexus.version
            assert nexus.workers()["serve-0"]["version"] == started_with
            price += 1
            add_item(directory, "nut", price + 1)
            ended = nexus.push()
            assert (ended.exit_code, nexus.version > highest) == (0, True), (damage, ended)
            if damage in (flip_at_the_end, garbage, zeros, emptied, removed, damaged_content, missing_content):
                assert nexus.history(*ALARMS), damage
            highest = nexus.version
        verified = command("verify", directory)
        assert verified.returncode == 0, (damage, verified.stdout)


def test_a_journal_that_is_damaged_between_runs_costs_no_version_its_number(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, workers=1)
    attack(directory, [flip_anywhere, truncate, flip_at_the_end, garbage, zeros, emptied, removed])


def test_a_damaged_archive_is_written_again(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, workers=1)
    attack(directory, [damaged_content, missing_content, missing_pointer, dangling_pointer, pointer_elsewhere])


def test_a_lost_archive_is_written_again_whatever_is_in_its_way(tmp_path: Path) -> None:
    attack(make_stall(tmp_path, workers=1), [no_versions, files_in_the_way])


@pytest.mark.parametrize("restored", ["state", "compiled"])
def test_an_old_copy_of_one_half_of_the_store_brings_no_number_back(tmp_path: Path, restored: str) -> None:
    directory, backup = make_stall(tmp_path, workers=1), tmp_path / "backup"
    with Nexus(directory) as nexus:
        for number in range(5):
            if number == 2:
                shutil.copytree(directory / restored, backup, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
            add_item(directory, "nut", number + 2)
            assert nexus.push().exit_code == 0
        highest = nexus.version
    shutil.rmtree(directory / restored)
    backup.rename(directory / restored)
    with Nexus(directory) as nexus:
        assert nexus.version >= highest
        add_item(directory, "nut", 77)
        assert nexus.push().exit_code == 0
        assert nexus.version > highest
        assert restored == "compiled" or nexus.history("journal_failed")
    assert command("verify", directory).returncode == 0


@pytest.mark.parametrize("number", ["1500000", "999999999999999999", "9999999999999999999"])
def test_an_empty_directory_with_a_huge_number_stops_no_push(tmp_path: Path, number: str) -> None:
    directory = make_stall(tmp_path, workers=1)
    with Nexus(directory):
        (directory / "compiled" / number).mkdir()
    with Nexus(directory) as nexus:
        add_item(directory, "bolt")
        assert nexus.push().exit_code == 0
        assert nexus.version == 2
