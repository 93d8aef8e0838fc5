"""The wire: frames and descriptors over a real socket pair, and sealed memory."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.compilation import FROM_COMPILER, TO_COMPILER, Begin, Look, Refused
from nexus_supervisor.core.framing import MAX_FRAME_BYTES, frame
from nexus_supervisor.errors import ProtocolError
from nexus_supervisor.wire import (
    INLINE_BYTES,
    Wire,
    close_all,
    inline_or_beside,
    open_sealed,
    received_payload,
    sealed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.compilation import FromCompiler, ToCompiler

LOOK = Look(1, ("a", "b"), whole=False)


class Pair:
    """Hold both ends of a wire."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.sender: Wire[FromCompiler, ToCompiler] = Wire(self.near, FROM_COMPILER, TO_COMPILER)
        self.receiver: Wire[ToCompiler, FromCompiler] = Wire(self.far, TO_COMPILER, FROM_COMPILER)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.sender.close()
    pair.receiver.close()


def open_descriptors() -> list[str]:
    return sorted(os.fspath(one) for one in Path("/proc/self/fd").iterdir())


def test_messages_arrive_in_order_with_their_own_descriptors(pair: Pair) -> None:
    first, second = sealed(b"one", "one"), sealed(b"two", "two")
    pair.sender.send(Begin("d", b"{}", b"p"))
    pair.sender.send(LOOK, (first, second))
    pair.sender.send(LOOK)

    received = [pair.receiver.receive() for _ in range(3)]

    assert [message and message[0] for message in received] == [Begin("d", b"{}", b"p"), LOOK, LOOK]
    assert [len(message[1]) for message in received if message] == [0, 2, 0]
    descriptors = [descriptor for message in received if message for descriptor in message[1]]
    assert [bytes(open_sealed(descriptor, 10)) for descriptor in descriptors] == [b"one", b"two"]
    assert not any(os.get_inheritable(descriptor) for descriptor in descriptors)
    close_all((first, second, *descriptors))


def test_a_frame_larger_than_the_socket_holds_arrives_whole(pair: Pair) -> None:
    long = Look(1, ("x" * 500_000,), whole=True)
    descriptor = sealed(b"x", "x")
    writer = threading.Thread(target=pair.sender.send, args=(long, (descriptor,)))
    writer.start()

    received = pair.receiver.receive()

    writer.join()
    assert received is not None
    assert received[0] == long
    close_all((descriptor, *received[1]))


def test_many_threads_may_send(pair: Pair) -> None:
    messages = [Look(number, ("x" * 5000,), whole=True) for number in range(200)]

    def send(part: list[Look]) -> None:
        for one in part:
            pair.sender.send(one)

    threads = [threading.Thread(target=send, args=(messages[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()

    received = [pair.receiver.receive() for _ in messages]

    for thread in threads:
        thread.join()
    found = {message[0].ticket for message in received if message and isinstance(message[0], Look)}
    assert found == set(range(200))


def test_the_end_of_the_peer_is_none_also_in_the_middle_of_a_frame(pair: Pair) -> None:
    pair.near.send(frame(TO_COMPILER.encode(LOOK))[:-1])
    pair.near.close()

    assert pair.receiver.receive() is None


def test_sending_to_a_peer_that_is_gone_raises_and_kills_nobody(pair: Pair) -> None:
    pair.far.close()

    with pytest.raises(BrokenPipeError):
        pair.sender.send(LOOK)


@pytest.mark.parametrize(
    "raw",
    [
        frame(b"\xc1"),
        frame(FROM_COMPILER.encode(Refused(1, (), False, (), None, None, False, ()))),
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big") + b"\0",
        frame(b"")[:4] + b"\xff",
        frame(TO_COMPILER.encode(LOOK), 1),
    ],
    ids=["not msgpack", "another pipe's message", "too long", "too many descriptors", "descriptors that never came"],
)
def test_what_the_protocol_does_not_allow_is_refused_and_nothing_leaks(pair: Pair, raw: bytes) -> None:
    before = open_descriptors()
    stowaway = sealed(b"x", "x")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [stowaway]))] if raw[4:5] != b"\1" else []
    pair.near.sendmsg([raw], rights)
    os.close(stowaway)

    with pytest.raises(ProtocolError):
        pair.receiver.receive()

    assert open_descriptors() == before


def test_sealed_memory_can_not_be_changed_any_more() -> None:
    descriptor = sealed(b"what was checked", "x")

    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"!", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 1)

    assert bytes(open_sealed(descriptor, 100)) == b"what was checked"
    os.close(descriptor)


@pytest.mark.parametrize("missing", ["F_SEAL_SEAL", "F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_WRITE"])
def test_memory_without_one_of_the_seals_is_refused(missing: str) -> None:
    names = {"F_SEAL_SEAL", "F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_WRITE"} - {missing}
    descriptor = os.memfd_create("x", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"x")
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, sum(getattr(fcntl, name) for name in names))

    with pytest.raises(ProtocolError, match="all four seals"):
        open_sealed(descriptor, 100)
    os.close(descriptor)


def test_memory_over_the_limit_is_refused_before_it_is_mapped() -> None:
    descriptor = sealed(b"x" * 101, "x")

    with pytest.raises(ProtocolError, match="at most 100 bytes, found 101"):
        open_sealed(descriptor, 100)
    os.close(descriptor)


def test_a_file_is_no_sealed_memory(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with (tmp_path / "x").open("rb") as opened, pytest.raises(ProtocolError, match="no seals"):
        open_sealed(opened.fileno(), 100)


def test_empty_memory_is_empty_bytes() -> None:
    descriptor = sealed(b"", "x")

    assert bytes(open_sealed(descriptor, 0)) == b""
    os.close(descriptor)


def test_small_payloads_are_inline_and_large_ones_beside() -> None:
    assert inline_or_beside(b"x" * INLINE_BYTES, "x") == (b"x" * INLINE_BYTES, [])

    payload, (descriptor,) = inline_or_beside(b"x" * (INLINE_BYTES + 1), "x")

    assert payload is None
    before = open_descriptors()
    assert received_payload(None, descriptor, 1 << 20) == b"x" * (INLINE_BYTES + 1)
    assert len(open_descriptors()) < len(before) + 1


def test_a_payload_that_is_refused_is_closed_as_well() -> None:
    descriptor = os.memfd_create("x")

    with pytest.raises(ProtocolError):
        received_payload(None, descriptor, 10)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
