"""The supervisor's end of a pipe, with a peer that is hostile and a system that has nothing left to give."""

from __future__ import annotations

import asyncio
import os
import socket
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import pytest

from nexus_supervisor.core.framing import frame
from nexus_supervisor.core.messages import FROM_WORKER, TO_WORKER, Booted, Drain, FromWorker
from nexus_supervisor.supervisor.pipe import MAX_FRAMES_AT_ONCE, Pipe
from tests.support.chaos import descriptors, room_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.messages import ToWorker

BOOTED = FROM_WORKER.encode(Booted("serve-0", 1))


class Heard:
    """A pipe in a loop of its own, what it heard, and why it ended."""

    def __init__(self, limit: int = 1 << 16) -> None:
        self.loop = asyncio.new_event_loop()
        ours, self.peer = socket.socketpair()
        self.messages: list[FromWorker] = []
        self.descriptors: list[int] = []
        self.ended = self.loop.create_future()
        self.pipe: Pipe[FromWorker, ToWorker] = Pipe(
            self.loop, ours, (FROM_WORKER, TO_WORKER), self._take, self.ended.set_result, limit
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.peer.close()
        self.loop.close()

    def reason(self) -> str | None:
        """Wait for the end, and return why."""
        reason: str | None = self.loop.run_until_complete(self.ended)
        return reason

    def _take(self, message: FromWorker, descriptors: list[int]) -> None:
        self.messages.append(message)
        self.descriptors += descriptors


@pytest.fixture
def passed() -> Iterator[int]:
    """A descriptor of which copies can be counted."""
    descriptor = os.memfd_create("passed-on")
    yield descriptor
    os.close(descriptor)


def copies() -> int:
    return list(descriptors(os.getpid()).values()).count("/memfd:passed-on (deleted)")


@pytest.mark.parametrize(("announced", "sent"), [(0, 40), (2, 1), (2, 200)])
def test_a_peer_that_passes_other_descriptors_than_it_said_is_left(passed: int, announced: int, sent: int) -> None:
    with Heard() as heard:
        for _ in range(3):
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [passed] * sent))]
            heard.peer.sendmsg([frame(BOOTED, announced)], beside)
        assert "descriptors" in str(heard.reason())
        assert copies() == 1


def test_a_peer_that_floods_is_left_after_so_many_messages() -> None:
    with Heard() as heard:
        heard.peer.setblocking(False)
        flood = frame(BOOTED) * (MAX_FRAMES_AT_ONCE * 2)
        sent = 0
        while not heard.ended.done():
            with suppress(OSError):
                sent += heard.peer.send(flood[sent:])
            heard.loop.run_until_complete(asyncio.sleep(0))
        assert "more than" in str(heard.reason())
        assert MAX_FRAMES_AT_ONCE <= len(heard.messages) < 2 * MAX_FRAMES_AT_ONCE


def test_a_peer_that_reads_nothing_costs_so_many_frames_and_is_left() -> None:
    with Heard() as heard:
        for _ in range(10_000):
            heard.pipe.send(Drain(1.0), [0])
            if heard.ended.done():
                break
        assert heard.reason() == "it does not read what it is sent"
        heard.pipe.send(Drain(1.0))
        assert not heard.messages


def test_a_message_whose_descriptors_can_not_be_copied_ends_the_pipe_and_leaves_none(passed: int) -> None:
    with Heard() as heard:
        with room_for(os.getpid(), 1):
            heard.pipe.send(Drain(1.0), [passed, passed])
        assert "Too many open files" in str(heard.reason())
        assert copies() == 1


def test_a_message_over_the_limit_of_the_peer_is_not_taken() -> None:
    with Heard(limit=16) as heard:
        heard.peer.send(frame(BOOTED))
        assert "over the limit" in str(heard.reason())
        assert heard.messages == []
