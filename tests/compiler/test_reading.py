"""Reads of one file through the descriptor of its directory: real files, real writers."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.compiler.reading import Identity, TroubleError, VanishedError, kind_of, read_stable
from tests.support.compiling import is_root

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_a_quiet_file_is_read_whole_with_its_identity(tmp_path: Path, directory: int) -> None:
    (tmp_path / "a.toml").write_bytes(b"x = 1\n")

    reading = read_stable(directory, "a.toml", 100)

    assert reading.raw == b"x = 1\n"
    assert reading.identity == Identity.of((tmp_path / "a.toml").stat())


def test_the_bytes_are_not_part_of_the_repr(tmp_path: Path, directory: int) -> None:
    (tmp_path / "a.toml").write_bytes(b"canary")

    assert "canary" not in repr(read_stable(directory, "a.toml", 100))


def test_a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_not(tmp_path: Path, directory: int) -> None:
    (tmp_path / "a.toml").write_bytes(b"x" * 100)

    assert len(read_stable(directory, "a.toml", 100).raw) == 100
    with pytest.raises(TroubleError, match=r"expected at most 99 bytes .* found 100"):
        read_stable(directory, "a.toml", 99)


def test_a_file_that_is_gone_is_no_trouble_of_its_own(directory: int) -> None:
    with pytest.raises(VanishedError):
        read_stable(directory, "a.toml", 100)


def test_a_fifo_without_a_writer_does_not_block(tmp_path: Path, directory: int) -> None:
    os.mkfifo(tmp_path / "a.toml")

    with pytest.raises(TroubleError, match="found a FIFO"):
        read_stable(directory, "a.toml", 100)


def test_a_device_is_refused(tmp_path: Path, directory: int) -> None:
    try:
        os.mknod(tmp_path / "a.toml", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except OSError as error:
        pytest.skip(f"this user may not make device nodes ({errno.errorcode[error.errno or 0]})")

    with pytest.raises(TroubleError, match=r"found a device|found one that can't"):
        read_stable(directory, "a.toml", 100)


def test_a_file_mapped_for_writing_is_unstable_after_its_descriptor_is_closed(tmp_path: Path, directory: int) -> None:
    (tmp_path / "a.toml").write_bytes(b"x = 1\n")
    with (tmp_path / "a.toml").open("r+b") as opened:
        mapped = mmap.mmap(opened.fileno(), 0)

    with pytest.raises(TroubleError, match="open for writing"):
        read_stable(directory, "a.toml", 100)

    mapped.close()
    assert read_stable(directory, "a.toml", 100).raw == b"x = 1\n"


def test_readers_do_not_disturb_each_other(tmp_path: Path, directory: int) -> None:
    (tmp_path / "a.toml").write_bytes(b"x = 1\n")
    with (tmp_path / "a.toml").open("rb"):
        assert read_stable(directory, "a.toml", 100).raw == b"x = 1\n"


def test_reading_leaves_no_descriptor_open(tmp_path: Path, directory: int) -> None:
    (tmp_path / "a.toml").write_bytes(b"x = 1\n")
    (tmp_path / "b.toml").mkdir()
    before = sorted(os.fspath(one) for one in Path("/proc/self/fd").iterdir())

    read_stable(directory, "a.toml", 100)
    with pytest.raises(TroubleError):
        read_stable(directory, "b.toml", 100)

    assert sorted(os.fspath(one) for one in Path("/proc/self/fd").iterdir()) == before


READ_AS_NOBODY = """
import os, sys
from nexus_supervisor.compiler.reading import TroubleError, read_stable
descriptor = os.open(sys.argv[1], os.O_RDONLY)
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    print(read_stable(descriptor, "a.toml", 100).raw)
except TroubleError as trouble:
    print(trouble.code, trouble)
"""


def read_as_nobody(directory: Path) -> str:
    command = [sys.executable, "-c", READ_AS_NOBODY, str(directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_file_without_read_permission_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"x = 1\n")
    (tmp_path / "a.toml").chmod(0)

    assert read_as_nobody(tmp_path).startswith("unreadable expected a file that can be read")


@pytest.mark.skipif(not is_root(), reason="only root can make a file that another user reads")
def test_a_file_of_another_owner_on_which_no_lease_can_be_had_is_read_all_the_same(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "a.toml").write_bytes(b"x = 1\n")
    (tmp_path / "a.toml").chmod(0o644)

    assert read_as_nobody(tmp_path) == "b'x = 1\\n'\n"


def test_a_young_identity_is_not_relied_on() -> None:
    identity = Identity(1, 2, 3, mtime_ns=1_000_000_000, ctime_ns=1_010_000_000)

    assert not identity.settled(1_020_000_000)
    assert identity.settled(1_040_000_000)


@pytest.mark.parametrize(("mode", "words"), [(stat.S_IFDIR, "a directory"), (stat.S_IFSOCK, "a socket")])
def test_kinds_have_words(mode: int, words: str) -> None:
    assert kind_of(mode | 0o644) == words
