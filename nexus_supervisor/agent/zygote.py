"""The zygote: ``python -m nexus_supervisor.agent.zygote FD`` imports a program once, and forks workers on request.

Decided here: what is imported, what of it workers may share, and what a forked worker keeps: its pipe, its stdio and
files that the program opened; nothing of ours. Not decided here: what a worker does (``boot.py``), when there is to be
one and what becomes of a lost zygote (``supervisor/zygotes.py``).

It holds no key, no pepper, no listener and no event loop, and it has one thread: a fork copies no other, and a lock
that one of those held would be held for ever. It forks twice: the process between ends at once, so the worker becomes a
child of the supervisor, which has declared itself the parent of orphans (PR_SET_CHILD_SUBREAPER), and the zygote's own
end changes nothing for it. The end of the supervisor ends the zygote at once.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import importlib
import os
import stat
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, assert_never

from setproctitle import setproctitle

from nexus_supervisor.agent import (
    boot,
    log,
    resident,  # noqa: F401 - what the trial worker imports
)
from nexus_supervisor.agent.confine import confine
from nexus_supervisor.agent.program import hold_program, load_object, needed_by, rehearsal_of
from nexus_supervisor.agent.rehearsal import rehearse
from nexus_supervisor.agent.trial import flush, threads
from nexus_supervisor.core.forking import (
    FROM_ZYGOTE,
    TO_ZYGOTE,
    Fork,
    Forked,
    FromZygote,
    Load,
    Loaded,
    NotForked,
    NotLoaded,
    ToZygote,
)
from nexus_supervisor.errors import NexusError, ProtocolError, UsageError
from nexus_supervisor.models.hooks import load_hooks
from nexus_supervisor.models.importing import why
from nexus_supervisor.models.loading import hold_model
from nexus_supervisor.wire import Wire, close_all

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

_DESCRIPTORS = Path("/proc/self/fd")
_PID_BYTES = 8
_MOST_CHARACTERS = 1_000  # of why something can't be imported
_MOST_UNFIT = 20


def main(arguments: list[str]) -> int:
    """Be a zygote until the supervisor has no use for it; only a worker that it has become returns."""
    if len(arguments) != 1 or not arguments[0].isdecimal():
        sys.stderr.write("usage: python -m nexus_supervisor.agent.zygote FD (started by nexus-supervisor only)\n")
        return UsageError.exit_code
    boot.pass_over_group_signals()
    gc.disable()  # a collection between two forks would touch, and so copy, every page
    wire = Wire(boot.connected(int(arguments[0])), TO_ZYGOTE, FROM_ZYGOTE)
    try:
        _load(wire)
        descriptor = _fork_on_request(wire)
    except (BrokenPipeError, ConnectionResetError):
        _end()
    except NexusError as error:
        log.say(f"nexus zygote: {error}")
        _end()
    gc.enable()
    return boot.begin(descriptor)


def _end() -> NoReturn:
    """End without what the program has registered for its end: that is for workers."""
    flush()
    os._exit(0)


def _load(wire: Wire[ToZygote, FromZygote]) -> None:
    """Import what the first message says, and answer; end where no worker can be forked then."""
    received = wire.receive()
    if received is None:
        _end()
    load, descriptors = received
    if not isinstance(load, Load) or descriptors:
        close_all(descriptors)
        message = "the first message must be Load, without descriptors"
        raise ProtocolError(message)
    setproctitle(f"nexus: zygote {load.name} [generation {load.generation}]")
    log.configure_threadless(load.log_level, load.log_format, f"zygote {load.name}")
    confine(load.limits)
    sys.path.insert(0, load.directory)
    before = _open()
    try:
        _import(load)
    except BaseException as error:  # noqa: BLE001 - the program's code may raise anything
        flush()
        if not isinstance(error, NexusError):
            traceback.print_exc()
        reason = str(error) if isinstance(error, NexusError) else f"program {load.name} can't be loaded: {why(error)}"
        wire.send(NotLoaded(reason[:_MOST_CHARACTERS]))
        _end()
    boot.pass_over_group_signals()  # the program may have said otherwise
    flush()
    unfit = tuple(_unfit(_open() - before)) or _rehearsed(load)
    gc.collect()
    gc.freeze()
    wire.send(Loaded(unfit[:_MOST_UNFIT]))
    if unfit:
        _end()


def _rehearsed(load: Load) -> tuple[str, ...]:
    """Go once through what workers do before they serve; return what that has left which a fork would break."""
    try:
        rehearse()
        if rehearsal := rehearsal_of(hold_program(load.program)):
            load_object(rehearsal, "the rehearsal")()
    except Exception as error:  # noqa: BLE001 - a program's rehearsal may raise anything: its workers do the same, later
        log.say(f"nexus zygote {load.name}: the rehearsal was broken off: {why(error)}")
    flush()
    return tuple(_unfit(frozenset()))


def _import(load: Load) -> None:
    """Import everything that a worker of this program would."""
    program = hold_program(load.program)
    for module in needed_by(program):
        importlib.import_module(module)
    if load.app:
        load_object(load.app, "app")
    load_hooks(load.hooks)
    boot.secured_by(load.tls)
    for model in load.models:
        hold_model(model)


# --- what workers can't share -----------------------------------------------------------------------------------------


def _unfit(opened: frozenset[int]) -> Iterator[str]:
    """Name what the imports have left that a fork would break or mix up."""
    named = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    yield from (f"the thread {name!r}" for name in named)
    others = threads() - 1 - len(named)
    if others > 0:
        yield f"{others} threads that no Python code started"
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split():
        yield f"the process {child}"
    for descriptor in sorted(opened):
        if (what := _mixed_up(descriptor)) is not None:
            yield f"descriptor {descriptor} ({what})"


def _mixed_up(descriptor: int) -> str | None:
    """Return what a descriptor is that several processes can't use at once; None where they can.

    They can read one file and append to one; what they would do to a connection, or to a file that is written at a
    position, nobody can tell.
    """
    mode = os.fstat(descriptor).st_mode
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    reads = flags & os.O_ACCMODE == os.O_RDONLY
    if stat.S_ISCHR(mode) or stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and (reads or flags & os.O_APPEND)):
        return None
    return str((_DESCRIPTORS / str(descriptor)).readlink())


def _open() -> frozenset[int]:
    """Return the descriptors that are open."""
    found = [int(name) for name in os.listdir(_DESCRIPTORS)]  # noqa: PTH208 - only names
    return frozenset(one for one in found if _is_open(one))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


# --- forking ----------------------------------------------------------------------------------------------------------


def _fork_on_request(wire: Wire[ToZygote, FromZygote]) -> int:
    """Fork as asked; return in a worker, with the descriptor of its pipe."""
    while (received := wire.receive()) is not None:
        message, descriptors = received
        match message:
            case Fork() if len(descriptors) == 1 + 2 * message.stdio:
                pid = _fork()
                if pid == 0:
                    wire.close()
                    return _become(message, descriptors)
                close_all(descriptors)
                answer = Forked(message.number, pid) if pid > 0 else NotForked(message.number, os.strerror(-pid))
                wire.send(answer)
            case Load() | Fork():
                close_all(descriptors)
                text = f"{type(message).__name__} arrived out of order, or with other descriptors than it says"
                raise ProtocolError(text)
            case _:
                assert_never(message)
    _end()


def _fork() -> int:
    """Fork twice; return 0 in the new process, here its number, or the number of an error, below 0.

    Where the process between is lost before it could tell, nobody knows the new one: its pipe is closed then, and it
    ends.
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        return -(error.errno or errno.EMFILE)
    try:
        between = os.fork()
    except OSError as error:
        close_all((reading, writing))
        return -(error.errno or errno.EAGAIN)
    if between == 0:
        os.close(reading)
        return _fork_again(writing)
    os.close(writing)  # or the loss of the process between would never be read as the end
    try:
        told = os.read(reading, _PID_BYTES)
        os.waitpid(between, 0)  # after this, the worker is a child of the supervisor
    finally:
        os.close(reading)
    return int.from_bytes(told, "little", signed=True) if told else -errno.ECHILD


def _fork_again(writing: int) -> int:
    """Be the process between: return in its child only."""
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or 1)
    if pid != 0:
        try:
            os.write(writing, pid.to_bytes(_PID_BYTES, "little", signed=True))
        finally:
            os._exit(0)  # whatever happens: this one must not go on as the zygote
    os.close(writing)
    return 0


def _become(message: Fork, descriptors: list[int]) -> int:
    """Take what came with the order; return the descriptor of the pipe. What is open beside is the program's."""
    pipe, *stdio = descriptors
    for target, descriptor in zip((1, 2), stdio, strict=False):
        os.dup2(descriptor, target)
    close_all(stdio)
    if message.trial:
        os.environ["NEXUS_TRIAL"] = "1"
    return pipe


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
