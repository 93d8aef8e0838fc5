"""A worker's first steps: ``python -m nexus_supervisor.agent.boot FD``.

Decided here: the order in which a fresh process becomes a worker: descriptors, the first version, then the program. Not
decided here: what the program does. The process starts with one socket and stdio; all else arrives over that socket.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys

from setproctitle import setproctitle

from nexus_supervisor.agent import Agent, log
from nexus_supervisor.agent.context import serve_from
from nexus_supervisor.agent.drain import DrainState
from nexus_supervisor.agent.parent import Parent
from nexus_supervisor.agent.program import derived_by, load_program
from nexus_supervisor.agent.shared import SharedCounters
from nexus_supervisor.agent.staging import Staging
from nexus_supervisor.agent.threads import carry
from nexus_supervisor.core.messages import FROM_WORKER, TO_WORKER, Booted, FromWorker, Start, ToWorker
from nexus_supervisor.core.trust import Floor, Trust
from nexus_supervisor.errors import NexusError, ProtocolError, UsageError
from nexus_supervisor.models.building import Builder
from nexus_supervisor.models.hooks import Hooks, load_hooks
from nexus_supervisor.wire import Wire, close_all

__all__ = ["main"]

_GROUP_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
"""What a terminal or an operator sends to a whole process group and means for the supervisor."""


def main(arguments: list[str]) -> int:
    """Be a worker until it is drained; return its exit status."""
    if len(arguments) != 1 or not arguments[0].isdecimal():
        sys.stderr.write("usage: python -m nexus_supervisor.agent.boot FD (started by nexus-supervisor only)\n")
        return UsageError.exit_code
    for meant_for_the_group in _GROUP_SIGNALS:
        signal.signal(meant_for_the_group, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # they were blocked until they are ignored
    try:
        return _work(_connect(int(arguments[0])))
    except NexusError as error:
        log.say(f"nexus worker: {error}")
        return error.exit_code


def _connect(descriptor: int) -> Wire[ToWorker, FromWorker]:
    connection = socket.socket(fileno=descriptor)
    connection.settimeout(None)
    connection.set_inheritable(False)  # what the program starts must not hide our death
    return Wire(connection, TO_WORKER, FROM_WORKER)


def _work(wire: Wire[ToWorker, FromWorker]) -> int:
    received = wire.receive()
    if received is None:
        return 0
    start, descriptors = received
    if not isinstance(start, Start) or len(descriptors) != _announced(start):
        close_all(descriptors)
        message = "the first message must be Start, with the listeners and the counters beside it, or none for a trial"
        raise ProtocolError(message)
    setproctitle(f"nexus: {start.slot}")
    configure = log.configure_threadless if start.trial else log.configure
    configure(start.log_level, start.log_format, start.slot)
    sys.path.insert(0, start.directory)
    (_try if start.trial else _serve)(wire, start, descriptors)
    return 0


def _announced(start: Start) -> int:
    """Return how many descriptors come with a Start."""
    return 0 if start.trial else len(start.listeners) + 1


def _serve(wire: Wire[ToWorker, FromWorker], start: Start, descriptors: list[int]) -> None:
    """Be a worker that serves."""
    agent, parent = _introduce(wire, start, descriptors)
    wire.send(Booted(start.slot, start.incarnation))
    signal.signal(signal.SIGTERM, lambda *_: parent.drain())
    serve_from(parent.holder)
    carry()
    try:
        if parent.begin():
            _run(agent)
    finally:
        agent.drain.begin(start.drain_timeout_seconds)  # whatever the program left running has until then
        parent.close()
    parent.finish()


def _try(wire: Wire[ToWorker, FromWorker], start: Start, _: list[int]) -> None:
    """Be the trial worker."""
    from nexus_supervisor.agent.resident import Resident  # what it needs, a worker that serves does not

    hooks = load_hooks(start.hooks)
    carry()
    Resident(wire, start, _staging(start, hooks), hooks).run()


def _introduce(wire: Wire[ToWorker, FromWorker], start: Start, descriptors: list[int]) -> tuple[Agent, Parent]:
    """Make the agent and its parent from what arrived."""
    *listening, memory = descriptors
    listeners = tuple(socket.socket(fileno=descriptor) for descriptor in listening)
    try:
        counters = SharedCounters(memory, rows=start.counter_rows, slots=start.slots, slot_number=start.slot_number)
    finally:
        close_all([memory])
    hooks, drain = load_hooks(start.hooks), DrainState()
    parent = Parent(wire, start, _staging(start, hooks), drain, hooks, counters)
    return Agent(start, listeners, parent, counters, drain), parent


def _staging(start: Start, hooks: Hooks) -> Staging:
    trust = Trust(start.audience, start.public_key)
    given = start.max_snapshot_seconds
    builder = Builder(start.program, {} if given is None else {"max_snapshot_seconds": given})
    return Staging(trust, Floor(start.floor, None), builder, start.pepper, hooks)


def _run(agent: Agent) -> None:
    """Load the program and call it; what exists by then is left out of later garbage collections."""
    program = load_program(agent.program)
    if (derive := derived_by(program)) is not None:
        agent.derive(derive)
    gc.collect()
    gc.freeze()
    program(agent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
