"""A disk that is full or fails: nothing is sent that is not durable, what runs serves on, and what comes after."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support import leaks
from tests.support.chaos import add_item, as_root, kinds, make_stall, remove_item, strace, with_strace
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = "2m"


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a small disk; skip where that is not allowed."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "small", path], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(disk: Path) -> None:
    """Leave no room at all."""
    with (disk / "filler").open("ab", buffering=0) as filler:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while os.write(filler.fileno(), bytes(size)):
                    continue
            except OSError:
                continue


def pids(nexus: Nexus) -> dict[str, int]:
    return {slot: worker["pid"] for slot, worker in nexus.workers().items()}


@as_root
def test_a_full_disk_stops_pushes_and_neither_serving_nor_the_next_revocation(tmp_path: Path) -> None:
    directory = make_stall(tmp_path)
    with small_disk(directory / "state") as disk, Nexus(directory) as nexus:
        ballast = disk / "ballast"
        workers = pids(nexus)
        ended, price = nexus.push(), 1
        while ended.exit_code == 0:  # the journal's last block has room for a record or two
            if ballast.exists():
                fill(disk)
            else:  # a commit has needed it; with the room it comes back
                (disk / "filler").unlink()
            live, staged = nexus.version, kinds(nexus, "version_staged")
            price += 1
            add_item(directory, "nut", price)
            ended = nexus.push()
        assert ended.exit_code == 1, ended
        assert nexus.history("journal_failed")
        assert kinds(nexus, "version_staged") == staged
        assert (nexus.version, pids(nexus)) == (live, workers)
        assert ballast.exists()

        remove_item(directory, "nut")
        ended = nexus.push()
        assert ended.exit_code == 0, ended
        assert nexus.version > live
        add_item(directory, "nut", price)

        (disk / "filler").unlink()
        ended = nexus.push()
        assert ended.exit_code == 0, ended
        assert {one["version"] for one in nexus.workers().values()} == {nexus.version}
        assert nexus.version > live
        assert ballast.exists()
        assert command("verify", directory).returncode == 0


@as_root
def test_a_version_that_finds_no_room_in_the_archive_is_live_and_written_later(tmp_path: Path) -> None:
    directory = make_stall(tmp_path)
    with small_disk(directory / "compiled") as disk, Nexus(directory) as nexus:
        before = nexus.version
        fill(disk)
        add_item(directory, "bolt")
        ended = nexus.push()
        assert (ended.exit_code, nexus.version) == (5, before + 1)
        assert (disk / "current").readlink().name == f"{before:06d}"

        (disk / "filler").unlink()
        add_item(directory, "screw")
        assert nexus.push().exit_code == 0
        assert (disk / "current").readlink().name == f"{before + 2:06d}"
        assert command("verify", directory).returncode == 0


@as_root
def test_a_start_on_a_full_disk_serves_what_is_committed(tmp_path: Path) -> None:
    directory = make_stall(tmp_path, workers=1)
    with small_disk(directory / "state") as disk:
        with Nexus(directory) as nexus:
            before = nexus.version
        (disk / "ballast").unlink()
        fill(disk)
        with Nexus(directory) as nexus:
            assert nexus.version == before
            (disk / "filler").unlink()
            add_item(directory, "bolt")
            assert nexus.push().exit_code == 0
        assert leaks.files(directory) == []


@as_root
@with_strace
def test_after_a_sync_that_failed_nothing_is_sent_until_the_next_start(tmp_path: Path) -> None:
    directory = make_stall(tmp_path)
    with Nexus(directory) as nexus:
        before, workers = nexus.version, pids(nexus)
        staged = kinds(nexus, "version_staged")
        with strace(nexus.process.pid, "fdatasync", "error=EIO:when=1"):
            add_item(directory, "bolt")
            assert nexus.push().exit_code == 1
        for price in (2, 3):  # the disk says that it is well again, and may have lost what it was given
            add_item(directory, "nut", price)
            assert nexus.push().exit_code == 1
        assert kinds(nexus, "version_staged") == staged
        assert (nexus.version, pids(nexus)) == (before, workers)
        assert nexus.stop() == 0
    with Nexus(directory) as nexus:
        assert nexus.version > before + 1
        assert command("verify", directory).returncode == 0
