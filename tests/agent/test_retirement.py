"""What becomes of a retired snapshot: it is gone, or it is reported."""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.agent.retirement import LINGER_SECONDS, Lingering, Retirement
from nexus_supervisor.core.messages import Retired
from nexus_supervisor.core.snapshot import Snapshot
from tests.support.workers import Worker, a_content

if TYPE_CHECKING:
    from tests.support.workers import Site


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_snapshot_that_is_gone_does_not_linger(clock: Clock) -> None:
    retirement = Retirement(None, clock)
    assert retirement.look_in() is None

    retirement.retire([Snapshot.of(1)])
    clock.now += LINGER_SECONDS

    assert retirement.look() == Lingering(0, None)
    assert retirement.look_in() is None


def test_what_refers_to_a_retired_snapshot_is_counted_from_its_retirement_and_logged_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    retirement, kept, other = Retirement(None, clock), Snapshot.of(3), Snapshot.of(4)
    retirement.retire([kept])
    clock.now += 2
    retirement.retire([other])
    assert retirement.look() == Lingering(0, None)
    assert retirement.look_in() == LINGER_SECONDS - 2

    clock.now = 100.0 + LINGER_SECONDS
    with caplog.at_level(logging.WARNING):
        assert retirement.look() == Lingering(1, 100.0)
        clock.now += 2
        assert [retirement.look() for _ in range(3)] == [Lingering(2, 100.0)] * 3

    first, second = (record.getMessage() for record in caplog.records)
    assert "the snapshot of version 3 was retired 5 s ago and something still refers to it" in first
    assert "version 4" in second
    assert retirement.look_in() is not None
    del kept
    assert retirement.look() == Lingering(1, 102.0)
    del other
    assert retirement.look() == Lingering(0, None)
    assert retirement.look_in() is None


@pytest.mark.parametrize("frozen", [False, True], ids=["new", "left out of collections"])
def test_what_only_refers_to_itself_in_a_circle_does_not_linger(clock: Clock, *, frozen: bool) -> None:
    retirement, snapshot = Retirement(None, clock), Snapshot.of(1)
    snapshot.__dict__["derived"] = [snapshot]
    gc.disable()
    try:
        if frozen:
            gc.freeze()
        retirement.retire([snapshot])
        del snapshot
        clock.now += LINGER_SECONDS

        assert retirement.look() == Lingering(0, None)
    finally:
        gc.unfreeze()
        gc.enable()


def test_the_hook_is_called_for_each_snapshot_and_keeps_the_others_from_nothing(clock: Clock) -> None:
    seen: list[int] = []

    def retired(old: Snapshot) -> None:
        seen.append(old.version)
        raise ValueError

    Retirement(retired, clock).retire([Snapshot.of(1), Snapshot.of(2)])

    assert seen == [1, 2]


HOARD = """
from threading import Event

hoard = {}
free = Event()


def run(agent):
    agent.on_activated(lambda snapshot: hoard.clear() if snapshot.version == 3 else None)
    hoard["kept"] = agent.current()
    agent.ready()
    agent.drain.wait()
"""


def test_a_worker_tells_what_lingers_in_it_and_when_it_is_gone(site: Site) -> None:
    (site.directory / "hoard.py").write_text(HOARD)
    one, two = (a_content({"nut": {"price": price}}) for price in (1, 2))
    with Worker(site, program="hoard:run") as worker:
        worker.serve(one)
        worker.go(two, 2, one)

        while not (told := worker.receive(Retired)).lingering:
            assert told.lingering_since is None
        assert (told.oldest, told.replaced_at, told.lingering) == (2, None, 1)
        assert told.lingering_since is not None
        worker.go(two, 3, two, payload=None)
        while worker.receive(Retired).lingering:
            pass
        worker.drain()

        assert worker.ended() == 0
        assert worker.log().count("the snapshot of version 1 was retired 5 s ago") == 1
