"""The application's hooks, in a real worker process."""

from __future__ import annotations

import gc
import logging
import os
import signal
import weakref
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.agent.hooked import Failed, attempted, made
from nexus_supervisor.core import delta
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Booted, Discard, Drained, Rejected, Retired, Stage, Staged
from nexus_supervisor.core.snapshot import Snapshot
from tests.support.workers import Worker, a_content

if TYPE_CHECKING:
    from tests.support.workers import Site

HOOKS = """
import threading
from pathlib import Path

BOOK = Path(__file__).with_name("book")


def note(*words):
    with BOOK.open("a") as book:
        book.write(" ".join(map(str, words)) + "\\n")


def prepare(snapshot, before):
    if "poison" in snapshot.items:
        note("prepare", snapshot.version, "fails")
        raise ValueError("hunter2")
    note("prepare", snapshot.version, before and before.version)
    return f"derived {snapshot.version}"


def activated(old, new):
    note("activated", old and old.derived, new.derived)


def retired(old):
    note("retired", old.derived, threading.current_thread().name)
"""

PROGRAM = """
import socket, sys
from nexus_supervisor import current
from nexus_supervisor.agent.program import derives


@derives(lambda snapshot, before: (before and before.program, snapshot.items["nut"].price))
def declare(agent):
    serve_out(agent)


def serve(agent):
    agent.derive(lambda snapshot, before: 1 / (snapshot.items["nut"].price - 13) and snapshot.derived)
    serve_out(agent)


def serve_out(agent):
    agent.ready()
    agent.drain.wait()
    with (agent.directory / "book").open("a") as book:
        book.write(f"program {agent.current().program}\\n")


def hold(agent):
    with agent.request():
        agent.ready()
        (agent.directory / "let go").read_text()
    agent.drain.wait()


def crash(agent):
    agent.ready()
    agent.drain.wait()
    raise RuntimeError("it broke")
"""


ONE, TWO, THREE = (a_content({"nut": {"price": price}}) for price in (1, 2, 3))
POISON = a_content({"nut": {"price": 4}, "poison": {"price": 4}})
UNLUCKY = a_content({"nut": {"price": 13}})


@pytest.fixture
def shop(site: Site) -> Site:
    (site.directory / "hooks.py").write_text(HOOKS)
    (site.directory / "programs.py").write_text(PROGRAM)
    return site


def book(site: Site) -> list[str]:
    """What the hooks noted."""
    return (site.directory / "book").read_text().splitlines()


def ended(worker: Worker) -> list[str]:
    """What the hooks noted until the end of the worker."""
    worker.drain()
    assert worker.ended() == 0, worker.log()
    return book(worker.site)


def test_hooks_are_called_in_order_and_each_snapshot_is_retired_once(shop: Site) -> None:
    with Worker(shop, hooks="hooks", program="programs:serve") as worker:
        worker.serve(ONE)
        worker.go(TWO, 2, ONE)
        noted = ended(worker)
        noted.remove("program derived 2")
        assert noted == [
            "prepare 1 None",
            "activated None derived 1",
            "prepare 2 1",
            "activated derived 1 derived 2",
            "retired derived 1 nexus-hooks",
            "retired derived 2 nexus-hooks",
        ]


def test_what_prepare_raises_refuses_the_version_by_hook_type_and_place_without_its_text(shop: Site) -> None:
    with Worker(shop, hooks="hooks") as worker:
        worker.serve(ONE)

        refused = worker.stage(POISON, 2, ONE)

        line = 1 + HOOKS[: HOOKS.index('raise ValueError("')].count("\n")
        assert isinstance(refused, Rejected)
        said = f"the hook prepare raised ValueError at {shop.directory}/hooks.py:{line}"
        assert (refused.reason, refused.detail) == ("model", f"what is derived from version 2 can't be built: {said}")
        assert isinstance(worker.stage(TWO, 3, ONE), Staged)
        assert ended(worker) == [
            "prepare 1 None",
            "activated None derived 1",
            "prepare 2 fails",
            "prepare 3 1",
            "retired derived 3 nexus-hooks",
            "retired derived 1 nexus-hooks",
        ]
        told = worker.log()
        assert f'hooks.py", line {line}, in prepare' in told
        assert "hunter2" not in told.replace('raise ValueError("hunter2")', "")


