"""Pins, swaps and retirement."""

from __future__ import annotations

import weakref
from threading import Barrier, Event, Thread, current_thread
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexus_supervisor.agent.holder import Cell, Generation, Holder, Oldest
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.errors import NoSnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable


def a_holder(told: Callable[[], object] = lambda: None, clock: Callable[[], float] = lambda: 0.0) -> Holder:
    return Holder(lambda: told() and None, clock)


def pinned(holder: Holder) -> Cell:
    cell = Cell(holder)
    holder.pin(cell)
    return cell


def oldest(holder: Holder) -> int | None:
    found = holder.oldest()
    return None if found is None else found.version


def test_nothing_can_be_pinned_before_the_first_version() -> None:
    with pytest.raises(NoSnapshotError, match="no version is active"):
        a_holder().pin(Cell(a_holder()))


def test_a_pin_keeps_its_snapshot_over_swaps_and_its_release_is_told_once() -> None:
    told: list[str] = []
    holder = a_holder(lambda: told.append("released"))
    holder.swap(Snapshot.of(1))
    first, second = pinned(holder), pinned(holder)

    holder.swap(Snapshot.of(2))

    assert first.snapshot is not None
    assert first.snapshot.version == 1
    assert holder.pin(Cell(holder)).version == 2
    assert oldest(holder) == 1
    holder.release(first)
    assert told == []
    holder.release(second)
    holder.release(second)
    assert told == ["released"]
    assert oldest(holder) == 2


def test_a_release_on_the_current_version_is_no_news() -> None:
    told: list[str] = []
    holder = a_holder(lambda: told.append("released"))
    holder.swap(Snapshot.of(1))
    cell = pinned(holder)

    holder.release(cell)

    assert told == []
    assert cell.generation is None


def test_old_snapshots_are_freed_when_nobody_uses_them() -> None:
    holder = a_holder()
    watched: list[weakref.ref[Snapshot]] = []
    cells: list[Cell] = []
    for version in range(1, 50):
        snapshot = Snapshot.of(version)
        watched.append(weakref.ref(snapshot))
        holder.swap(snapshot)
        del snapshot
        cells.append(pinned(holder))
    for cell in cells:
        holder.release(cell)

    assert [one.version for one in holder.forget()] == list(range(1, 49))
    assert holder.forget() == []
    assert oldest(holder) == 49
    assert [one() for one in watched[:-1]] == [None] * 48


def test_a_version_is_retired_although_an_older_one_is_still_used() -> None:
    holder = a_holder()
    holder.swap(Snapshot.of(1))
    old = pinned(holder)
    holder.swap(Snapshot.of(2))
    holder.swap(Snapshot.of(3))

    assert [one.version for one in holder.forget()] == [2]
    assert oldest(holder) == 1
    holder.release(old)
    assert [one.version for one in holder.forget()] == [1]


def test_a_cell_and_the_holder_know_since_when_a_snapshot_is_replaced() -> None:
    now = iter([10.0, 20.0])
    holder = a_holder(clock=lambda: next(now))
    holder.swap(Snapshot.of(1))
    cell = pinned(holder)
    assert (cell.replaced_at, holder.oldest()) == (None, Oldest(Version(1), None))

    holder.swap(Snapshot.of(2))
    holder.swap(Snapshot.of(3))

    assert (cell.replaced_at, holder.oldest()) == (10.0, Oldest(Version(1), 10.0))
    holder.renew(cell)
    assert (cell.replaced_at, holder.oldest()) == (None, Oldest(Version(3), None))
    holder.release(cell)
    assert (cell.replaced_at, cell.snapshot) == (None, None)


def test_a_shared_pin_outlives_the_one_that_it_was_shared_from() -> None:
    told: list[str] = []
    holder = a_holder(lambda: told.append("released"))
    holder.swap(Snapshot.of(1))
    request = pinned(holder)
    holder.swap(Snapshot.of(2))
    block = holder.shared(request)
    assert block is not None

    holder.release(request)

    assert told == []
    assert oldest(holder) == 1
    holder.release(block)
    assert told == ["released"]
    assert oldest(holder) == 2
    assert holder.shared(request) is None


def test_a_renewed_cell_gives_back_what_it_pinned_and_an_empty_one_stays_empty() -> None:
    told: list[str] = []
    holder = a_holder(lambda: told.append("released"))
    first, second = Snapshot.of(1), Snapshot.of(2)
    holder.swap(first)
    cell = pinned(holder)
    assert holder.renew(cell) is first
    holder.swap(second)

    assert holder.renew(cell) is second

    assert told == ["released"]
    assert holder.forget() == [first]
    holder.release(cell)
    assert holder.renew(cell) is None
    holder.swap(Snapshot.of(3))
    assert holder.forget() == [second]


class Pins(dict[Cell, bool]):
    """Registrations that call something just before one is made or taken away."""

    def __init__(
        self, pins: dict[Cell, bool], *, made: Callable[[], object] = int, gone: Callable[[], object] = int
    ) -> None:
        super().__init__(pins)
        self.made, self.gone = made, gone

    def __setitem__(self, cell: Cell, value: bool) -> None:
        self.made()
        super().__setitem__(cell, value)

    def pop(self, cell: Cell, default: bool) -> bool:  # type: ignore[override]
        self.gone()
        return super().pop(cell, default)


