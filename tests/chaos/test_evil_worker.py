"""A worker that was taken over: whatever it writes into its pipe, the supervisor goes on and that worker is ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from tests.support.chaos import add_item, make_stall, steady, zombies
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = '''
import array, os, socket, struct
from dataclasses import fields, replace
from nexus_supervisor.core import framing
from nexus_supervisor.core.messages import *

def serve(agent):
    """Serve like any other in the first slot; in the second one, each process is evil in its own way."""
    if agent.slot == "serve-1" and agent.incarnation <= len(EVIL):
        EVIL[agent.incarnation - 1](agent)
    agent.ready()
    agent.drain.wait()

def pipe(agent):
    return agent._parent._wire.connection

def frame(message):
    return framing.frame(FROM_WORKER.encode(message))

def write(agent, raw):
    """Write, and wait for the end."""
    pipe(agent).sendall(raw)
    agent.drain.wait()

def pass_on(agent, raw, descriptors):
    """Pass descriptors on beside the bytes; where the kernel refuses that, break the protocol at least."""
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    try:
        pipe(agent).sendmsg([raw], passed)
    except PermissionError:
        write(agent, b"refused by the kernel")

def booted(agent, descriptors):
    return framing.frame(FROM_WORKER.encode(Booted(agent.slot, agent.incarnation)), descriptors)

def shorten_what_is_shared():
    """Take the memory of the counters away from everybody who maps it."""
    for number in os.listdir("/proc/self/fd"):
        if os.path.exists(link := f"/proc/self/fd/{number}") and "nexus-counters" in os.readlink(link):
            os.ftruncate(int(number), 0)

def answer_with(agent, change):
    """Send something else than the truth about the version that is each process's own to lie about."""
    send = agent._parent._wire.send
    def lie(message, descriptors=()):
        lies = isinstance(message, (Staged, Active)) and message.version == agent.incarnation + 1
        send(change(message) if lies else message, descriptors)
    agent._parent._wire.send = lie
'''

PATIENT = "restart.backoff_seconds = 0\nrestart.max_restarts = 1000\n"

BREAKS_THE_PROTOCOL = {
    "random bytes": "write(agent, b'\\xff' + os.urandom(65536))",
    "a header of 4 GiB": "write(agent, struct.pack('>IB', 0xFFFFFFFF, 0))",
    "empty frames": "write(agent, bytes(65536))",
    "a frame over the limit of workers": "write(agent, framing.frame(bytes(70_000)))",
    "msgpack that claims 4 G elements": "write(agent, framing.frame(bytes.fromhex('ddffffffff')))",
    "deep nesting": "write(agent, framing.frame(b'\\x91' * 60_000))",
    "a message of the other direction": "write(agent, framing.frame(TO_WORKER.encode(Drain(1.0))))",
    "a number of 300 digits": "write(agent, framing.frame(b'\\x92\\xa7Retired\\x83' + b'9' * 300))",
    "another slot": "write(agent, frame(Ready('serve-0', 1)))",
    "another incarnation": "write(agent, frame(Ready(agent.slot, agent.incarnation + 1)))",
    "a slot that does not exist": "write(agent, frame(Drained('serve-9', 1)))",
    "a flood of valid messages": "write(agent, booted(agent, 0) * 400_000)",
    "descriptors that are announced": "pass_on(agent, booted(agent, 2), [0, 1])",
    "descriptors that are not announced": "[pass_on(agent, booted(agent, 0), [0] * 60) for _ in range(9)]",
    "more descriptors than a frame may have": "pass_on(agent, booted(agent, 2), [0] * 200)",
    "announced descriptors that do not come": "write(agent, booted(agent, 3))",
}
"""What is wrong with it, and what it does as soon as it has its first version."""

LIES = {
    "it staged other content": "lambda said: replace(said, digest='f' * 64)",
    "it activated what it had not staged": "lambda said: Active(*[getattr(said, one.name) for one in fields(said)])",
    "it activated other content": "lambda said: replace(said, digest='f' * 64) if isinstance(said, Active) else said",
    "it answered an earlier push": "lambda said: replace(said, push=said.push - 1)",
    "it staged another version": "lambda said: replace(said, version=said.version + 1)",
}
"""What it claims, and what it makes of each answer."""


def test_a_worker_that_breaks_the_protocol_is_ended_and_nobody_else_is(tmp_path: Path) -> None:
    evil = ", ".join(f"lambda agent: {one}" for one in BREAKS_THE_PROTOCOL.values())
    directory = make_stall(tmp_path, f"{TOOLS}\nEVIL = [{evil}]\n", settings=PATIENT)
    with Nexus(directory) as nexus:
        last = len(BREAKS_THE_PROTOCOL) + 1
        fenced = {told["incarnation"] for told in nexus.history("slot_fenced", slot="serve-1")}
        assert fenced == set(range(1, last))
        assert nexus.history("slot_fenced", slot="serve-0") == []
        workers = nexus.workers()
        assert (workers["serve-0"]["incarnation"], workers["serve-1"]["incarnation"]) == (1, last)
        add_item(directory, "bolt")
        assert nexus.push().exit_code == 0
        assert zombies(nexus) == []
        held = steady(nexus)
        psutil.Process(workers["serve-1"]["pid"]).kill()
        nexus.until("slot_ready", slot="serve-1", incarnation=last + 1)
        assert steady(nexus) == held


def test_a_worker_that_lies_about_a_version_is_ended_before_the_push_is_complete(tmp_path: Path) -> None:
    evil = ", ".join(f"lambda agent: answer_with(agent, {one})" for one in LIES.values())
    timeouts = "rollout.stage_timeout_seconds = 0.5\nrollout.activate_timeout_seconds = 0.5\n"
    settings = f"{PATIENT}{timeouts}"
    directory = make_stall(tmp_path, f"{TOOLS}\nEVIL = [{evil}]\n", settings=settings)
    with Nexus(directory) as nexus:
        for number, claim in enumerate(LIES, 1):
            add_item(directory, "nut", number + 1)
            ended = nexus.push()
            assert ended.exit_code == 0, (claim, ended)
            fenced = [told["incarnation"] for told in nexus.history("slot_fenced", slot="serve-1")]
            assert fenced == list(range(1, number + 1)), claim
            nexus.until("slot_ready", slot="serve-1", incarnation=number + 1)
        assert nexus.workers()["serve-0"]["incarnation"] == 1
        assert {worker["version"] for worker in nexus.workers().values()} == {len(LIES) + 1}


def test_a_worker_can_not_take_the_shared_memory_away_from_the_others(tmp_path: Path) -> None:
    with Nexus(make_stall(tmp_path, f"{TOOLS}\nEVIL = [lambda agent: shorten_what_is_shared()]\n")) as nexus:
        add_item(nexus.directory, "bolt")
        assert nexus.push().exit_code == 0
        workers = nexus.workers()
        assert {worker["requests"] for worker in workers.values()} == {0}
        assert (workers["serve-0"]["incarnation"], workers["serve-1"]["incarnation"]) == (1, 2)
        assert nexus.history("worker_exited")[0]["status"] == "exit code 1"
