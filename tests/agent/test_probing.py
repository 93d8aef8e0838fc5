"""The application's hook ``probe`` in a real worker that serves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core import delta
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Active, Limit, Probe, Probed, Retired, Stage, Staged
from tests.support.workers import Worker, a_content

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.workers import Site

PROBES = """
from pathlib import Path
from nexus_supervisor import current

HERE = Path(__file__).parent


def probe(snapshot):
    price = snapshot.items["nut"].price
    if price == 13:
        raise ValueError("hunter2")
    if price == 14:
        (HERE / "begun").open("w").close()
        (HERE / "go on").read_text()
    assert current() is snapshot
"""

ONE, TWO, BAD, SLOW = (a_content({"nut": {"price": price}}) for price in (1, 2, 13, 14))


@pytest.fixture
def shop(site: Site) -> Site:
    (site.directory / "probes.py").write_text(PROBES)
    return site


def pipes(site: Site) -> tuple[Path, Path]:
    begun, go_on = site.directory / "begun", site.directory / "go on"
    os.mkfifo(begun)
    os.mkfifo(go_on)
    return begun, go_on


def probed(worker: Worker, version: int, push: int = 70) -> tuple[str, str]:
    worker.wire.send(Probe(push, Version(version)))
    return answered(worker, version, push)


def answered(worker: Worker, version: int, push: int = 70) -> tuple[str, str]:
    said = worker.receive(Probed)
    assert said == Probed("shop-0", 1, push, Version(version), said.outcome, said.detail)
    return said.outcome, said.detail


def test_a_probe_is_called_with_the_version_that_is_active(shop: Site) -> None:
    with Worker(shop, hooks="probes") as worker:
        worker.serve(ONE)

        assert probed(worker, 1) == ("passed", "")
        assert probed(worker, 2) == ("failed", "version 2 is not active here")
        assert worker.messages.count(Probed("shop-0", 1, 70, Version(1), "passed", "")) == 1


def test_what_a_probe_raises_is_told_by_type_and_place_without_its_text(shop: Site) -> None:
    with Worker(shop, hooks="probes") as worker:
        worker.serve(BAD)

        outcome, detail = probed(worker, 1)

        place = f"{shop.directory}/probes.py:{1 + PROBES[: PROBES.index('raise')].count(chr(10))}"
        assert (outcome, detail) == ("failed", f"the hook probe raised ValueError at {place}")
        assert "hunter2" not in worker.log().replace('raise ValueError("hunter2")', "")
        assert isinstance(worker.stage(TWO, 2, BAD), Staged)


def test_an_application_without_a_probe_says_so(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)

        assert probed(worker, 1) == ("none", "")


def test_a_probe_that_lasts_keeps_no_push_waiting_and_its_version_until_it_returns(shop: Site) -> None:
    begun, go_on = pipes(shop)
    with Worker(shop, hooks="probes") as worker:
        worker.serve(SLOW)
        worker.wire.send(Probe(70, Version(1)))
        begun.read_text()

        worker.go(TWO, 2, SLOW)
        while (told := worker.receive(Retired)).replaced_at is None:
            pass
        assert told.oldest == 1
        assert probed(worker, 2, push=71) == ("failed", "the hook probe, which was called before, has not returned")

        go_on.write_text("")
        assert answered(worker, 1) == ("passed", "")
        while not any(isinstance(one, Retired) and one.oldest == 2 for one in worker.messages):
            worker.receive(Retired)
        assert probed(worker, 2, push=72) == ("passed", "")


def test_a_probe_that_never_returns_keeps_no_worker_from_ending(shop: Site) -> None:
    begun, _ = pipes(shop)
    with Worker(shop, hooks="probes") as worker:
        worker.serve(SLOW)
        worker.wire.send(Probe(70, Version(1)))
        begun.read_text()

        worker.drain(0.5)

        assert worker.ended() == 0


def test_what_arrives_while_a_version_is_prepared_waits_and_is_answered_in_order(site: Site) -> None:
    begun, go_on = pipes(site)
    slow = PROBES.replace("def probe(snapshot)", "def prepare(snapshot)").replace("assert current() is", "return")
    (site.directory / "slow.py").write_text(slow)
    with Worker(site, hooks="slow") as worker:
        worker.serve(ONE)
        for content, version in ((SLOW, 2), (TWO, 3), (TWO, 4)):
            change = delta.encode(content.delta_from(ONE))
            stated = site.signer.state(content, version)
            worker.wire.send(
                Stage(version, Version(version), *stated, ONE.digest, change, *[False, False, None, False])
            )
        begun.read_text()
        assert probed(worker, 1) == ("none", "")

        go_on.write_text("")

        assert [worker.receive(Staged).version for _ in range(3)] == [2, 3, 4]
        assert isinstance(worker.activate(4), Active)


def test_limits_of_a_trial_are_not_for_a_worker_that_serves(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        worker.wire.send(Limit(1.0, 64, 1.0))

        assert worker.ended() == 0
        assert "Limit is for the trial worker only" in worker.log()
