"""A worker's first steps: ``python -m nexus_supervisor.agent.boot FD``, or what a zygote's child goes on with.

Decided here: the order in which a fresh process becomes a worker: descriptors, the first version, then the program. Not
decided here: what the program does. The process starts with one socket and stdio; all else arrives over that socket.
"""

from __future__ import annotations

import faulthandler
import gc
import signal
import socket
import sys

from setproctitle import setproctitle

from nexus_supervisor.agent import Agent, log
from nexus_supervisor.agent.confine import confine
from nexus_supervisor.agent.context import serve_from
from nexus_supervisor.agent.drain import OVERDUE_STATUS, DrainState
from nexus_supervisor.agent.parent import Parent
from nexus_supervisor.agent.program import derived_by, load_object, load_program
from nexus_supervisor.agent.shared import SharedCounters
from nexus_supervisor.agent.staging import Secure, Staging
from nexus_supervisor.agent.threads import carry
from nexus_supervisor.core.messages import FROM_WORKER, TO_WORKER, Booted, FromWorker, Start, ToWorker
from nexus_supervisor.core.trust import Floor, Trust
from nexus_supervisor.errors import NexusError, ProtocolError, UsageError
from nexus_supervisor.models.building import Builder
from nexus_supervisor.models.hooks import Hooks, load_hooks
from nexus_supervisor.wire import Wire, close_all

__all__ = ["begin", "connected", "main", "pass_over_group_signals", "secured_by"]

_TLS = "nexus_supervisor.adapters.tls:contexts"

_GROUP_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
"""What a terminal or an operator sends to a whole process group and means for the supervisor."""

_STDERR = 2


def main(arguments: list[str]) -> int:
    """Be a worker until it is drained; return its exit status."""
    if len(arguments) != 1 or not arguments[0].isdecimal():
        sys.stderr.write("usage: python -m nexus_supervisor.agent.boot FD (started by nexus-supervisor only)\n")
        return UsageError.exit_code
    return begin(int(arguments[0]))


def begin(descriptor: int) -> int:
    """Be the worker at one end of a pipe until it is drained; return its exit status."""
    pass_over_group_signals()
    try:
        return _work(Wire(connected(descriptor), TO_WORKER, FROM_WORKER))
    except NexusError as error:
        log.say(f"nexus worker: {error}")
        return error.exit_code


def pass_over_group_signals() -> None:
    """Ignore what is meant for the supervisor, whatever this process was told about signals before."""
    for meant_for_the_group in _GROUP_SIGNALS:
        signal.signal(meant_for_the_group, signal.SIG_IGN)
    faulthandler.register(signal.SIGQUIT, file=_STDERR)  # stacks of all threads, also where one holds the interpreter
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until there is something to drain
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # they were blocked until they are ignored


def connected(descriptor: int) -> socket.socket:
    """Return the socket of a descriptor, blocking; what the program starts must not hide our death by holding it."""
    connection = socket.socket(fileno=descriptor)
    connection.settimeout(None)
    connection.set_inheritable(False)
    return connection


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
    confine(start.limits)
    if sys.path[0] != start.directory:  # in a zygote's child it is there
        sys.path.insert(0, start.directory)
    return (_try if start.trial else _serve)(wire, start, descriptors)


def _announced(start: Start) -> int:
    """Return how many descriptors come with a Start."""
    return 0 if start.trial else len(start.listeners) + 1


def _serve(wire: Wire[ToWorker, FromWorker], start: Start, descriptors: list[int]) -> int:
    """Be a worker that serves; return what its exit status says of what it had in hand at the end."""
    agent, parent = _introduce(wire, start, descriptors)
    wire.send(Booted(start.slot, start.incarnation))
    signal.signal(signal.SIGTERM, lambda *_: parent.drain())
    serve_from(parent.holder)
    carry()
    try:
        if parent.begin():
            _run(agent)
    except Exception as error:
        parent.failed(error)
        raise
    finally:
        agent.drain.begin(start.drain_timeout_seconds)  # whatever the program left running has until then
        parent.close()
    parent.finish()
    return OVERDUE_STATUS if agent.drain.cut else 0


def _try(wire: Wire[ToWorker, FromWorker], start: Start, _: list[int]) -> int:
    """Be the trial worker."""
    from nexus_supervisor.agent.resident import Resident  # what it needs, a worker that serves does not

    hooks = load_hooks(start.hooks)
    carry()
    Resident(wire, start, _staging(start, hooks), hooks).run()
    return 0


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
    return Staging(trust, Floor(start.floor, None), builder, start.pepper, hooks, secured_by(start.tls))


def secured_by(section: str) -> Secure | None:
    """Return what makes TLS contexts of a section; found by its name, as programs are: ssl is for who speaks TLS."""
    if not section:
        return None
    contexts = load_object(_TLS, "TLS")
    return lambda sections, before: contexts(section, sections.get(section), before)


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
