"""The zygote: what it imports, what its workers have of it, and what they don't."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from nexus_supervisor.core.forking import Fork, Load, Loaded, NotLoaded
from nexus_supervisor.core.messages import Booted
from tests.support.workers import Site, a_content
from tests.support.zygotes import Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = a_content({"apple": {"price": 1}})

HANDS = """
import atexit, os, random, signal, sys
from pathlib import Path

here = Path(__file__).parent
words = open(here / "words.txt")
log = open(here / "app.log", "a")
atexit.register(lambda: (here / f"ended-{os.getpid()}").touch())
signal.signal(signal.SIGTERM, lambda *_: None)
numbers = random.Random()


def run(agent):
    facts = [random.random(), os.environ.get("NEXUS_TRIAL", ""), os.getppid(), words.fileno(), log.fileno()]
    (here / f"facts-{os.getpid()}").write_text(" ".join(map(repr, facts)))
    agent.ready()
    agent.drain.wait()
"""

THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(99,), name='pump', daemon=True).start()"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as made:
        (tmp_path / "words.txt").write_text("hello")
        (tmp_path / "hands.py").write_text(HANDS)
        yield made


def refused(site: Site, code: str, **fields: str) -> str:
    """Have a program imported that can't be; return the reason."""
    (site.directory / "broken.py").write_text(code)
    with Zygote(site, loads=False, program="broken:run", **fields) as zygote:
        answer = zygote.receive()
        assert isinstance(answer, NotLoaded), answer
        assert zygote.process.wait() == 0
        return answer.reason


def unfit(site: Site, code: str) -> tuple[str, ...]:
    """Have a program imported whose workers can't be forked; return why."""
    (site.directory / "broken.py").write_text(f"{code}\ndef run(agent): ...\n")
    with Zygote(site, loads=False, program="broken:run") as zygote:
        answer = zygote.receive()
        assert isinstance(answer, Loaded), answer
        assert zygote.process.wait() == 0
        return answer.unfit


def descriptors(pid: int) -> dict[int, str]:
    """Return what a process has open, by number."""
    found = Path(f"/proc/{pid}/fd")
    return {int(one.name): str(one.readlink()) for one in found.iterdir()}


def test_a_forked_worker_serves_and_drains_like_any_other(site: Site) -> None:
    with Zygote(site, models=("shop:Item",)) as zygote, zygote.worker() as worker:
        worker.serve(CONTENT)
        worker.drain()

        assert worker.ended() == 0


def test_a_worker_is_a_child_of_the_supervisor_and_outlives_the_zygote(site: Site) -> None:
    with Zygote(site) as zygote, zygote.worker() as worker:
        worker.serve(CONTENT)
        assert psutil.Process(worker.process.pid).ppid() == os.getpid()

        zygote.process.kill()
        zygote.process.wait()
        worker.go(CONTENT, 2, CONTENT, payload=None)
        worker.drain()

        assert worker.ended() == 0


def test_a_zygote_ends_at_once_with_the_supervisor_and_a_worker_with_its_own_pipe(site: Site) -> None:
    with Zygote(site) as zygote, zygote.worker() as worker:
        worker.serve(CONTENT)

        zygote.wire.close()
        assert zygote.process.wait() == 0
        assert worker.process.poll() is None

        worker.wire.close()
        assert worker.process.wait() == 0


def test_a_worker_has_its_pipe_its_stdio_and_what_the_program_opened_and_nothing_of_the_zygote(site: Site) -> None:
    with Zygote(site, program="hands:run") as zygote:
        first, ours = zygote.fork()
        with ours, zygote.worker(program="hands:run") as worker:
            worker.receive(Booted)
            zygotes, fresh, serving = (descriptors(one) for one in (zygote.process.pid, first, worker.process.pid))

            pipe = [name for number, name in fresh.items() if number > 2 and name.startswith("socket:")]
            opened = [name for name in fresh.values() if name.endswith((".txt", "app.log"))]
            assert len(pipe) == 1
            assert len(opened) == 2
            assert len(fresh) == 3 + len(pipe) + len(opened)
            assert not {*pipe} & {*zygotes.values(), *serving.values()}
            assert not {name for name in zygotes.values() if name.startswith("socket:")} & {*serving.values()}


