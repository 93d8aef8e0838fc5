"""Pins, swaps and retirement."""

from __future__ import annotations

import weakref
from threading import Barrier, Thread

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexus_supervisor.agent.holder import Cell, Holder
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.errors import NoSnapshotError


def test_nothing_can_be_pinned_before_the_first_version() -> None:
    with pytest.raises(NoSnapshotError, match="no version is active"):
        Holder(lambda: None).pin(Cell())


def test_a_pin_keeps_its_snapshot_over_swaps_and_its_release_is_told_once() -> None:
    told: list[str] = []
    holder = Holder(lambda: told.append("released"))
    holder.swap(Snapshot.of(1))
    first, second = Cell(), Cell()
    pinned = holder.pin(first)
    holder.pin(second)

    holder.swap(Snapshot.of(2))

    assert pinned.version == 1
    assert holder.pin(Cell()).version == 2
    assert holder.oldest() == 1
    holder.release(first)
    assert told == []
    holder.release(second)
    holder.release(second)
    assert told == ["released"]
    assert holder.oldest() == 2


def test_a_release_on_the_current_version_is_no_news() -> None:
    told: list[str] = []
    holder = Holder(lambda: told.append("released"))
    holder.swap(Snapshot.of(1))
    cell = Cell()
    holder.pin(cell)

    holder.release(cell)

    assert told == []
    assert cell.generation is None


def test_old_snapshots_are_freed_when_nobody_uses_them() -> None:
    holder = Holder(lambda: None)
    watched = []
    cells = []
    for version in range(1, 50):
        snapshot = Snapshot.of(version)
        watched.append(weakref.ref(snapshot))
        holder.swap(snapshot)
        del snapshot
        cells.append(Cell())
        holder.pin(cells[-1])
    for cell in cells:
        holder.release(cell)

    assert holder.oldest() == 49
    assert [one() for one in watched[:-1]] == [None] * 48


def test_no_version_is_called_retired_while_a_thread_uses_it() -> None:
    holder = Holder(lambda: None)
    holder.swap(Snapshot.of(1))
    ready, wrong = Barrier(4), []

    def serve() -> None:
        ready.wait()
        seen = 0
        while seen < 400:
            cell = Cell()
            version = holder.pin(cell).version
            oldest = holder.oldest()
            if oldest is None or oldest > version:
                wrong.append((oldest, version))
            seen = version
            holder.release(cell)

    threads = [Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    for version in range(2, 401):
        holder.swap(Snapshot.of(version))
        holder.oldest()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert holder.oldest() == 400


class HolderMachine(RuleBasedStateMachine):
    """Compare the holder with a plain list of who uses what."""

    @initialize()
    def start(self) -> None:
        self.told = 0
        self.holder = Holder(self._tell)
        self.version = 0
        self.using: list[tuple[int, Cell]] = []
        self.swap()

    def _tell(self) -> None:
        self.told += 1

    @rule()
    def swap(self) -> None:
        self.version += 1
        self.holder.swap(Snapshot.of(self.version))

    @rule()
    def pin(self) -> None:
        cell = Cell()
        assert self.holder.pin(cell).version == self.version
        self.using.append((self.version, cell))

    @precondition(lambda self: self.using)
    @rule(index=st.integers(min_value=0))
    def release(self, index: int) -> None:
        version, cell = self.using.pop(index % len(self.using))
        before = self.told
        self.holder.release(cell)
        is_last = version != self.version and version not in {one for one, _ in self.using}
        assert self.told - before == is_last

    @invariant()
    def the_oldest_is_the_oldest_in_use(self) -> None:
        assert self.holder.oldest() == min([self.version, *(version for version, _ in self.using)])


TestHolderMachine = HolderMachine.TestCase