@pytest.mark.parametrize("base", ["BaseException", "KeyboardInterrupt", "SystemExit", "GeneratorExit"])
def test_no_exception_of_prepare_ends_the_worker_or_shows_its_text(site: Site, base: str) -> None:
    code = f"class Leaving({base}): pass\n\ndef prepare(snapshot):\n"
    code += "    if 'poison' in snapshot.items: raise Leaving('hunter2')\n"
    (site.directory / "hooks.py").write_text(code)
    with Worker(site, hooks="hooks") as worker:
        worker.serve(ONE)

        refused = worker.stage(POISON, 2, ONE)

        assert isinstance(refused, Rejected)
        assert "the hook prepare raised Leaving at " in refused.detail
        assert isinstance(worker.stage(TWO, 3, ONE), Staged)
        worker.drain()
        assert worker.ended() == 0
        assert "hunter2" not in worker.log().replace("raise Leaving('hunter2')", "")


def test_what_was_prepared_is_retired_where_the_program_fails_on_it_or_the_version_is_never_activated(
    shop: Site,
) -> None:
    with Worker(shop, hooks="hooks", program="programs:serve") as worker:
        worker.serve(ONE)

        refused = worker.stage(UNLUCKY, 2, ONE)
        worker.stage(TWO, 3, ONE)
        worker.stage(THREE, 4, ONE)
        worker.wire.send(Discard(worker.push, Version(4)))

        assert isinstance(refused, Rejected)
        assert "the program raised ZeroDivisionError at " in refused.detail
        noted = ended(worker)
        assert [line for line in noted if line.startswith("prepare")][1:] == [f"prepare {one} 1" for one in (2, 3, 4)]
        retired = [line for line in noted if line.startswith("retired")]
        assert retired == [f"retired derived {one} nexus-hooks" for one in (2, 3, 4, 1)]


def test_a_program_can_say_what_it_derives_without_being_called(shop: Site) -> None:
    with Worker(shop, program="programs:declare") as worker:
        worker.serve(ONE)
        worker.go(TWO, 2, ONE)

        assert ended(worker) == ["program ((None, 1), 2)"]


def test_a_snapshot_is_retired_when_the_last_request_that_uses_it_has_ended(shop: Site) -> None:
    os.mkfifo(shop.directory / "let go")
    with Worker(shop, hooks="hooks", program="programs:hold") as worker:
        worker.serve(ONE)
        worker.go(TWO, 2, ONE)
        while (told := worker.receive(Retired)).replaced_at is None:
            pass
        worker.go(THREE, 3, TWO)
        assert (told.oldest, told.lingering) == (1, 0)
        assert "retired derived 1" not in (shop.directory / "book").read_text()
        (shop.directory / "let go").write_text("")
        while worker.receive(Retired).oldest != 3:
            pass

        noted = ended(worker)
        assert [one for one in noted if "retired" not in one] == [
            "prepare 1 None",
            "activated None derived 1",
            "prepare 2 1",
            "activated derived 1 derived 2",
            "prepare 3 2",
            "activated derived 2 derived 3",
        ]
        retired = [one for one in noted if "retired" in one]
        assert sorted(retired) == [f"retired derived {one} nexus-hooks" for one in (1, 2, 3)]
        assert noted.index("activated derived 2 derived 3") < noted.index("retired derived 2 nexus-hooks")
        assert noted[-1] == "retired derived 3 nexus-hooks"


def test_hooks_that_raise_after_the_switch_are_logged_and_change_nothing(shop: Site) -> None:
    rude = "def activated(old, new):\n    raise KeyError('hunter2')\n\n\ndef retired(old):\n    raise SystemExit(3)\n"
    (shop.directory / "rude.py").write_text(rude)
    with Worker(shop, hooks="rude") as worker:
        worker.serve(ONE)
        worker.go(TWO, 2, ONE)
        worker.go(THREE, 3, TWO)
        worker.drain()

        assert worker.ended() == 0
        told = worker.log()
        assert told.count("hooked the hook activated raised KeyError at ") == 3
        assert told.count("hooked the hook retired raised SystemExit at ") == 3
        assert "hunter2" not in told.replace("raise KeyError('hunter2')", "")