def test_workers_differ_in_what_is_random_and_are_told_whether_they_are_the_trial(site: Site) -> None:
    with Zygote(site, program="hands:run") as zygote:
        found = []
        for number in range(2):
            with zygote.worker(number, program="hands:run") as worker:
                worker.serve(CONTENT)
                found.append((site.directory / f"facts-{worker.process.pid}").read_text().split())
                worker.drain()
                assert worker.ended() == 0
        pid, ours = zygote.fork(trial=True)
        with ours:
            child = psutil.Process(pid)
            assert "NEXUS_TRIAL" not in child.environ()  # that is of the exec; what the process sees is below
        os.waitpid(pid, 0)

    assert found[0][0] != found[1][0]
    assert {one[1] for one in found} == {"''"}
    assert {one[2] for one in found} == {str(os.getpid())}


def test_the_trial_worker_of_a_zygote_can_be_told_by_its_environment(site: Site) -> None:
    (site.directory / "told.py").write_text(
        "import os\nfrom pathlib import Path\n\n"
        "def probe(snapshot):\n    Path(__file__).with_name('told').write_text(os.environ['NEXUS_TRIAL'])\n"
    )
    fields = {"trial": True, "slot": "trial", "listeners": (), "hooks": "told"}
    with Zygote(site, hooks="told") as zygote, zygote.worker(**fields) as worker:
        worker.receive(Booted)
        worker.go(CONTENT, 1)
        worker.stage(a_content({"apple": {"price": 2}}), 2, CONTENT)

        assert (site.directory / "told").read_text() == "1"


def test_a_worker_begins_with_the_signals_of_a_worker_whatever_the_program_did_while_it_was_imported(
    site: Site,
) -> None:
    with Zygote(site, program="hands:run") as zygote:
        pid, ours = zygote.fork()
        with ours:
            for harmless in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN):
                os.kill(pid, harmless)
            os.kill(pid, signal.SIGTERM)

            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


def test_what_a_program_does_at_its_end_is_for_workers_and_not_for_the_zygote(site: Site) -> None:
    with Zygote(site, program="hands:run") as zygote, zygote.worker(program="hands:run") as worker:
        worker.serve(CONTENT)
        worker.drain()
        assert worker.ended() == 0
        zygote.wire.close()
        assert zygote.process.wait() == 0

        ended = [path.name for path in site.directory.glob("ended-*")]
        assert ended == [f"ended-{worker.process.pid}"]


def test_stdout_and_stderr_of_a_worker_are_those_that_came_with_the_order(site: Site) -> None:
    with Zygote(site) as zygote:
        out, err = os.pipe(), os.pipe()
        pid, ours = zygote.fork(stdio=(out[1], err[1]))
        os.close(out[1])
        os.close(err[1])
        with ours:
            ours.sendall(b"\xff" * 16)
            os.waitpid(pid, 0)
        said = os.read(err[0], 4_096), os.read(out[0], 4_096)
        os.close(out[0])
        os.close(err[0])

    assert said[0].startswith(b"nexus worker: ")
    assert said[1] == b""


def test_a_zygote_is_titled_by_its_program_and_generation(site: Site) -> None:
    with Zygote(site, name="web", generation=3) as zygote:
        assert psutil.Process(zygote.process.pid).cmdline()[0].startswith("nexus: zygote web [generation 3]")


def test_a_program_that_cannot_be_imported_is_told_by_type_and_place(site: Site) -> None:
    place = re.escape(str(site.directory / "broken.py"))

    assert re.fullmatch(rf"program shop can't be loaded: ZeroDivisionError at {place}:2", refused(site, "\n1 / 0"))
    assert re.search(rf"SyntaxError \(.*\) at {place}:1", refused(site, "def"))
    assert re.search(rf"No module named 'nowhere' at {place}:1", refused(site, "import nowhere"))
    assert re.search(rf"SystemExit at {place}:1", refused(site, "raise SystemExit(3)"))
    assert "has no attribute 'run'" in refused(site, "")


def test_an_application_hooks_and_models_are_imported_as_well(site: Site) -> None:
    fine = "def run(agent): ..."

    assert "there is no module 'nowhere'" in refused(site, fine, app="nowhere:app")
    assert "the hooks 'broken' can't be used" in refused(site, fine, hooks="broken")
    with Zygote(site, loads=False, models=("shop:Nothing",)) as zygote:
        answer = zygote.receive()
        assert isinstance(answer, NotLoaded)
        assert "shop:Nothing" in answer.reason


