"""A rehearsal: a zygote goes once through what every worker does before it serves, with nothing of the user's.

Decided here: which steps of the agent are worth it, and the agent without a supervisor that a program's own rehearsal
gets. Not decided here: what the steps do in a worker (``boot.py``, ``parent.py``), and which a program has.

What is made at the first use of something (types of messages and settings, patterns, tables of the library that
verifies) is then there before a fork: a worker neither makes it again nor has it in memory of its own.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from nexus_supervisor.agent import Agent
from nexus_supervisor.agent.holder import Holder
from nexus_supervisor.agent.parent import Parent
from nexus_supervisor.agent.parts import Parts
from nexus_supervisor.agent.shared import SharedCounters
from nexus_supervisor.agent.staging import Staging
from nexus_supervisor.core import canonical, delta, manifest, sshsig
from nexus_supervisor.core.cells import Layout
from nexus_supervisor.core.content import Content, Digest, Entries, Entry, Section, Version
from nexus_supervisor.core.messages import (
    FROM_WORKER,
    TO_WORKER,
    Activate,
    Active,
    Booted,
    Drain,
    Drained,
    FromWorker,
    Ready,
    Retired,
    Stage,
    Staged,
    Start,
    ToWorker,
)
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.core.trust import Floor, Trust
from nexus_supervisor.errors import NexusError
from nexus_supervisor.models.building import Builder
from nexus_supervisor.models.hooks import NO_HOOKS
from nexus_supervisor.wire import close_all

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from nexus_supervisor.agent.drain import DrainState

__all__ = ["rehearse", "unattended"]

_AUDIENCE, _SLOT = "rehearsal", "rehearsal-0"
_PUBLIC_KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032, 7.1, test 1
_NO_SIGNATURE = bytes(64)
_SETTINGS = {
    "daemon": {},
    "supervisor": {"section": [{"name": "entries", "files": "entries/*.toml", "apply": "live"}]},
}


def rehearse() -> None:
    """Read, verify, build and answer, as a worker does with its first version."""
    tables = {name: Entry.of(name, canonical.encode(table)) for name, table in _SETTINGS.items()}
    content = Content({"daemon": Section("restart", Entries(tables.values()))})
    stated = manifest.describe(
        content,
        audience=_AUDIENCE,
        version=1,
        parent=None,
        created_at="2000-01-01T00:00:00Z",
        key_id=sshsig.fingerprint(_PUBLIC_KEY),
    ).encode()
    payload = delta.encode(content.delta_from(None))
    stage = Stage(1, Version(1), stated, b"", None, payload, False, False, None, False)  # noqa: FBT003 - as it is declared
    staging = Staging(Trust(_AUDIENCE, None), Floor(0, None), Builder(_SLOT), bytes(32), NO_HOOKS)
    staging.stage(stage, Parts(payload))
    staging.activate(Version(1))
    with suppress(NexusError):  # it is none
        signature = sshsig.armor(_PUBLIC_KEY, _NO_SIGNATURE, sshsig.NAMESPACE)
        Trust(_AUDIENCE, _PUBLIC_KEY).judge(stated, signature, Floor(0, None))
    _converse(stage, content.digest)


def _converse(stage: Stage, digest: Digest) -> None:
    """Have each message of a start encoded and decoded."""
    told: tuple[ToWorker, ...] = (_start(), stage, Activate(1, Version(1)), Drain(1.0))
    for message in told:
        TO_WORKER.decode(TO_WORKER.encode(message))
    said: tuple[FromWorker, ...] = (
        Booted(_SLOT, 1),
        Staged(_SLOT, 1, 1, Version(1), digest),
        Active(_SLOT, 1, 1, Version(1), digest),
        Ready(_SLOT, 1),
        Retired(_SLOT, 1, Version(1)),
        Drained(_SLOT, 1),
    )
    for answer in said:
        FROM_WORKER.encode(answer)


def _start() -> Start:
    return Start(
        slot=_SLOT,
        incarnation=1,
        slot_number=0,
        slots=1,
        directory="/",
        audience=_AUDIENCE,
        program=_SLOT,
        app="",
        public_key=_PUBLIC_KEY,
        floor=0,
        listeners=(),
        counter_rows=1,
        drain_timeout_seconds=1.0,
        log_level="info",
        log_format="text",
        hooks="",
        threads=1,
        max_snapshot_seconds=None,
        pepper=bytes(32),
    )


@contextmanager
def unattended(listeners: tuple[socket.socket, ...], drain: DrainState) -> Iterator[Agent]:
    """Have an agent that no supervisor hears, with an empty version and counters that nobody reads."""
    start = _start()
    layout = Layout(start.counter_rows, start.slots)
    memory = os.memfd_create(_AUDIENCE)
    try:
        os.ftruncate(memory, layout.size_bytes)
        counters = SharedCounters(memory, rows=start.counter_rows, slots=start.slots, slot_number=start.slot_number)
    finally:
        close_all([memory])
    version = Version(1)
    counters.activated(version)
    yield Agent(start, listeners, _Nobody(Snapshot(version, Content({}).digest, {}, {}, {})), counters, drain)


class _Nobody(Parent):
    """Be the parent of an agent without a supervisor: without threads, without a wire."""

    max_snapshot_seconds = 0.0
    tls: Any = None

    def __init__(self, snapshot: Snapshot) -> None:
        self.holder = Holder.of(snapshot)

    def ready(self) -> None:
        """Tell nobody."""
