"""The control server with real sockets: admission, bounds, and what clients can't do."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from threading import Event
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.client import ControlClient
from nexus_supervisor.core.control import (
    REQUESTS,
    FollowNotices,
    Noticed,
    PushRequest,
    Refusal,
    Request,
    StatusReport,
    StatusRequest,
    StopRequest,
)
from nexus_supervisor.core.framing import MAX_FRAME_BYTES, frame
from nexus_supervisor.errors import ConflictError, HeldError
from nexus_supervisor.supervisor.control_server import MAX_REQUEST_BYTES, MAX_WAITING_REQUESTS, Reply, Requester
from tests.support.control import PATIENCE, STATUS, RawClient, ScriptedSupervisor, answer_with, ended, noticed

if TYPE_CHECKING:
    from pathlib import Path

PUSH = PushRequest(reason="", expect=None, wait="active")


def never(request: Request, requester: Requester, reply: Reply) -> None:
    """Answer only who asks for the status."""
    if isinstance(request, StatusRequest):
        answer_with()(request, requester, reply)


def test_a_request_arrives_with_who_asked(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()) as supervisor:
        ControlClient(tmp_path).status()

        request, requester, _ = supervisor.next_request()

    assert request == StatusRequest()
    assert (requester.uid, requester.pid) == (os.geteuid(), os.getpid())
    assert requester.name


def test_only_the_owner_may_open_the_socket_file_and_it_is_gone_at_the_end(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()):
        found = (tmp_path / "state" / "control.sock").stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert _names(tmp_path / "state") == ["control.sock"]

    assert _names(tmp_path / "state") == []


def test_stale_socket_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for name in ("control.sock", "control.sock.new"):
        with socket.socket(socket.AF_UNIX) as abandoned:
            abandoned.bind(str(tmp_path / "state" / name))

    with ScriptedSupervisor(tmp_path, answer_with()):
        assert ControlClient(tmp_path).status() == STATUS
        assert _names(tmp_path / "state") == ["control.sock"]


def test_a_live_supervisor_keeps_its_socket(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()):
        with (
            pytest.raises(ConflictError, match="another supervisor answers on"),
            ScriptedSupervisor(tmp_path, answer_with()),
        ):
            pass

        assert ControlClient(tmp_path).status() == STATUS


def test_a_file_that_somebody_put_in_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "state" / "control.sock"
    with ScriptedSupervisor(tmp_path, answer_with()):
        path.unlink()
        path.write_text("mine")

    assert path.read_text() == "mine"


def test_a_path_longer_than_the_kernel_takes_is_served(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)

    with ScriptedSupervisor(directory, answer_with()):
        assert ControlClient(directory).status() == STATUS

    assert _names(directory / "state") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_turned_away_and_announced(tmp_path: Path) -> None:
    # given a socket that another user can reach, which the modes of state/ and of the file usually prevent
    with ScriptedSupervisor(tmp_path, answer_with()) as supervisor:
        (tmp_path / "state" / "control.sock").chmod(0o666)
        (tmp_path / "state").chmod(0o711)
        request = frame(b"anything")
        program = (
            "import os, socket, sys\n"
            "os.chdir(sys.argv[1]); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "peer = socket.socket(socket.AF_UNIX); peer.connect('control.sock')\n"
            "try: peer.sendall(bytes.fromhex(sys.argv[2])); print(peer.recv(100))\n"
            "except (BrokenPipeError, ConnectionResetError): print(b'')\n"
        )

        # when that user asks twice
        for _ in range(2):
            asked = subprocess.run(
                [sys.executable, "-c", program, str(tmp_path / "state"), request.hex()],
                check=True,
                capture_output=True,
                text=True,
            )
            assert asked.stdout == "b''\n"

        # then nothing was answered or submitted, and there is one notice
        assert supervisor.asked.empty()
        notice = supervisor.announced.get(timeout=PATIENCE)
        assert (notice.kind, notice.fields["uid"]) == ("client_refused", 65534)
        assert supervisor.announced.empty()
        assert ControlClient(tmp_path).status() == STATUS


def test_a_request_in_single_bytes_is_understood(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()), RawClient(tmp_path) as client:
        for byte in frame(REQUESTS.encode(StatusRequest())):
            client.connection.sendall(bytes([byte]))

        assert isinstance(client.hear_one(), StatusReport)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (frame(b"\x00" * (MAX_REQUEST_BYTES + 1))[:5], "was announced, over the limit"),
        (b"\xff\xff\xff\xff\x00", "was announced, over the limit"),
        (frame(b"not a request"), "the request can't be read"),
        (frame(b"\x92\xabStopRequest\x80"), "expected the fields now"),
        (frame(b"\x92\xadStatusRequest\x80", 1), "requests carry no descriptors"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(tmp_path: Path, raw: bytes, sentence: str) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()) as supervisor, RawClient(tmp_path) as client:
        client.connection.sendall(raw)

        (refusal,) = client.hear()

        assert isinstance(refusal, Refusal)
        assert sentence in refusal.text
        assert supervisor.asked.empty()


def test_a_client_that_asks_for_nothing_is_closed_after_the_deadline(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(), idle_seconds=0.0), RawClient(tmp_path) as client:
        assert client.hear() == []


def test_a_client_that_goes_silent_after_its_answer_is_closed_too(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(), idle_seconds=0.2), RawClient(tmp_path) as client:
        client.say(StatusRequest())

        assert [type(answer) for answer in client.hear()] == [StatusReport]


def test_the_deadline_does_not_run_while_an_answer_is_owed(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, never, idle_seconds=0.2) as supervisor, RawClient(tmp_path) as client:
        # given one client that waits for an answer, and another that asks for nothing and connected later
        client.say(PUSH)
        _, _, reply = supervisor.next_request()
        with RawClient(tmp_path) as silent:
            assert silent.hear() == []

        # when the silent one is closed, then the first still gets its answer
        supervisor.in_loop(lambda: reply(ended(0, "APPLIED")))
        assert client.hear_one() == ended(0, "APPLIED")


def test_half_open_clients_make_room_for_one_that_asks(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(), max_clients=32):
        half_open = [RawClient(tmp_path) for _ in range(400)]
        try:
            assert ControlClient(tmp_path).status() == STATUS

            for client in half_open[: 400 - 32]:
                assert client.hear() == []
        finally:
            for client in half_open:
                client.connection.close()


def test_a_client_over_the_limit_is_told_when_every_other_waits_for_an_answer(tmp_path: Path) -> None:
    with (
        ScriptedSupervisor(tmp_path, never, max_clients=2) as supervisor,
        RawClient(tmp_path) as one,
        RawClient(tmp_path) as two,
    ):
        one.say(PUSH)
        two.say(FollowNotices(since=0))
        supervisor.next_request()
        supervisor.next_request()

        with pytest.raises(ConflictError, match="as many clients as allowed"):
            ControlClient(tmp_path).status()


@pytest.mark.parametrize(("idle_seconds", "frames"), [(0.2, 8), (3600.0, 160)], ids=["for long", "far too much"])
def test_a_follower_that_does_not_read_is_closed_and_costs_nobody_else(
    tmp_path: Path, idle_seconds: float, frames: int
) -> None:
    with ScriptedSupervisor(tmp_path, never, idle_seconds=idle_seconds) as supervisor, RawClient(tmp_path) as follower:
        # given a follower that never reads
        follower.say(FollowNotices(since=0))
        _, _, reply = supervisor.next_request()
        left = Event()
        supervisor.in_loop(lambda: reply.when_left(left.set))

        # when more is sent than may wait for it
        large = noticed(1, text="x" * (MAX_FRAME_BYTES // 2))
        for _ in range(frames):
            supervisor.in_loop(lambda: reply(large))

        # then it is closed, its subscription ends, and others are served
        assert left.wait(PATIENCE)
        assert not reply.open
        assert ControlClient(tmp_path).status() == STATUS


def test_a_client_that_reads_gets_everything_however_much_comes_at_once(tmp_path: Path) -> None:
    kept = [noticed(number, text="x" * (MAX_FRAME_BYTES // 2)) for number in range(1, 25)]
    with ScriptedSupervisor(tmp_path, answer_with(*kept)):
        assert list(ControlClient(tmp_path).notices(follow=False)) == kept


def test_a_client_that_leaves_changes_nothing(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, never) as supervisor:
        with RawClient(tmp_path) as client:
            client.say(PUSH)
            _, _, reply = supervisor.next_request()
            left = Event()
            supervisor.in_loop(lambda: reply.when_left(left.set))
        assert left.wait(PATIENCE)

        supervisor.in_loop(lambda: reply(ended(0, "APPLIED")))

        assert ControlClient(tmp_path).status() == STATUS


def test_who_asks_to_be_told_of_a_leaving_that_is_over_is_told_at_once(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()) as supervisor:
        ControlClient(tmp_path).status()
        _, _, reply = supervisor.next_request()
        told: list[str] = []

        supervisor.in_loop(lambda: reply.when_left(lambda: told.append("over")))

        assert told == ["over"]


def test_a_request_gets_one_answer_however_often_it_is_given(tmp_path: Path) -> None:
    twice = answer_with(ended(0, "APPLIED"), ended(3, "REJECTED"))
    with ScriptedSupervisor(tmp_path, twice), RawClient(tmp_path) as client:
        client.say(PUSH, StatusRequest())

        assert client.hear_one() == ended(0, "APPLIED")
        assert isinstance(client.hear_one(), StatusReport)


def test_a_status_behind_a_subscription_comes_after_every_notice_kept(tmp_path: Path) -> None:
    kept = [noticed(number) for number in range(1, 50)]
    with ScriptedSupervisor(tmp_path, answer_with(*kept)), RawClient(tmp_path) as client:
        client.say(FollowNotices(since=10), StatusRequest())

        heard = [client.hear_one() for _ in range(41)]

        assert [answer.number for answer in heard if isinstance(answer, Noticed)] == list(range(10, 50))
        assert isinstance(heard[-1], StatusReport)


def test_too_many_requests_at_once_are_refused(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, never), RawClient(tmp_path) as client:
        client.say(*[PUSH] * (MAX_WAITING_REQUESTS + 1))

        (refusal,) = client.hear()

        assert isinstance(refusal, Refusal)
        assert "requests wait on one connection" in refusal.text


def test_an_error_of_the_supervisor_is_the_answer_of_the_client(tmp_path: Path) -> None:
    def script(_: Request, __: Requester, ___: Reply) -> None:
        message = "held until a restart"
        raise HeldError(message)

    with ScriptedSupervisor(tmp_path, script), pytest.raises(HeldError, match="held until a restart"):
        ControlClient(tmp_path).status()


def test_an_answer_over_the_limit_of_a_frame_is_told_instead_of_sent(tmp_path: Path) -> None:
    def script(_: Request, __: Requester, reply: Reply) -> None:
        reply(StatusReport(b"x" * (MAX_FRAME_BYTES + 1)))

    with ScriptedSupervisor(tmp_path, script), RawClient(tmp_path) as client:
        client.say(StatusRequest())

        answer = client.hear_one()

        assert isinstance(answer, Refusal)
        assert "the answer can't be sent" in answer.text


def test_the_last_answers_leave_before_the_server_is_closed(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(ended(0, "ACCEPTED"))) as supervisor, RawClient(tmp_path) as client:
        client.say(StopRequest(now=False))
        supervisor.next_request()

        supervisor.close()

        assert client.hear() == [ended(0, "ACCEPTED")]


def test_a_client_that_does_not_read_does_not_hold_the_end(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, never) as supervisor, RawClient(tmp_path) as follower:
        follower.say(FollowNotices(since=0))
        _, _, reply = supervisor.next_request()
        supervisor.in_loop(lambda: reply(noticed(1, text="x" * (MAX_FRAME_BYTES - 1000))))

        supervisor.close()

        assert not reply.open


def test_closing_twice_or_before_the_start_is_harmless(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()) as supervisor:
        supervisor.close()
        supervisor.close()


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
