"""One supervisor a directory, with real processes that hold and lose the lock."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.errors import ConflictError, DirectoryError
from nexus_supervisor.supervisor.lock import DirectoryLock

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from nexus_supervisor.errors import ConflictError
from nexus_supervisor.supervisor.lock import DirectoryLock

sys.stdin.readline() if "wait" in sys.argv else None
try:
    with DirectoryLock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except ConflictError as error:
    print(error, flush=True)
"""


def hold(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that takes the lock, says so, and holds it until its stdin ends."""
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(directory), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_pid_file_names_the_holder_and_goes_with_it(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path):
        assert (tmp_path / "state" / "supervisor.pid").read_text() == f"{os.getpid()}\n"
        assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["lock", "supervisor.pid"]
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]


def test_state_and_lock_are_for_the_owner_alone(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
        assert modes == {"lock": 0o600, "supervisor.pid": 0o600}
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_second_supervisor_is_told_who_runs_and_what_to_do(tmp_path: Path) -> None:
    with hold(tmp_path) as first:
        assert line(first) == "held"
        with pytest.raises(ConflictError) as refused, DirectoryLock(tmp_path):
            pass
        assert refused.value.exit_code == 6
        assert f"a supervisor (pid {first.pid}) already runs on {tmp_path}" in str(refused.value)
        assert "nexus-supervisor stop" in str(refused.value)
        assert (tmp_path / "state" / "supervisor.pid").read_text() == f"{first.pid}\n"


def test_the_lock_of_a_killed_supervisor_is_free_and_what_it_left_is_harmless(tmp_path: Path) -> None:
    with hold(tmp_path) as first:
        assert line(first) == "held"
        first.kill()
    assert (tmp_path / "state" / "supervisor.pid").exists()
    (tmp_path / "state" / ".supervisor.pid.new").write_text("half")
    with DirectoryLock(tmp_path):
        assert (tmp_path / "state" / "supervisor.pid").read_text() == f"{os.getpid()}\n"
        assert not (tmp_path / "state" / ".supervisor.pid.new").exists()


@pytest.mark.parametrize("content", [b"", b"not a pid", b"99999999999999999999", b"\xff\xfe", b"-1"])
def test_a_pid_file_that_names_nobody_does_not_hide_the_conflict(tmp_path: Path, content: bytes) -> None:
    with hold(tmp_path) as first:
        assert line(first) == "held"
        (tmp_path / "state" / "supervisor.pid").write_bytes(content)
        with pytest.raises(ConflictError, match="a supervisor already runs"), DirectoryLock(tmp_path):
            pass


def test_of_many_that_start_at_once_exactly_one_wins(tmp_path: Path) -> None:
    racers = [hold(tmp_path, "wait") for _ in range(6)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [line(racer) for racer in racers]
    for racer in racers:
        racer.communicate()
    assert said.count("held") == 1
    assert sum("already runs" in text for text in said) == 5


def test_the_lock_can_be_taken_again_after_it_was_given_back(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with lock:
        pass
    with lock, pytest.raises(ConflictError), DirectoryLock(tmp_path):
        pass


def test_a_process_that_was_started_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with DirectoryLock(tmp_path):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, close_fds=False)
    with DirectoryLock(tmp_path):
        child.communicate()


def test_the_pid_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path):
        (tmp_path / "state" / "supervisor.pid").write_text("1\n")
    assert (tmp_path / "state" / "supervisor.pid").read_text() == "1\n"


def test_a_directory_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="missing/state"), DirectoryLock(tmp_path / "missing"):
        pass


def test_a_linked_state_directory_and_a_linked_lock_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DirectoryError, match="state directory"), DirectoryLock(tmp_path):
        pass
    (tmp_path / "state").unlink()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(DirectoryError, match="plain file"), DirectoryLock(tmp_path):
        pass
    assert not (tmp_path / "target").exists()