def two_generations() -> tuple[Holder, Cell, Generation, Generation]:
    """A cell that pins the first of two snapshots."""
    holder = a_holder()
    holder.swap(Snapshot.of(1))
    cell = pinned(holder)
    holder.swap(Snapshot.of(2))
    before, after = holder._older[0], holder._current
    assert after is not None
    return holder, cell, before, after


def test_a_request_that_ends_while_a_thread_of_it_renews_leaves_no_pin() -> None:
    holder, cell, _, after = two_generations()
    after.pins = Pins(after.pins, made=lambda: holder.release(cell))

    holder.renew(cell)

    assert cell.generation is None
    assert [one.version for one in holder.forget()] == [1]
    assert not after.pins


def test_a_request_that_ends_when_a_thread_of_it_has_just_renewed_leaves_no_pin() -> None:
    holder, cell, before, after = two_generations()
    ending, renewed = Event(), Event()
    end = Thread(target=holder.release, args=(cell,))

    def begin_to_end() -> None:
        """Let the end come as far as to the registration that it is about to take away."""
        end.start()
        ending.wait()

    def wait_until_renewed() -> None:
        if current_thread() is end:
            ending.set()
            renewed.wait()

    after.pins = Pins(after.pins, made=begin_to_end)
    before.pins = Pins(before.pins, gone=wait_until_renewed)

    holder.renew(cell)
    renewed.set()
    end.join()

    assert cell.generation is None
    assert [one.version for one in holder.forget()] == [1]
    assert not after.pins


def renew_and_share(cell: Cell, wrong: list[object]) -> None:
    """What a thread of a request does, which may end at any moment."""
    holder = cell.holder
    renewed, block = holder.renew(cell), holder.shared(cell)
    if renewed is not None and block is not None and block.snapshot is not None:
        found, version = oldest(holder), block.snapshot.version
        if found is None or not found <= version or not renewed.version <= version:
            wrong.append((found, version, renewed.version))
    if block is not None:
        holder.release(block)


def test_requests_that_renew_share_and_end_in_several_threads_at_a_time_leave_no_pin() -> None:
    holder = a_holder()
    holder.swap(Snapshot.of(1))
    ready, ended = Barrier(4), Event()
    wrong: list[object] = []

    def serve() -> None:
        ready.wait()
        while not ended.is_set():
            cell = pinned(holder)
            others = [Thread(target=renew_and_share, args=(cell, wrong)) for _ in range(2)]
            for other in others:
                other.start()
            holder.release(cell)
            for other in others:
                other.join()

    threads = [Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    for version in range(2, 1_001):
        holder.swap(Snapshot.of(version))
        holder.forget()
    ended.set()
    for thread in threads:
        thread.join()

    holder.swap(Snapshot.of(1_001))
    holder.forget()
    assert wrong == []
    assert [one.version for one in holder.everything()] == [1_001]


def test_no_version_is_called_retired_while_a_thread_uses_it() -> None:
    holder = a_holder()
    holder.swap(Snapshot.of(1))
    ready, wrong = Barrier(4), []

    def serve() -> None:
        ready.wait()
        seen = 0
        while seen < 400:
            cell = Cell(holder)
            version = holder.pin(cell).version
            found = oldest(holder)
            if found is None or found > version:
                wrong.append((found, version))
            seen = version
            holder.release(cell)

    threads = [Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    for version in range(2, 401):
        holder.swap(Snapshot.of(version))
        holder.forget()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert oldest(holder) == 400


class HolderMachine(RuleBasedStateMachine):
    """Compare the holder with a plain list of who uses what."""

    @initialize()
    def start(self) -> None:
        self.told = 0
        self.holder = a_holder(self._tell)
        self.version, self.retired = 0, 0
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
        cell = Cell(self.holder)
        assert self.holder.pin(cell).version == self.version
        self.using.append((self.version, cell))

    @precondition(lambda self: self.using)
    @rule(index=st.integers(min_value=0))
    def share(self, index: int) -> None:
        version, cell = self.using[index % len(self.using)]
        shared = self.holder.shared(cell)
        assert shared is not None
        self.using.append((version, shared))

    @precondition(lambda self: self.using)
    @rule(index=st.integers(min_value=0))
    def renew(self, index: int) -> None:
        place = index % len(self.using)
        _, cell = self.using[place]
        renewed = self.holder.renew(cell)
        assert renewed is not None
        assert renewed.version == self.version
        self.using[place] = (self.version, cell)

    @rule()
    def forget(self) -> None:
        used = {version for version, _ in self.using}
        held = {one.version for one in self.holder.forget()}
        assert not held & {*used, self.version}
        self.retired += len(held)
        assert self.retired == self.version - len(used | {self.version})

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
        assert oldest(self.holder) == min([self.version, *(version for version, _ in self.using)])


TestHolderMachine = HolderMachine.TestCase
