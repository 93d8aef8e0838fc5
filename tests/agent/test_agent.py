"""What a program sees of its Agent, in a real worker process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.core import delta
from nexus_supervisor.core.codec import pack
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Active, Ready, Rejected, Retired, Stage
from tests.support.workers import Worker, a_content, a_secret, a_table

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Content
    from tests.support.workers import Site

PROBE = """
import json, os, subprocess, sys
from pathlib import Path

from nexus_supervisor import current
from nexus_supervisor.errors import NexusError


def derive(snapshot, before):
    if "poison" in snapshot.items:
        raise ValueError("hunter2")
    return [snapshot.version, before and before.version]


def run(agent):
    activated = []
    agent.derive(derive)
    agent.on_activated(lambda snapshot: 1 / 0)
    agent.on_activated(lambda snapshot: activated.append(snapshot.version))
    first, outside = agent.current().items, current().version
    agent.ready()
    agent.drain.wait()
    last = agent.current()
    with agent.request() as snapshot:
        allowed = [agent.allow("items", "nut", requests_per_minute=1) is None for _ in range(2)]
        try:
            agent.allow("items", "bolt", requests_per_minute=1)
        except NexusError as error:
            told = str(error)
        pinned = current() is snapshot
    child = subprocess.run(["ls", "/proc/self/fd"], close_fds=False, capture_output=True, text=True)
    facts = {
        "outside": outside, "activated": activated, "derived": last.program, "allowed": allowed, "told": told,
        "pinned": pinned, "shared": first["nut"] is last.items["nut"], "key": last.items["nut"].key.reveal(),
        "shown": repr([agent, last, last.items["nut"]]), "daemon": dict(last.daemon), "inherited": child.stdout.split(),
        "agent": [agent.slot, agent.incarnation, str(agent.directory), agent.program, agent.app, agent.draining],
        "totals": [agent.counters.totals().requests, agent.counters.totals().errors],
    }
    Path(agent.directory, "facts.json").write_text(json.dumps(facts))
"""

NUT = {"price": 1, "key": a_secret("opensesame")}
ONE = a_content({"nut": NUT}, {"motd": "hello", "port": 1})
TWO = a_content({"nut": NUT, "bolt": {"price": 3}}, {"motd": "bye"})
POISON = a_content({"nut": NUT, "poison": {"price": 3}}, {"motd": "bye"})


def offered(site: Site) -> Stage:
    stated, signature = site.signer.state(ONE, 1)
    payload, rows = delta.encode(ONE.delta_from(None)), pack({"items": {"nut": 7}})
    return Stage(1, Version(1), stated, signature, None, payload, False, True, rows, False)


def go_and_tell(worker: Worker, content: Content, version: int, base: Content | None = None) -> None:
    """Activate a version, and wait until the program was told of it: the one before is in use until then."""
    worker.go(content, version, base)
    while worker.receive(Retired).oldest != version:
        pass


@pytest.fixture
def facts(site: Site) -> Any:
    (site.directory / "probe.py").write_text(PROBE)
    with Worker(site, 1, program="probe:run", app="shop:app") as worker:
        worker.offer(offered(site), (a_table("opensesame"),))
        worker.push = 1
        assert isinstance(worker.activate(1), Active)
        worker.receive(Ready)
        poisoned = worker.stage(POISON, 2, ONE)
        assert isinstance(poisoned, Rejected)
        assert poisoned.reason == "model"
        where = f"{site.directory}/probe.py:{1 + PROBE[: PROBE.index('raise ValueError')].count(chr(10))}"
        assert poisoned.detail == (
            f"what is derived from version 2 can't be built: the program raised ValueError at {where}"
        )
        assert "hunter2" not in worker.log().replace('raise ValueError("hunter2")', "")
        go_and_tell(worker, TWO, 3, ONE)
        worker.drain()
        assert worker.ended() == 0, worker.log()
        assert worker.log().count("ZeroDivisionError: ") == 1
    return json.loads((site.directory / "facts.json").read_text())


def test_a_program_sees_all_of_its_agent(facts: Any, site: Site) -> None:
    assert facts["agent"] == ["shop-1", 1, str(site.directory), "probe:run", "shop:app", True]
    assert facts["outside"] == 1
    assert facts["activated"] == [3]
    assert facts["derived"] == [3, 1]
    assert facts["daemon"] == {"motd": "bye"}
    assert facts["pinned"]
    assert facts["shared"], "an entry that did not change is the same object in the next version"
    assert facts["key"] == "opensesame"
    assert "opensesame" not in facts["shown"]
    assert facts["totals"] == [1, 0]


def test_an_entry_is_limited_in_its_own_row_and_one_without_a_row_is_explained(facts: Any, site: Site) -> None:
    assert facts["allowed"] == [True, False]
    assert "items.bolt has no row in the shared counters" in facts["told"]
    row = site.layout.cell(7, 1)
    assert any(site.words()[row : row + 4])


def test_what_a_program_starts_inherits_nothing(facts: Any) -> None:
    assert facts["inherited"] == ["0", "1", "2", "3"]


LIMITED = """
def run(agent):
    found = [agent.max_snapshot_seconds]
    agent.on_activated(lambda _: found.append(agent.max_snapshot_seconds))
    agent.ready()
    agent.drain.wait()
    (agent.directory / "found").write_text(str(found))
"""


@pytest.mark.parametrize(("given", "expected"), [(None, [3600.0, 0.0, 7.5]), (2.0, [2.0] * 3)])
def test_how_long_a_request_may_take_is_the_newest_versions_unless_the_command_line_says_it(
    site: Site, given: float | None, expected: list[float]
) -> None:
    (site.directory / "limited.py").write_text(LIMITED)
    two, three = (a_content({}, limits={"max_snapshot_seconds": seconds}) for seconds in (0, 7.5))
    with Worker(site, program="limited:run", max_snapshot_seconds=given) as worker:
        worker.serve(a_content({}))
        go_and_tell(worker, two, 2)
        go_and_tell(worker, three, 3)
        worker.drain()
        assert worker.ended() == 0

    assert json.loads((site.directory / "found").read_text()) == expected
