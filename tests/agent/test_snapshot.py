"""Snapshots, the mappings they are made of, and current()."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import weakref
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nexus_supervisor
from nexus_supervisor.agent.context import PINNED, current, pinned, provide, refresh, serve_from
from nexus_supervisor.agent.holder import Cell, Holder
from nexus_supervisor.core.content import SHARDS
from nexus_supervisor.core.shards import Shards
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.errors import NoSnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = st.text("abcdef", min_size=1, max_size=3)


@given(st.dictionaries(NAMES, st.integers()), st.dictionaries(NAMES, st.integers()), st.lists(NAMES))
def test_a_changed_mapping_is_what_a_dict_would_be(
    before: dict[str, int], changed: dict[str, int], removed: list[str]
) -> None:
    first = Shards(before)

    after = first.changed(changed, removed)

    expected = {name: value for name, value in before.items() if name not in removed} | changed
    assert dict(after) == expected
    assert len(after) == len(expected)
    assert dict(first) == before


def test_a_change_of_one_entry_among_many_shares_all_but_one_shard() -> None:
    before = Shards({f"entry-{number}": object() for number in range(10_000)})

    after = before.changed({"entry-7": object()})

    shared = sum(mine is theirs for mine, theirs in zip(before._shards, after._shards, strict=True))
    assert shared == SHARDS - 1
    assert [name for name, _, _ in before.differing(after)] == ["entry-7"]


def test_a_missing_entry_is_a_key_error_and_no_entry_of_another_type_is_there() -> None:
    entries = Shards({"a": 1})

    assert "b" not in entries
    assert 1 not in entries
    with pytest.raises(KeyError, match="b"):
        entries["b"]


def test_a_snapshot_shows_its_sections_as_attributes_and_never_their_content() -> None:
    snapshot = Snapshot.of(3, {"motd": "hello"}, sources={"a": "hunter2"})

    assert snapshot.sources["a"] == "hunter2"
    assert snapshot.daemon["motd"] == "hello"
    assert snapshot.derived is None
    assert Snapshot.of(1, derived=7).derived == 7
    assert repr(snapshot) == "<Snapshot 3 000000000000>"
    assert repr(snapshot.sources) == "<1 entries>"


def test_an_unknown_section_is_explained() -> None:
    snapshot = Snapshot.of(1, sources={}, destinations={})

    with pytest.raises(AttributeError, match="no section 'source'; its sections are: sources, destinations"):
        _ = snapshot.source


def test_a_snapshot_is_read_only_all_the_way_down() -> None:
    snapshot = Snapshot.of(1, {"limits": {"low": [1, {"a": 2}]}}, sources={"a": 1})

    with pytest.raises(AttributeError, match="read-only"):
        snapshot.version = 2  # type: ignore[misc, assignment]
    with pytest.raises(AttributeError, match="read-only"):
        del snapshot.sources
    with pytest.raises(TypeError):
        snapshot.sources["a"] = 2
    with pytest.raises(TypeError):
        snapshot.daemon["limits"]["low"] = ()
    assert snapshot.daemon["limits"]["low"] == [1, {"a": 2}]


def test_current_outside_a_worker_says_how_to_provide_a_snapshot() -> None:
    for call in (current, refresh, pinned().__enter__):
        with pytest.raises(NoSnapshotError) as caught:
            call()
        told = str(caught.value)
        assert 'nexus_snapshot("DIR")' in told
        assert 'from nexus_supervisor.testing import serve, snapshot_from; serve(snapshot_from("DIR"))' in told


def test_a_provided_snapshot_ends_with_its_block() -> None:
    with provide(Snapshot.of(1)), provide(Snapshot.of(2)) as inner:
        assert current() is inner
    with pytest.raises(NoSnapshotError):
        current()


def test_within_a_provided_snapshot_pinned_and_refresh_answer_it_too() -> None:
    with provide(Snapshot.of(1)) as snapshot:
        assert refresh() is snapshot
        with pinned() as inner:
            assert inner is current() is snapshot


@pytest.fixture
def worker() -> Iterator[Holder]:
    """A holder that serves this process, as that of a worker does; version 1 is current."""
    holder = Holder.of(Snapshot.of(1))
    before = serve_from(holder)
    yield holder
    serve_from(before)


def test_a_block_keeps_one_snapshot_that_no_request_encloses(worker: Holder) -> None:
    with pinned() as snapshot:
        worker.swap(Snapshot.of(2))
        assert current() is snapshot
        assert worker.forget() == []
    assert current().version == 2
    assert worker.forget() == [snapshot]


def test_a_block_in_a_request_keeps_its_snapshot_also_where_the_request_ends_first(worker: Holder) -> None:
    request = Cell(worker)
    worker.pin(request)
    context = contextvars.copy_context()
    context.run(PINNED.set, request)
    block = pinned()
    snapshot = context.run(block.__enter__)
    worker.swap(Snapshot.of(2))

    worker.release(request)

    assert snapshot.version == context.run(current).version == 1
    assert worker.forget() == []
    context.run(block.__exit__, None, None, None)
    assert worker.forget() == [snapshot]
    assert context.run(current).version == 2


def test_a_block_in_a_request_that_has_ended_gets_the_newest_snapshot(worker: Holder) -> None:
    request = Cell(worker)
    context = contextvars.copy_context()
    context.run(PINNED.set, request)
    worker.swap(Snapshot.of(2))

    assert context.run(lambda: pinned().__enter__().version) == 2


def test_refresh_lets_a_block_go_on_with_the_newest_snapshot_and_gives_the_old_one_back(worker: Holder) -> None:
    with pinned() as old:
        worker.swap(Snapshot.of(2))
        assert refresh() is current()
        assert current().version == 2
        assert worker.forget() == [old]
        worker.swap(Snapshot.of(3))
        assert current().version == 2
    assert refresh().version == 3


def test_a_block_that_goes_on_with_the_newest_snapshot_does_not_keep_the_old_one(worker: Holder) -> None:
    with pinned():
        old = weakref.ref(current())
        worker.swap(Snapshot.of(2))
        refresh()
        worker.forget()

        assert old() is None


def test_a_generator_may_end_its_block_in_another_context_than_it_began_in(worker: Holder) -> None:
    def lines() -> Iterator[int]:
        with pinned() as snapshot:
            yield snapshot.version

    one = lines()
    assert contextvars.copy_context().run(next, one) == 1
    worker.swap(Snapshot.of(2))

    assert contextvars.copy_context().run(list, one) == []
    assert [retired.version for retired in worker.forget()] == [1]


def test_threads_and_tasks_of_a_request_see_its_snapshot() -> None:
    seen: list[int] = []

    async def task() -> None:
        seen.append(current().version)
        await asyncio.to_thread(lambda: seen.append(current().version))

    with provide(Snapshot.of(7)):
        asyncio.run(task())
        thread = Thread(target=contextvars.copy_context().run, args=(lambda: seen.append(current().version),))
        thread.start()
        thread.join()

    assert seen == [7, 7, 7]


def test_a_context_that_outlives_its_request_holds_no_snapshot() -> None:
    with provide(Snapshot.of(1)):
        kept = contextvars.copy_context()

    with pytest.raises(NoSnapshotError):
        kept.run(current)


def test_the_agent_brings_no_event_loop_no_models_and_no_command_line() -> None:
    code = (
        "import sys, nexus_supervisor.agent.boot; "
        "print(sorted({'asyncio', 'click', 'pydantic', 'watchdog', 'uvicorn', 'rich'} & sys.modules.keys()))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert loaded.stdout == "[]\n"


def test_every_public_name_can_be_imported_and_none_is_imported_early() -> None:
    code = "import sys, nexus_supervisor; print([name for name in sys.modules if name.startswith('nexus_supervisor.')])"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert loaded.stdout == "[]\n"
    assert nexus_supervisor.__all__ == sorted(nexus_supervisor.__all__)
    for name in nexus_supervisor.__all__:
        assert getattr(nexus_supervisor, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nexus_supervisor.nothing  # type: ignore[attr-defined]