@pytest.mark.parametrize("hook", ["activated", "retired"])
def test_a_hook_that_never_returns_keeps_no_push_and_no_order_to_end_waiting(shop: Site, hook: str) -> None:
    os.mkfifo(shop.directory / "never")
    wait = "if old:\n        Path(__file__).with_name('never').read_text()\n"
    (shop.directory / "stuck.py").write_text(f"from pathlib import Path\n\n\ndef {hook}(old, *_):\n    {wait}")
    with Worker(shop, hooks="stuck", drain_timeout_seconds=0.5) as worker:
        worker.serve(ONE)
        worker.go(TWO, 2, ONE)
        worker.go(THREE, 3, TWO)

        worker.process.send_signal(signal.SIGTERM)

        assert worker.receive(Drained) == Drained("shop-0", 1)
        assert worker.ended() == 0


@pytest.mark.parametrize("how", ["the supervisor dies", "the program raises", "it is terminated"])
def test_what_is_held_is_retired_however_the_worker_ends(shop: Site, how: str) -> None:
    program = "programs:crash" if how == "the program raises" else "programs:serve"
    with Worker(shop, hooks="hooks", program=program) as worker:
        worker.serve(ONE)
        worker.stage(TWO, 2, ONE)

        if how == "the supervisor dies":
            worker.wire.close()
        elif how == "it is terminated":
            worker.process.send_signal(signal.SIGTERM)
        else:
            worker.drain()

        assert worker.process.wait() == (1 if how == "the program raises" else 0)
        assert book(shop)[-2:] == ["retired derived 2 nexus-hooks", "retired derived 1 nexus-hooks"]


@pytest.mark.parametrize("how", ["it is told", "the supervisor dies"])
def test_a_worker_that_prepares_without_end_ends_when_it_has_to(shop: Site, how: str) -> None:
    os.mkfifo(shop.directory / "never")
    read = "before and Path(__file__).with_name('never').read_text()\n"
    (shop.directory / "stuck.py").write_text(f"from pathlib import Path\n\n\ndef prepare(_, before):\n    {read}")
    with Worker(shop, hooks="stuck", drain_timeout_seconds=0.5) as worker:
        worker.serve(ONE)
        change = delta.encode(TWO.delta_from(ONE))
        offer = Stage(9, Version(2), *shop.signer.state(TWO, 2), ONE.digest, change, False, False, None, False)
        worker.wire.send(offer)
        with (shop.directory / "never").open("w"):  # opened as soon as it prepares
            if how == "it is told":
                worker.drain(0.5)
            else:
                worker.wire.close()

            assert worker.process.wait() == 0


@pytest.mark.parametrize("failing", ["retired", "activated", "prepare"])
def test_a_hook_that_raises_keeps_no_snapshot(failing: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # what is captured would keep the frames
    snapshot = Snapshot.of(1)
    kept = weakref.ref(snapshot)
    gc.disable()
    try:
        if failing == "prepare":
            with pytest.raises(Failed, match="the hook prepare raised ZeroDivisionError"):
                made("the hook prepare", lambda one: one.version / 0, snapshot)
        else:
            attempted(f"the hook {failing}", lambda one: one.version / 0, snapshot)
        del snapshot
        assert kept() is None
    finally:
        gc.enable()


def test_a_hook_without_prepare_is_told_of_every_snapshot_that_was_current(shop: Site) -> None:
    (shop.directory / "small.py").write_text("from hooks import note\n\n\ndef retired(old):\n    note(old.version)\n")
    with Worker(shop, hooks="small") as worker:
        worker.serve(ONE)
        worker.go(TWO, 2, ONE)

        assert ended(worker) == ["1", "2"]


def test_hooks_that_can_not_be_loaded_end_the_worker_with_a_sentence_before_it_says_anything(site: Site) -> None:
    (site.directory / "broken.py").write_text("import nowhere\n")
    with Worker(site, hooks="broken") as worker:
        assert worker.ended() == 3
        assert not any(isinstance(one, Booted) for one in worker.messages)
        assert "the hooks 'broken' can't be loaded: No module named 'nowhere'" in worker.log()
