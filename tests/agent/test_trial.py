"""The trial worker: a real process that forks one child for each version, driven as the supervisor drives it."""

from __future__ import annotations

import os
import resource
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from nexus_supervisor.core import delta
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Active, Discard, Probe, Probed, Ready, Rejected, Retired, Stage, Staged
from nexus_supervisor.wire import sealed
from tests.support.workers import Signer, TrialWorker, a_content, a_secret, a_table

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.content import Content
    from tests.support.workers import Site

HOOKS = """
import os
from pathlib import Path

HERE = Path(__file__).parent


def note(*words):
    with (HERE / "book").open("a") as book:
        print(*words, file=book)


def prepare(snapshot, before):
    note("prepare", snapshot.version, before and before.derived, os.environ.get("NEXUS_TRIAL"))
    act(snapshot)
    return f"derived {snapshot.version}"


def activated(old, new):
    note("activated", new.version)


def retired(old):
    note("retired", old.derived)


def act(snapshot):
    pass
"""

ONE, TWO, THREE = (a_content({"nut": {"price": price}}) for price in (1, 2, 3))
POISON = a_content({"nut": {"price": 13}})


def hooks(site: Site, act: str = "pass", name: str = "hooks") -> None:
    """Write the module of hooks; ``act`` is what the hook ``prepare`` does with poison."""
    lines = "\n        ".join(act.splitlines())
    poisoned = f"    if snapshot.items['nut'].price == 13:\n        {lines}\n"
    (site.directory / f"{name}.py").write_text(HOOKS.removesuffix("    pass\n") + poisoned)


def book(site: Site) -> list[str]:
    return (site.directory / "book").read_text().splitlines()


def offered(worker: TrialWorker, content: Content, version: int) -> Stage:
    """Return an offer for a worker that isn't waited for."""
    change = delta.encode(content.delta_from(worker.holds))
    stated, signature = worker.site.signer.state(content, version)
    return Stage(
        100 + version, Version(version), stated, signature, worker.holds.digest, change, *[False, False, None, False]
    )


def descriptors(worker: TrialWorker) -> int:
    return psutil.Process(worker.process.pid).num_fds()


def a_pipe(site: Site, name: str = "pipe") -> Path:
    """Make a named pipe: whoever opens it waits for the other side, and whoever reads it sees the other's end."""
    path = site.directory / name
    os.mkfifo(path)
    return path


def test_a_version_is_tried_in_a_child_and_then_held_so_that_the_next_one_starts_from_it(site: Site) -> None:
    hooks(site)
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        staged = worker.stage(TWO, 2, ONE)
        active = worker.activate(2)
        worker.holds = TWO
        assert worker.tries(THREE, 3) == ""
        worker.drain()

        assert staged == Staged("trial", 1, staged.push, Version(2), TWO.digest)
        assert active == Active("trial", 1, active.push, Version(2), TWO.digest)
        assert worker.ended() == 0
        assert not any(isinstance(one, (Ready, Retired)) for one in worker.messages)
        assert book(site) == [
            "prepare 1 None 1",
            "prepare 2 derived 1 1",
            "prepare 2 derived 1 1",
            "retired derived 1",
            "prepare 3 derived 2 1",
        ]


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("raise ValueError('hunter2')", "can't be built: the hook prepare raised ValueError at {hooks}:"),
        ("raise SystemExit(0)", "can't be built: the hook prepare raised SystemExit at {hooks}:"),
        ("import ctypes\nctypes.string_at(0)", "the trial was killed by SIGSEGV"),
        ("os.abort()", "the trial was killed by SIGABRT"),
        ("os.kill(0, 9)", "the trial was killed by SIGKILL"),
        ("os.kill(os.getpid(), 40)", "the trial was killed by signal 40"),
        ("os._exit(0)", "the trial ended with exit status 0 before it was done"),
        ("os._exit(3)", "the trial ended with exit status 3 before it was done"),
        ("os.closerange(3, 1000)\nos._exit(4)", "the trial ended with exit status 4 before it was done"),
        ("act(snapshot)", "can't be built: the hook prepare raised RecursionError"),
        (
            "kept = []\nwhile True:\n    kept.append(bytearray(1 << 20))",
            "the hook prepare raised MemoryError at {hooks}:",
        ),
        ("kept = [0]\nwhile True:\n    kept.extend(kept)", "the hook prepare raised MemoryError at {hooks}:"),
        ("while True:\n    pass", "the trial used more than 1 s of processor time"),
    ],
)
def test_whatever_a_version_does_in_its_trial_is_a_sentence_and_the_next_one_is_tried(
    site: Site, act: str, said: str
) -> None:
    hooks(site, act)
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        worker.limit(cpu_seconds=0.5, memory_mb=64)

        refused = worker.tries(POISON, 2)

        assert said.format(hooks=site.directory / "hooks.py") in refused
        assert "hunter2" not in refused
        assert worker.tries(TWO, 3) == ""
        assert isinstance(worker.activate(3), Active)


