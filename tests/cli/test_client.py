"""The client against a real control server: what it returns, and which error says what went wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor import client as client_module
from nexus_supervisor import conversation, errors
from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import (
    FollowNotices,
    Noticed,
    PushRequest,
    Refusal,
    Request,
    StatusReport,
    StopRequest,
)
from tests.support.control import PATIENCE, STATUS, ScriptedSupervisor, answer_with, ended, in_thread, noticed

if TYPE_CHECKING:
    from nexus_supervisor.supervisor.control_server import Reply, Requester

PROJECT = Path(__file__).parents[2]
PUSH = PushRequest(reason="a test", expect=3, wait="retired")


def silent(_: Request, __: Requester, ___: Reply) -> None:
    """Answer nothing."""


def test_the_status_is_the_document_that_the_supervisor_sent(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()):
        assert ControlClient(tmp_path).status() == STATUS


def test_a_request_arrives_as_it_was_built_and_its_end_comes_back(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(ended(0, "APPLIED", version=4))) as supervisor:
        assert ControlClient(tmp_path).ask(PUSH) == ended(0, "APPLIED", version=4)

        assert supervisor.next_request()[0] == PUSH


@pytest.mark.parametrize("left_behind", ["nothing", "a stale socket", "a file in the way"])
def test_without_a_supervisor_the_error_says_how_to_start_one(tmp_path: Path, left_behind: str) -> None:
    directory = tmp_path / "my demo"
    directory.mkdir()
    (directory / "daemon.toml").touch()
    if left_behind == "a stale socket":
        (directory / "state").mkdir()
        with socket.socket(socket.AF_UNIX) as abandoned:
            abandoned.bind(str(directory / "state" / "control.sock"))
    if left_behind == "a file in the way":
        (directory / "state").write_text("")

    with pytest.raises(errors.NotRunningError) as raised:
        ControlClient(directory).status()

    start = f"start one with `nexus-supervisor run '{directory}'`, or name another directory"
    assert str(raised.value) == f"no supervisor runs on {directory}: {start}"


@pytest.mark.parametrize(("directory", "why"), [(".", "it has no daemon.toml"), ("missing", "it is not a directory")])
def test_where_no_supervisor_could_run_the_error_says_why(tmp_path: Path, directory: str, why: str) -> None:
    with pytest.raises(errors.NotRunningError, match=f"no supervisor runs on .*: {why}.* Name another one"):
        ControlClient(tmp_path / directory).status()


def test_a_long_path_to_no_supervisor_is_told_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(errors.NotRunningError):
        ControlClient(tmp_path / ("x" * 120)).status()


@pytest.mark.parametrize(
    ("exit_code", "expected"),
    [
        (1, errors.NexusError),
        (2, errors.UsageError),
        (3, errors.RejectedError),
        (4, errors.RolledBackError),
        (5, errors.UnfinishedError),
        (6, errors.ConflictError),
        (7, errors.NotRunningError),
        (8, errors.HeldError),
    ],
)
def test_a_refusal_raises_the_error_of_its_exit_code(
    tmp_path: Path, exit_code: int, expected: type[errors.NexusError]
) -> None:
    refusal = Refusal(exit_code, "not now")
    with ScriptedSupervisor(tmp_path, answer_with(refusal)), pytest.raises(expected, match="not now") as raised:
        ControlClient(tmp_path).ask(PUSH)

    assert raised.value.exit_code == exit_code


def test_a_supervisor_that_ends_before_it_answers_leaves_the_wait_unfinished(tmp_path: Path) -> None:
    with (
        ScriptedSupervisor(tmp_path, silent) as supervisor,
        in_thread(lambda: ControlClient(tmp_path).ask(PUSH)) as end,
    ):
        supervisor.next_request()

        supervisor.close()

        error = end.get(timeout=PATIENCE)
        assert isinstance(error, errors.UnfinishedError)
        assert "closed the connection before it answered" in str(error)


def test_a_wait_is_bounded(tmp_path: Path) -> None:
    with (
        ScriptedSupervisor(tmp_path, silent),
        pytest.raises(errors.UnfinishedError, match="what was asked may still happen"),
    ):
        ControlClient(tmp_path).ask(PUSH, patience=0.0)


def test_a_watched_request_tells_the_status_and_each_notice_until_its_end(tmp_path: Path) -> None:
    # given a supervisor that ends a push when it was asked for its status once more
    pushing: list[Reply] = []
    following: list[Reply] = []

    def script(request: Request, _: Requester, reply: Reply) -> None:
        if isinstance(request, FollowNotices):
            following.append(reply)
        elif isinstance(request, PushRequest):
            pushing.append(reply)
            following[0](noticed(7))
        else:
            reply(StatusReport(canonical.encode(STATUS)))
            for one in pushing:
                one(ended(0, "APPLIED", version=4))

    told: list[Noticed | StatusReport] = []
    with ScriptedSupervisor(tmp_path, script):
        end = ControlClient(tmp_path).watch(PUSH, told.append, every=0.0)

    status = StatusReport(canonical.encode(STATUS))
    assert end == ended(0, "APPLIED", version=4)
    assert sorted(told, key=str) == sorted([status, noticed(7), status], key=str)


def test_a_watched_request_is_given_up_where_the_supervisor_says_nothing_at_all(tmp_path: Path) -> None:
    with (
        ScriptedSupervisor(tmp_path, silent),
        pytest.raises(errors.UnfinishedError, match="what was asked may still happen"),
    ):
        ControlClient(tmp_path).watch(PUSH, lambda _: None, silence=0.0)


def test_a_refused_request_that_is_watched_raises(tmp_path: Path) -> None:
    with (
        ScriptedSupervisor(tmp_path, answer_with(Refusal(6, "not now"))),
        pytest.raises(errors.ConflictError, match="not now"),
    ):
        ControlClient(tmp_path).watch(PUSH, lambda _: None)


def test_a_status_that_does_not_come_names_the_process_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.0)
    who = rf"the supervisor on {tmp_path} \(pid {os.getpid()}\)"
    with ScriptedSupervisor(tmp_path, silent):
        with pytest.raises(errors.UnfinishedError, match=f"{who} hasn't answered in time: it is stopped or overloaded"):
            ControlClient(tmp_path).status()
        with pytest.raises(errors.UnfinishedError, match=f"{who} has told nothing new in time"):
            next(ControlClient(tmp_path).notices(patience=0.0))


def test_a_supervisor_that_accepts_nobody_is_told_apart_from_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "CONNECT_SECONDS", 0.05)
    (tmp_path / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(str(tmp_path / "state" / "control.sock"))
        stuck.listen(0)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(str(tmp_path / "state" / "control.sock"))

            with pytest.raises(errors.UnfinishedError, match="accepts no connection"):
                ControlClient(tmp_path).status()


def test_an_answer_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    expected = pytest.raises(errors.ProtocolError, match="answered with Noticed")
    with ScriptedSupervisor(tmp_path, answer_with(noticed(1))), expected:
        ControlClient(tmp_path).ask(PUSH)


def test_kept_notices_end_by_themselves(tmp_path: Path) -> None:
    kept = [noticed(number) for number in range(1, 6)]
    with ScriptedSupervisor(tmp_path, answer_with(*kept)):
        assert list(ControlClient(tmp_path).notices(3, follow=False)) == kept[2:]


def test_followed_notices_go_on_until_the_supervisor_ends(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(noticed(1))) as supervisor:
        notices = ControlClient(tmp_path).notices()
        assert next(notices) == noticed(1)
        request, _, reply = supervisor.next_request()
        assert request == FollowNotices(since=0)

        supervisor.in_loop(lambda: reply(noticed(2)))
        assert next(notices) == noticed(2)

        supervisor.close()
        assert list(notices) == []


def test_an_iterator_that_is_closed_leaves_the_supervisor(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(noticed(1))) as supervisor:
        notices = ControlClient(tmp_path).notices()
        next(notices)
        _, _, reply = supervisor.next_request()
        with in_thread(lambda: _when_left(supervisor, reply)) as left:
            notices.close()  # type: ignore[attr-defined]

            assert left.get(timeout=PATIENCE) == "left"


def test_a_refused_subscription_raises(tmp_path: Path) -> None:
    def refuse(_: Request, __: Requester, reply: Reply) -> None:
        reply(Refusal(5, "too many follow"))

    with ScriptedSupervisor(tmp_path, refuse), pytest.raises(errors.UnfinishedError, match="too many follow"):
        next(ControlClient(tmp_path).notices())


def test_stop_returns_when_the_process_is_gone(tmp_path: Path) -> None:
    # given a supervisor of its own process that still has something to do after it closed its control socket
    program = f"""
import os, sys
from pathlib import Path
from tests.support.control import ScriptedSupervisor, answer_with, ended
directory = Path({os.fspath(tmp_path)!r})
with ScriptedSupervisor(directory, answer_with(ended(0, "ACCEPTED", "It drains."))) as supervisor:
    print("listening", flush=True)
    supervisor.next_request()
(directory / "last").write_text("written after the socket was closed")
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"

        end = ControlClient(tmp_path).stop()

        assert end == ended(0, "ACCEPTED", "It drains.")
        assert process.poll() == 0
        assert (tmp_path / "last").exists()


def test_a_refused_stop_does_not_wait_for_an_end(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(ended(6, "CONFLICT", "It is starting."))) as supervisor:
        assert ControlClient(tmp_path).stop(now=True).exit_code == 6

        assert supervisor.next_request()[0] == StopRequest(now=True)


def _when_left(supervisor: ScriptedSupervisor, reply: Reply) -> Any:
    from threading import Event

    left = Event()
    supervisor.in_loop(lambda: reply.when_left(left.set))
    return "left" if left.wait(PATIENCE) else "still there"
