"""What a worker's stdout and stderr become when nobody reads them any more."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.agent.stdio import Stdio
from tests.support.chaos import as_root
from tests.support.workers import Site, Worker, a_content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE = a_content({"nut": {"price": 1}})
OURS, A_SHELLS = 0o666, 0o600

TALK = '''
import os
from pathlib import Path

def talk(agent):
    """Write without end, and much at the end; tell in a file how that went."""
    agent.ready()
    told, lines = Path("{told}"), 0
    try:
        while not agent.drain.draining:
            os.write(1, b"line\\n")
            lines += 1
            if lines % 100 == 0:
                told.write_text(f"{{lines}}")
        {last}
    except OSError as error:
        told.write_text(type(error).__name__)
    else:
        told.write_text("done")
'''


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        try:
            os.close(end)
        except OSError:
            continue


def talker(site: Site, told: Path, last: str) -> str:
    (site.directory / "talk.py").write_text(TALK.format(told=told, last=last))
    return "talk:talk"


def lines_told(told: Path) -> int:
    text = told.read_text() if told.exists() else ""
    return int(text) if text.isdecimal() else 0


def test_requests_go_on_writing_when_the_supervisor_is_killed(
    site: Site, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    os.fchmod(writer, OURS)
    told = tmp_path / "told"
    program = talker(site, told, 'os.write(1, b"x" * (10 << 20))')
    with Worker(site, output=writer, program=program) as worker:
        os.close(writer)
        worker.serve(ONE)
        while lines_told(told) < 100:
            os.read(reader, 1 << 16)

        os.close(reader)
        worker.wire.close()

        assert worker.process.wait() == 0
        assert told.read_text() == "done"


def test_a_pipe_that_was_inherited_and_broke_leads_nowhere_once_the_supervisor_is_gone(
    site: Site, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    told = tmp_path / "told"
    (site.directory / "late.py").write_text(
        f"import os\ndef late(agent):\n    agent.ready()\n    agent.drain.wait()\n    os.write(1, b'x')\n"
        f"    open({str(told)!r}, 'w').write(os.readlink('/proc/self/fd/1'))\n"
    )
    with Worker(site, output=writer, program="late:late") as worker:
        os.close(writer)
        worker.serve(ONE)

        os.close(reader)
        worker.wire.close()

        assert worker.process.wait() == 0
        assert told.read_text() == os.devnull


def test_what_a_worker_starts_has_no_end_to_read_from(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    os.fchmod(writer, OURS)
    code = (
        "import os, subprocess, sys\nfrom nexus_supervisor.agent.stdio import Stdio\nheld = Stdio()\n"
        'show = \'import os; print(sorted(os.listdir("/proc/self/fd")), file=__import__("sys").stderr)\'\n'
        "subprocess.run([sys.executable, '-c', show], close_fds=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=True)
    assert done.stderr.strip() == "['0', '1', '2', '3']"  # 3 is the folder that it lists


@pytest.mark.parametrize(("mode", "held"), [(OURS, 1), (A_SHELLS, 0)])
def test_only_the_supervisors_own_pipes_are_held(pipe: tuple[int, int], mode: int, held: int) -> None:
    _, writer = pipe
    os.fchmod(writer, mode)
    assert stat.S_IMODE(os.fstat(writer).st_mode) == mode
    code = "import sys\nfrom nexus_supervisor.agent.stdio import Stdio\nsys.exit(len(Stdio()._ends))"
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.DEVNULL, check=False)
    assert done.returncode == held


@as_root
def test_a_worker_of_another_user_can_open_its_own_pipe(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    os.fchmod(writer, OURS)
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        os.setgid(65_534)
        os.setuid(65_534)
        os._exit(40 + len(Stdio()._ends))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 41