def test_a_trial_that_hangs_ends_at_its_deadline(site: Site) -> None:
    a_pipe(site)
    hooks(site, "(HERE / 'pipe').read_text()")
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        worker.limit(timeout_seconds=0.25)

        assert worker.tries(POISON, 2) == "the trial did not end within 0.25 s"
        worker.limit()
        assert worker.tries(TWO, 3) == ""


def test_a_child_that_hides_its_end_is_waited_for_until_the_deadline(site: Site) -> None:
    a_pipe(site)
    hooks(site, "os.closerange(3, 1000)\nos.setpgid(0, os.getpgid(os.getppid()))\n(HERE / 'pipe').read_text()")
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        worker.limit(timeout_seconds=0.25)

        assert worker.tries(POISON, 2) == "the trial did not end within 0.25 s"
        worker.activate(1)  # answered when the trial is over in every respect
        assert psutil.Process(worker.process.pid).children() == []


def test_the_hook_probe_is_called_with_the_version_and_what_it_calls_sees_that_one(site: Site) -> None:
    (site.directory / "probes.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\nfrom nexus_supervisor import current\n\n"
        "def probe(snapshot):\n    assert current() is snapshot\n"
        "    with ThreadPoolExecutor() as pool: assert pool.submit(current).result() is snapshot\n"
        "    assert snapshot.items['nut'].price != 13, 'hunter2'\n"
    )
    with TrialWorker(site, ONE, hooks="probes") as worker:
        assert worker.tries(TWO, 2) == ""
        refused = worker.tries(POISON, 3)

        place = f"{site.directory}/probes.py:7"
        assert refused == f"version 3 does not pass the probe: the hook probe raised AssertionError at {place}"


def test_what_a_model_raises_or_dies_of_refuses_the_version(site: Site) -> None:
    check = "\n    def __post_init__(self):\n        if self.price == 13:\n            {}\n"
    model = "from dataclasses import dataclass\nimport os\n\n@dataclass(frozen=True)\nclass Item:\n    price: int\n"
    for act, said in (("1 / 0", "items.nut can't be built: its model raised"), ("os._exit(5)", "exit status 5")):
        (site.directory / "shop.py").write_text(f"{model}{check.format(act)}\ndef wait(agent): pass\n")
        with TrialWorker(site, ONE) as worker:
            assert said in worker.tries(POISON)
            assert worker.tries(TWO, 3) == ""


def test_what_a_program_derives_is_tried_too(site: Site) -> None:
    (site.directory / "programs.py").write_text(
        "from nexus_supervisor import current\nfrom nexus_supervisor.agent.program import derives\n\n"
        "assert current().version == 1\n\n"
        "@derives(lambda snapshot, before: 1 / (snapshot.items['nut'].price - 13))\ndef run(agent):\n    pass\n"
    )
    with TrialWorker(site, ONE, program="programs:run") as worker:
        assert "can't be built: the program raised ZeroDivisionError at " in worker.tries(POISON)
        assert worker.tries(TWO, 3) == ""


def test_what_a_trial_started_ends_with_it(site: Site) -> None:
    pipe = a_pipe(site)
    hooks(site, "import subprocess\nsubprocess.Popen(['sleep', '1000'], stdout=(HERE / 'pipe').open('w'))")
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        worker.wire.send(offered(worker, POISON, 2))
        with pipe.open() as writers:
            assert isinstance(worker.receive(Staged), Staged)
            assert writers.read() == ""


