"""What the service manager is told: when by a table of facts, how through a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.content import Version
from nexus_supervisor.core.events import Elapsed, PushAsked, Touched
from nexus_supervisor.core.settings import Settings, parse
from nexus_supervisor.supervisor.inherited import Inherited
from nexus_supervisor.supervisor.listeners import Listeners
from nexus_supervisor.supervisor.notify import Announcer, Facts, Notifier, Saying, asks, patience
from tests.support.service_manager import NotifySocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexus_supervisor.core.notices import Notice

FLOOD = 5_000
STARTING = Facts(7.5, None, 0, 2, patience=70.0)
SERVING = replace(STARTING, version=Version(3), complete=True, ready=2)


def texts(announcer: Announcer, facts: Facts) -> list[bytes]:
    return [saying.text for saying in announcer.say(facts)]


def running(facts: Facts = SERVING) -> Announcer:
    """An announcer that has said that the service is up."""
    announcer = Announcer()
    assert b"READY=1" in texts(announcer, facts)
    return announcer


# --- when ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "serves"),
    [
        (STARTING, False),
        (replace(SERVING, complete=False), False),
        (replace(SERVING, ready=0), False),
        (replace(SERVING, version=None), False),
        (replace(SERVING, ready=1), True),
        (replace(SERVING, ready=0, wanted=0), True),
        (SERVING, True),
    ],
)
def test_it_is_ready_when_a_version_is_complete_and_served(facts: Facts, serves: bool) -> None:
    assert (b"READY=1" in texts(Announcer(), facts)) is serves


def test_what_was_said_is_not_said_again() -> None:
    announcer = running()
    assert texts(announcer, SERVING) == []
    assert texts(announcer, replace(SERVING, now=9.0)) == []


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (STARTING, "Starting: 0 of 2 workers ready"),
        (replace(STARTING, next=Version(1), phase="trial"), "Starting: 0 of 2 workers ready; version 1: trial"),
        (SERVING, "Version 3: 2 of 2 workers ready"),
        (replace(SERVING, ready=0, wanted=1), "Version 3: 0 of 1 worker ready"),
        (replace(SERVING, next=Version(4), phase="bake"), "Version 3: 2 of 2 workers ready; version 4: bake"),
        (replace(SERVING, ending=True, left=1), "Stopping: 1 process left"),
    ],
)
def test_the_status_names_version_workers_and_phase(facts: Facts, status: str) -> None:
    assert f"STATUS={status}".encode() in texts(Announcer(), facts)


def test_an_order_to_look_is_a_reload_until_its_verdict_is_known() -> None:
    announcer = running()

    assert texts(announcer, replace(SERVING, asked=1, pending=True))[0] == b"RELOADING=1\nMONOTONIC_USEC=7500000"
    assert b"READY=1" not in texts(announcer, replace(SERVING, asked=1, pending=True, next=Version(4), phase="trial"))
    assert texts(announcer, replace(SERVING, asked=1, version=Version(4)))[0] == b"READY=1"


def test_a_refusal_ends_a_reload_too() -> None:
    announcer = running()
    texts(announcer, replace(SERVING, asked=1, pending=True))
    assert texts(announcer, replace(SERVING, asked=1)) == [b"READY=1"]


def test_an_order_that_is_answered_at_once_is_a_whole_reload() -> None:
    announcer = running()
    said = [text.partition(b"\n")[0] for text in texts(announcer, replace(SERVING, asked=1))]
    assert [text for text in said if not text.startswith(b"EXTEND")] == [b"RELOADING=1", b"READY=1"]


def test_two_orders_at_a_time_are_one_reload() -> None:
    announcer = running()
    texts(announcer, replace(SERVING, asked=1, pending=True))
    assert texts(announcer, replace(SERVING, asked=2, pending=True)) == []
    assert texts(announcer, replace(SERVING, asked=2)) == [b"READY=1"]


def test_an_order_while_it_starts_is_no_reload_of_its_own() -> None:
    announcer = Announcer()
    texts(announcer, replace(STARTING, asked=1, pending=True))
    said = texts(announcer, replace(SERVING, asked=1))
    assert said[0] == b"READY=1"
    assert not [text for text in said if text.startswith(b"RELOADING")]


def test_what_goes_on_by_itself_is_no_reload() -> None:
    said = texts(running(), replace(SERVING, next=Version(4), phase="bake", pending=True))
    assert said == [b"STATUS=Version 3: 2 of 2 workers ready; version 4: bake"]


def test_an_end_is_said_once_and_nothing_is_ready_after_it() -> None:
    announcer = running()
    texts(announcer, replace(SERVING, asked=1, pending=True))
    ending = replace(SERVING, asked=2, ending=True, left=2)
    assert texts(announcer, ending)[0] == b"STOPPING=1"
    assert b"READY=1" not in texts(announcer, replace(ending, left=1))
    assert b"STOPPING=1" not in texts(announcer, replace(ending, left=0))


def test_more_time_is_asked_for_while_a_start_gets_on_and_not_while_it_stands_still() -> None:
    announcer = Announcer()
    more = b"EXTEND_TIMEOUT_USEC=70000000"
    assert more in texts(announcer, STARTING)
    assert more not in texts(announcer, replace(STARTING, now=9.0, left=1))
    assert more in texts(announcer, replace(STARTING, next=Version(1), phase="trial"))
    assert more not in texts(announcer, SERVING)


def test_more_time_is_asked_for_with_each_process_that_is_gone() -> None:
    announcer = running()
    ending = replace(SERVING, ending=True, left=2, patience=42.0)
    more = b"EXTEND_TIMEOUT_USEC=42000000"
    assert more in texts(announcer, ending)
    assert more not in texts(announcer, replace(ending, now=9.0))
    assert more in texts(announcer, replace(ending, left=1))


def test_the_time_of_one_step_follows_from_the_settings() -> None:
    assert patience(Settings(), ending=False) > Settings().supervisor.limits.compile_timeout_seconds
    assert patience(Settings(), ending=True) > Settings().daemon.shutdown.drain_timeout_seconds
    slow = parse({"supervisor": {"rollout": {"bake_seconds": 500.0}}}, cpu_count=1).settings
    assert patience(slow, ending=False) > 500


def test_sockets_are_given_away_once_and_taken_back_when_they_are_closed() -> None:
    announcer = running()
    stored = replace(SERVING, sockets={"nexus-a": 5, "nexus-b": 6})
    assert announcer.say(stored) == [
        Saying(b"FDSTORE=1\nFDNAME=nexus-a", 5),
        Saying(b"FDSTORE=1\nFDNAME=nexus-b", 6),
    ]
    assert announcer.say(stored) == []
    assert announcer.say(replace(stored, sockets={"nexus-b": 6})) == [Saying(b"FDSTOREREMOVE=1\nFDNAME=nexus-a")]


def test_a_socket_that_is_kept_from_the_last_start_and_not_used_is_taken_back() -> None:
    announcer = Announcer(frozenset({"nexus-a", "nexus-b"}))
    said = announcer.say(replace(SERVING, sockets={"nexus-a": 5}))
    assert [saying for saying in said if b"FDSTORE" in saying.text] == [Saying(b"FDSTOREREMOVE=1\nFDNAME=nexus-b")]


def test_at_the_end_all_sockets_stay_for_the_next_start() -> None:
    announcer = running(replace(SERVING, sockets={"nexus-a": 5}))
    assert not [text for text in texts(announcer, replace(SERVING, ending=True)) if b"FDSTORE" in text]


@pytest.mark.parametrize(
    ("event", "waits"),
    [
        (Touched(None, urgent=True), True),
        (Touched(None, urgent=False), False),
        (PushAsked(1, "", "somebody", None, until_retired=False), True),
        (Elapsed(), False),
    ],
)
def test_a_signal_and_a_push_are_orders_and_a_file_that_changed_is_none(
    event: Touched | PushAsked | Elapsed, waits: bool
) -> None:
    assert asks(event) is waits


# --- how -------------------------------------------------------------------------------------------------------------


@contextmanager
def notifying(directory: Path, variables: dict[str, str], told: list[Notice]) -> Iterator[Notifier]:
    notifier = Notifier(asyncio.get_running_loop(), variables, Listeners(directory, Inherited()), told.append)
    try:
        yield notifier
    finally:
        notifier.close()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_sayings_reach_a_socket_by_path_or_abstract_name(tmp_path: Path, kind: str) -> None:
    if kind == "abstract" and os.uname().sysname != "Linux":
        pytest.skip("abstract names of sockets are Linux's")
    path = "" if kind == "path" else f"@nexus-test-{uuid.uuid4().hex}"

    async def say() -> None:
        with notifying(tmp_path, manager.variables, []) as notifier:
            notifier.send([Saying(b"READY=1")])

    with NotifySocket(path) as manager:
        asyncio.run(say())
        assert manager.receive() == ("READY=1", [])


def test_a_descriptor_goes_along(tmp_path: Path) -> None:
    reading, writing = os.pipe()

    async def say() -> None:
        with notifying(tmp_path, manager.variables, []) as notifier:
            notifier.send([Saying(b"FDSTORE=1\nFDNAME=one", reading)])

    with NotifySocket() as manager:
        asyncio.run(say())
        os.close(reading)
        text, (copy,) = manager.receive()
    os.write(writing, b"here")
    os.close(writing)
    assert (text, os.read(copy, 9)) == ("FDSTORE=1\nFDNAME=one", b"here")
    os.close(copy)


def test_the_loop_itself_beats_in_half_of_the_time(tmp_path: Path) -> None:
    watchdog = {"WATCHDOG_USEC": "2000", "WATCHDOG_PID": str(os.getpid())}

    async def beat() -> list[str]:
        with notifying(tmp_path, manager.variables | watchdog, []):
            return [(await asyncio.to_thread(manager.receive))[0] for _ in range(3)]

    with NotifySocket() as manager:
        assert asyncio.run(beat()) == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "variables",
    [{}, {"WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}],
    ids=["none", "of another process", "off", "no number"],
)
def test_without_a_watchdog_of_ours_nothing_beats(tmp_path: Path, variables: dict[str, str]) -> None:
    async def say() -> None:
        with notifying(tmp_path, manager.variables | variables, []) as notifier:
            notifier.send([Saying(b"READY=1")])

    with NotifySocket() as manager:
        asyncio.run(say())
        assert manager.receive()[0] == "READY=1"


def test_nobody_waits_for_a_manager_that_reads_nothing_and_it_hears_what_is_true_then(tmp_path: Path) -> None:
    async def say() -> list[str]:
        with notifying(tmp_path, manager.variables, told) as notifier:
            for number in range(FLOOD):
                notifier.send([Saying(b"STATUS=%d" % number)])
            notifier.send([Saying(b"READY=1"), Saying(b"STATUS=last")])
            heard = [""]
            while heard[-1] != "STATUS=last":
                heard.append((await asyncio.to_thread(manager.receive))[0])
            return heard

    told: list[Notice] = []
    with NotifySocket() as manager:
        heard = asyncio.run(say())
    assert "READY=1" in heard
    assert len(heard) < FLOOD
    assert told == []


def test_a_manager_that_is_not_there_is_told_of_once(tmp_path: Path) -> None:
    told: list[Notice] = []

    async def say() -> None:
        with notifying(tmp_path, {"NOTIFY_SOCKET": str(tmp_path / "nobody")}, told) as notifier:
            notifier.send([Saying(b"READY=1"), Saying(b"STATUS=one")])
            notifier.send([Saying(b"STATUS=two")])

    asyncio.run(say())
    assert [notice.kind for notice in told] == ["notify_failed"]
    assert str(tmp_path / "nobody") in told[0].text


def test_without_a_manager_nothing_is_said(tmp_path: Path) -> None:
    told: list[Notice] = []

    async def say() -> None:
        with notifying(tmp_path, {"WATCHDOG_USEC": "2000"}, told) as notifier:
            notifier.send([Saying(b"READY=1")])

    asyncio.run(say())
    assert told == []