def test_a_program_that_leaves_threads_processes_or_connections_behind_is_not_forked(site: Site) -> None:
    assert unfit(site, THREAD) == ("the thread 'pump'",)

    pair = unfit(site, "import socket; pair = socket.socketpair()")
    assert [re.sub(r"\d+", "N", one) for one in pair] == ["descriptor N (socket:[N])"] * 2

    assert "eventpoll" in str(unfit(site, "import asyncio; loop = asyncio.new_event_loop()"))
    assert "table.bin" in str(unfit(site, "file = open(__file__.replace('broken.py', 'table.bin'), 'wb')"))

    slept = unfit(site, "import subprocess; child = subprocess.Popen(['sleep', '0.1'])")
    assert re.fullmatch(r"the process \d+", slept[0])


LATE = """
from pathlib import Path
from nexus_supervisor.agent.program import needs

here = Path(__file__).parent


def rehearse():
    with (here / "rehearsed").open("a") as file:
        file.write("once ")


@needs("late_part", rehearsal="lately:rehearse")
def run(agent):
    import late_part

    (here / "worker").write_text(f"{late_part.PID}")
    agent.ready()
    agent.drain.wait()
"""


def test_what_a_program_needs_is_imported_and_its_rehearsal_held_in_the_zygote_and_not_again_in_workers(
    site: Site,
) -> None:
    (site.directory / "lately.py").write_text(LATE)
    (site.directory / "late_part.py").write_text("import os\n\nPID = os.getpid()\n")
    with Zygote(site, program="lately:run") as zygote:
        for number in range(2):
            with zygote.worker(number, program="lately:run") as worker:
                worker.serve(CONTENT)
                assert (site.directory / "worker").read_text() == str(zygote.process.pid)
                worker.drain()
                assert worker.ended() == 0

    assert (site.directory / "rehearsed").read_text() == "once "


def test_a_module_that_a_program_needs_and_that_is_not_there_is_told(site: Site) -> None:
    code = "from nexus_supervisor.agent.program import needs\n\n@needs('nowhere')\ndef run(agent): ..."

    assert refused(site, code) == "program shop can't be loaded: No module named 'nowhere'"


def test_a_rehearsal_that_breaks_off_costs_time_only_and_one_that_leaves_a_thread_costs_the_fork(site: Site) -> None:
    code = (
        "from nexus_supervisor.agent.program import needs\nimport threading\n\n"
        "def rehearse():\n    {line}\n\n@needs(rehearsal='broken:rehearse')"
    )
    assert unfit(site, code.format(line=THREAD)) == ("the thread 'pump'",)

    (site.directory / "broken.py").write_text(code.format(line="1 / 0") + "\ndef run(agent): ...\n")
    with Zygote(site, program="broken:run") as zygote:
        assert "the rehearsal was broken off: ZeroDivisionError" in zygote.log()


def test_the_servers_rehearsal_leaves_nothing_open_but_the_pipe_that_libuv_makes_anew_in_each_worker(
    site: Site,
) -> None:
    (site.directory / "web.py").write_text("async def app(scope, receive, send):\n    raise SystemExit\n")
    with Zygote(site, program="asgi", app="web:app") as zygote:
        pid, ours = zygote.fork()
        with ours:
            zygotes, workers = ({*descriptors(one).values()} for one in (zygote.process.pid, pid))

            assert not [name for name in zygotes if "eventpoll" in name or "io_uring" in name]
            assert len([name for name in zygotes if name.startswith("socket:")]) == 1
            assert {name for name in zygotes if name.startswith("pipe:")}.isdisjoint(workers)
        os.waitpid(pid, 0)

    assert zygote.process.returncode == -signal.SIGKILL


def test_descriptors_beside_a_load_and_a_second_load_end_the_zygote(site: Site) -> None:
    with Zygote(site) as zygote:
        zygote.wire.send(Load("shop", 1, "/", "", "", "", (), "", "info", "text", (0, 0, 0)))
        assert zygote.wire.receive() is None
        assert "Load arrived out of order" in zygote.log()
    with Zygote(site) as zygote:
        zygote.wire.send(Fork(1, trial=False, stdio=True), [zygote.wire.connection.fileno()])
        assert zygote.wire.receive() is None