@pytest.mark.parametrize("how", ["the supervisor dies", "the worker dies", "it is told to end"])
def test_nothing_of_a_running_trial_outlives_the_trial_worker(site: Site, how: str) -> None:
    pipe = a_pipe(site)
    hooks(site, "with (HERE / 'pipe').open('w'):\n    signal.pause()")
    (site.directory / "hooks.py").write_text("import signal\n" + (site.directory / "hooks.py").read_text())
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        worker.wire.send(offered(worker, POISON, 2))
        with pipe.open() as writers:
            if how == "the supervisor dies":
                worker.wire.close()
            elif how == "the worker dies":
                worker.process.kill()
            else:
                worker.drain()

            assert writers.read() == ""
            assert worker.process.wait() == (-signal.SIGKILL if how == "the worker dies" else 0)


def test_what_a_trial_started_and_let_go_of_keeps_no_verdict_waiting(site: Site) -> None:
    pipe = a_pipe(site)
    act = "read, write = os.pipe()\nif not os.fork():\n    os.setsid()\n    os.write(write, b'!')\n"
    act += "    (HERE / 'pipe').read_text()\n    os._exit(0)\nos.read(read, 1)\nos._exit(6)"
    hooks(site, act)
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        assert worker.tries(POISON, 2) == "the trial ended with exit status 6 before it was done"
        assert worker.tries(TWO, 3) == ""
        pipe.write_text("")


def test_a_trial_that_is_withdrawn_ends_at_once_without_an_answer(site: Site) -> None:
    pipe = a_pipe(site)
    hooks(site, "with (HERE / 'pipe').open('w'):\n    signal.pause()")
    (site.directory / "hooks.py").write_text("import signal\n" + (site.directory / "hooks.py").read_text())
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        worker.wire.send(offered(worker, POISON, 2))
        with pipe.open() as writers:
            worker.wire.send(Discard(1, Version(1)))  # of another version: that changes nothing
            worker.wire.send(Discard(2, Version(2)))

            assert worker.tries(TWO, 3) == ""
            assert writers.read() == ""
        worker.wire.send(offered(worker, POISON, 4))
        with pipe.open() as writers:
            assert worker.tries(THREE, 5) == ""
            assert writers.read() == ""
        assert not any(isinstance(one, (Staged, Rejected)) and one.version in {2, 4} for one in worker.messages)


def test_who_may_be_tried_is_decided_before_anything_runs(site: Site) -> None:
    hooks(site)
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        stranger = Signer().state(TWO, 2)
        tried = [
            worker.stage(TWO, 2, ONE, manifest=stranger[0], signature=stranger[1]),
            worker.stage(TWO, 2, ONE, payload=None),
            worker.stage(TWO, 2, THREE),
        ]
        assert worker.tries(TWO, 5) == ""
        late, other = worker.stage(THREE, 3, ONE), site.signer.state(TWO, 5, note=1)
        twice = worker.stage(TWO, 5, ONE, manifest=other[0], signature=other[1])

        reasons = [one.reason for one in (*tried, late, twice) if isinstance(one, Rejected)]
        assert reasons == ["signature_mismatch", "digest_mismatch", "not_applicable", "rolled_back", "equivocation"]
        assert book(site) == ["prepare 1 None 1", "prepare 5 derived 1 1"]


def test_a_version_that_was_refused_or_discarded_can_not_be_activated(site: Site) -> None:
    hooks(site, "raise ValueError")
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        assert worker.tries(POISON, 2)
        refused = worker.activate(2)
        assert worker.tries(TWO, 3) == ""
        worker.wire.send(Discard(1, Version(3)))
        discarded = worker.activate(3)

        assert [getattr(one, "reason", None) for one in (refused, discarded)] == ["not_applicable"] * 2
        assert isinstance(worker.activate(1), Active)


def test_what_passed_its_trial_and_then_fails_in_the_trial_worker_itself_changes_nothing(site: Site) -> None:
    hooks(site, "if (HERE / 'book').read_text().count('prepare 2') == 2: raise KeyError")
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        assert worker.tries(POISON, 2) == ""

        refused = worker.activate(2)

        assert isinstance(refused, Rejected)
        assert "the hook prepare raised KeyError" in refused.detail
        assert worker.tries(TWO, 3) == ""


def test_secrets_reach_a_trial_as_they_reach_a_worker_and_show_nowhere(site: Site) -> None:
    act = "key = snapshot.items['nut'].key.reveal()\nassert key == 'hunter2'\nraise ValueError(key)"
    hooks(site, act)
    secret = a_content({"nut": {"price": 13, "key": a_secret("hunter2")}})
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        stated, signature = site.signer.state(secret, 2)
        change = delta.encode(secret.delta_from(ONE))
        beside = (sealed(change, "content"), a_table("hunter2"))
        offer = Stage(90, Version(2), stated, signature, ONE.digest, None, True, True, None, False)

        refused = worker.offer(offer, beside)

        assert isinstance(refused, Rejected)
        assert "the hook prepare raised ValueError at " in refused.detail
        assert "hunter2" not in refused.detail
        assert "hunter2" not in worker.log().replace("assert key == 'hunter2'", "")


