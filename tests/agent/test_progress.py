"""Progress: what the serving loop says, and when silence means nothing."""

from __future__ import annotations

import os
import time
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from nexus_supervisor.agent import Request
from nexus_supervisor.agent.holder import Cell, Holder
from nexus_supervisor.agent.progress import Progress
from nexus_supervisor.agent.shared import SharedCounters
from nexus_supervisor.core.cells import Layout
from nexus_supervisor.core.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.agent import Agent
    from nexus_supervisor.core.readings import Reading

LAYOUT = Layout(rows=1, slots=2)


class Loop:
    """Be what a program has of its agent, with one snapshot, and read it as the supervisor does."""

    def __init__(self) -> None:
        self._memory = os.memfd_create("counters", os.MFD_CLOEXEC)
        os.ftruncate(self._memory, LAYOUT.size_bytes)
        counters = SharedCounters(self._memory, rows=1, slots=2, slot_number=1)
        self.holder = Holder.of(Snapshot.of(1))
        self.progress = Progress(counters, self.holder)

    def request(self) -> Request:
        return Request(cast("Agent", SimpleNamespace(holder=self.holder, progress=self.progress)))

    def tick(self) -> Reading:
        """Let the loop turn, as long after the turn before that it looks around; return what is read then."""
        self.progress._look_at = 0.0
        self.progress.tick()
        return self.reading()

    def reading(self) -> Reading:
        words = memoryview(os.pread(self._memory, LAYOUT.size_bytes, 0)).cast("Q").tolist()
        return LAYOUT.reading(words, 1)

    def close(self) -> None:
        os.close(self._memory)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as made:
        yield made


def test_a_loop_that_never_turned_says_nothing(loop: Loop) -> None:
    reading = loop.reading()

    assert (reading.alive, reading.beat, reading.waiting_since) == (None, None, None)


def test_a_loop_that_turns_says_when(loop: Loop) -> None:
    before = time.monotonic()

    reading = loop.tick()

    assert reading.alive is not None
    assert reading.beat is not None
    assert before - 0.001 <= reading.alive <= time.monotonic()


def test_the_request_that_waits_the_longest_is_told(loop: Loop) -> None:
    before = time.monotonic()
    with loop.request():
        between = time.monotonic()
        with loop.request():
            since = loop.tick().waiting_since
            assert since is not None
            assert before - 0.001 <= since <= between
    assert loop.tick().waiting_since is None


def test_what_lasts_as_long_as_a_client_likes_and_what_is_no_request_do_not_wait(loop: Loop) -> None:
    streaming, web_socket, kept = loop.request(), loop.request(), Cell(loop.holder)
    with streaming, web_socket:
        loop.holder.pin(kept)
        streaming.answered()
        web_socket.untimed()
        assert loop.tick().waiting_since is None


def test_a_request_that_is_only_just_pinned_is_passed_over(loop: Loop) -> None:
    request = loop.request()
    loop.holder.pin(request)

    assert loop.tick().waiting_since is None


def test_a_loop_looks_for_requests_twice_a_second_at_most(loop: Loop) -> None:
    loop.tick()
    with loop.request():
        loop.progress.tick()
        assert loop.reading().waiting_since is None


def test_a_loop_that_works_has_no_pace_until_it_rests(loop: Loop) -> None:
    loop.progress.pace()
    assert loop.reading().alive is not None
    assert loop.reading().beat is None

    loop.progress.works()
    working = loop.reading()
    loop.progress.rests()
    resting = loop.reading()

    assert working.alive is None
    assert working.waiting_since is not None
    assert resting.alive is not None
    assert resting.waiting_since is None


def test_a_loop_that_turns_while_it_holds_work_is_alive(loop: Loop) -> None:
    loop.progress.holds()
    loop.progress.pace()

    assert loop.reading().alive is not None
    assert loop.reading().waiting_since is not None
