"""Inherited listening sockets: in a fresh process that was started with them, as by systemd."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.supervisor.inherited import FIRST_DESCRIPTOR, Inherited

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATIENCE_SECONDS = 30

TAKE = """
import json, os, sys
from nexus_supervisor.errors import NexusError
from nexus_supervisor.supervisor.inherited import Inherited

asked = json.loads(sys.argv[1])
os.environ.update({name: value.replace("PID", str(os.getpid())) for name, value in json.loads(sys.argv[2]).items()})
found = Inherited.take(os.environ)
said = {}
for name in asked:
    try:
        copies = [found.copy(number) for number in found.numbers(name)]
        said[name] = [one.getsockname()[1] for one in copies]
        assert not any(one.get_inheritable() or one.getblocking() for one in copies)
    except NexusError as error:
        said[name] = str(error)
left = [name for name in os.environ if name.startswith("LISTEN_")]
print(json.dumps([said, left, [number for number in found.sockets if os.get_inheritable(number)]]))
"""

PLACE = """
import fcntl, os, sys
places = [int(one) for one in sys.argv[2].split(",")]
kept = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 100) for one in places]
for index, one in enumerate(kept):
    os.dup2(one, 3 + index)
for one in {*kept, *places} - set(range(3, 3 + len(kept))):
    os.close(one)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], *sys.argv[3:]])
"""


def taken(
    passed: Sequence[socket.socket], asked: Sequence[str], told: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[str], list[int]]:
    """Start a process with sockets from descriptor 3 on, and return what it says of those that are asked for."""
    numbers = [one.fileno() for one in passed]
    environment = {"LISTEN_FDS": str(len(passed)), "LISTEN_PID": "PID"} if told is None else told
    line = [sys.executable, "-c", PLACE, TAKE, ",".join(map(str, numbers)), json.dumps(asked), json.dumps(environment)]
    ran = subprocess.run(line, check=True, capture_output=True, text=True, pass_fds=numbers, timeout=PATIENCE_SECONDS)
    said, left, inheritable = json.loads(ran.stdout)
    return said, left, inheritable


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def port(one: socket.socket) -> int:
    return int(one.getsockname()[1])


def test_sockets_are_found_by_number_and_by_name_and_one_name_may_mean_several() -> None:
    told = {"LISTEN_FDS": "3", "LISTEN_PID": "PID", "LISTEN_FDNAMES": "web:admin:web"}
    with listening() as one, listening() as two, listening() as three:
        said, _, _ = taken([one, two, three], ["3", "web", "admin"], told)

        assert said == {"3": [port(one)], "web": [port(one), port(three)], "admin": [port(two)]}


def test_what_was_told_is_cleared_and_no_process_that_is_started_inherits_them() -> None:
    told = {"LISTEN_FDS": "1", "LISTEN_PID": "PID", "LISTEN_FDNAMES": "web"}
    with listening() as one:
        _, left, inheritable = taken([one], ["web"], told)

    assert (left, inheritable) == ([], [])


def test_a_socket_that_came_without_the_protocol_is_found_by_its_number() -> None:
    with listening() as one:
        said, _, _ = taken([one], ["3"], {})

        assert said == {"3": [port(one)]}


def test_what_was_meant_for_another_process_has_no_names_here_and_the_refusal_says_so() -> None:
    told = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "web"}
    with listening() as one:
        said, left, _ = taken([one], ["web"], told)

    assert "fd://web is no listening socket that the supervisor was started with" in said["web"]
    assert "LISTEN_PID is 1, this is process " in said["web"]
    assert left == []


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (socket.SOCK_DGRAM, "descriptor 3 is a socket that is no stream"),
        (socket.SOCK_STREAM, "descriptor 3 is a socket that doesn't listen"),
    ],
)
def test_a_socket_that_does_not_listen_for_connections_is_refused_by_name(kind: socket.SocketKind, what: str) -> None:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        said, _, _ = taken([one], ["unknown"])

    assert said["unknown"] == f"fd://unknown can't be used: {what}; expected a listening stream socket"


def test_a_name_that_was_not_passed_is_refused_with_those_that_were() -> None:
    told = {"LISTEN_FDS": "1", "LISTEN_PID": "PID", "LISTEN_FDNAMES": "web"}
    with listening() as one:
        said, _, _ = taken([one], ["shop", "9"], told)

    assert "there are fd://web, fd://3" in said["shop"]
    assert "FileDescriptorName=shop" in said["shop"]
    assert said["9"].startswith("fd://9 is no listening socket")


def test_a_count_that_is_no_number_names_nothing() -> None:
    assert Inherited.take({"LISTEN_FDS": "many", "LISTEN_PID": str(os.getpid())}).remark == (
        "LISTEN_FDS is no number of descriptors"
    )


def test_a_process_that_was_started_with_nothing_takes_nothing() -> None:
    environment = {"HOME": "/"}

    assert Inherited.take(environment).names == {}
    assert environment == {"HOME": "/"}
    assert FIRST_DESCRIPTOR == 3