def test_many_trials_in_a_row_leave_nothing_behind(site: Site) -> None:
    hooks(site, "raise ValueError")
    with TrialWorker(site, ONE, hooks="hooks", log_level="critical") as worker:
        process, version = psutil.Process(worker.process.pid), 1

        def rounds(count: int) -> tuple[int, int]:
            nonlocal version
            for _ in range(count):
                worker.tries(POISON, version + 1)
                content = TWO if worker.holds is ONE else ONE
                assert worker.tries(content, version + 2) == ""
                assert isinstance(worker.activate(version + 2), Active)
                worker.holds, version = content, version + 2
            return process.num_fds(), process.memory_info().rss

        descriptors, memory = rounds(20)
        later_descriptors, later_memory = rounds(100)

        assert later_descriptors == descriptors
        assert later_memory < memory + (2 << 20)
        assert process.children() == []
        assert process.num_threads() == 1


def test_a_trial_that_can_not_be_started_says_nothing_about_the_version_and_ends_the_worker(site: Site) -> None:
    with TrialWorker(site, ONE) as worker:
        (_, most), used = resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE), descriptors(worker)
        resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (used, most))
        worker.wire.send(offered(worker, TWO, 2))

        assert worker.ended() == 1
        assert not any(isinstance(one, Rejected) for one in worker.messages)
        assert "a trial can't be started: Too many open files" in worker.log()


def test_what_is_printed_in_a_trial_is_printed_once(site: Site) -> None:
    hooks(site, "print('from the child')")
    (site.directory / "hooks.py").write_text("print('from the import')\n" + (site.directory / "hooks.py").read_text())
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        worker.tries(POISON, 2)
        worker.tries(TWO, 3)
        worker.drain()
        worker.ended()

        assert worker.log().splitlines() == ["from the import", "from the child"]


def test_a_log_that_nobody_reads_keeps_no_trial_waiting(site: Site) -> None:
    hooks(site, "import logging\nfor _ in range(10_000): logging.getLogger('shop').warning('x' * 100)")
    read, write = os.pipe()
    with TrialWorker(site, ONE, hooks="hooks", output=write) as worker:
        os.close(write)
        assert worker.tries(POISON, 2) == ""
    os.close(read)


def test_threads_of_the_application_in_the_trial_worker_are_told_and_named_where_a_trial_hangs(site: Site) -> None:
    a_pipe(site)
    hooks(site, "(HERE / 'pipe').read_text()")
    starts = "import threading\nthreading.Thread(target=threading.Event().wait, name='pool-7', daemon=True).start()\n"
    (site.directory / "hooks.py").write_text(starts + (site.directory / "hooks.py").read_text())
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        worker.limit(timeout_seconds=0.25)
        refused = worker.tries(POISON, 2)
        worker.limit()
        assert worker.tries(TWO, 3) == ""

        assert refused.startswith("the trial did not end within 0.25 s (it was forked from a process in which the app")
        assert "1 threads" in refused
        assert worker.log().count("runs 1 threads of the application (pool-7)") == 1
        assert "DeprecationWarning" not in worker.log()


def test_the_titles_of_trial_worker_and_trial_name_their_versions(site: Site) -> None:
    pipe = a_pipe(site)
    hooks(site, "(HERE / 'pipe').open('w').close()\n(HERE / 'pipe').read_text()")
    with TrialWorker(site, ONE, hooks="hooks") as worker:
        worker.wire.send(offered(worker, POISON, 2))
        pipe.read_text()
        process = psutil.Process(worker.process.pid)
        (child,) = process.children()

        assert process.cmdline()[0] == f"nexus: trial [v1 {ONE.digest[:12]}]"
        assert child.cmdline()[0] == f"nexus: trial of v2 {POISON.digest[:12]}"


def test_a_trial_worker_is_not_probed(site: Site) -> None:
    with TrialWorker(site, ONE) as worker:
        worker.wire.send(Probe(7, Version(1)))

        assert worker.receive(Probed) == Probed("trial", 1, 7, Version(1), "none", "")
