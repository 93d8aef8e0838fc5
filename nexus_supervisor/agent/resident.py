"""The resident: the trial worker's process, which serves nobody and meets each version first.

Decided here: what each message of the supervisor leads to in it. Not decided here: what a trial may cost (``trial.py``)
and which offers are accepted (``staging.py``).

It has one thread, since it forks. It loads hooks, models and program once, and holds the current version as every
worker does, so a trial starts from there: its child builds what was offered beside it, as a worker would while staging,
and calls the hook ``probe``. A version that was tried is built again in the resident itself when it is activated there.
The first version of all is not tried: it runs already, or nothing does.
"""

from __future__ import annotations

import gc
import logging
import select
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

from setproctitle import setproctitle

from nexus_supervisor.agent.context import provide, serve_from
from nexus_supervisor.agent.holder import Holder
from nexus_supervisor.agent.hooked import Failed, attempted, made
from nexus_supervisor.agent.parts import parts_of
from nexus_supervisor.agent.program import derived_by, load_program
from nexus_supervisor.agent.staging import MAX_DETAIL, MODEL, NOT_APPLICABLE, Offer, Refusal, Staging, Verified, emptied
from nexus_supervisor.agent.trial import Trial, threads
from nexus_supervisor.core.messages import (
    Activate,
    Active,
    Booted,
    Discard,
    Drain,
    FromWorker,
    Limit,
    Probe,
    Probed,
    Rejected,
    Stage,
    Staged,
    Start,
    ToWorker,
)
from nexus_supervisor.errors import NexusError, ProtocolError
from nexus_supervisor.wire import close_all

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Version
    from nexus_supervisor.models.hooks import Hooks
    from nexus_supervisor.wire import Wire

__all__ = ["Resident"]

_logger = logging.getLogger(__name__)

_UNTOLD = Limit(cpu_seconds=10.0, memory_mb=1_024, timeout_seconds=10.0)

_THREADS = (
    "the trial worker runs %d threads of the application (%s): a trial is forked from it and has none of them, so that "
    "it may hang; start none while a module is imported and in prepare where the environment has NEXUS_TRIAL"
)

_Received = tuple[ToWorker, list[int]]


class Resident:
    """Hold the current version and try others beside it."""

    def __init__(self, wire: Wire[ToWorker, FromWorker], start: Start, staging: Staging, hooks: Hooks) -> None:
        self._wire, self._start, self._staging, self._hooks = wire, start, staging, hooks
        self._holder = Holder(lambda: None)
        self._inbox: deque[_Received | None] = deque()
        self._limits = _UNTOLD
        self._tried: Verified | None = None
        self._warned = False

    def run(self) -> None:
        """Do as the supervisor says until it is gone, or says that this is the end."""
        serve_from(self._holder)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._wire.send(Booted(self._start.slot, self._start.incarnation))
            while (received := self._next()) is not None and not isinstance(received[0], Drain):
                self._take(*received)

    def _next(self) -> _Received | None:
        """Return what was received meanwhile, or is next; None where the supervisor is gone."""
        return self._inbox.popleft() if self._inbox else self._wire.receive()

    def _take(self, message: ToWorker, descriptors: list[int]) -> None:
        if not isinstance(message, Stage):
            close_all(descriptors)
        match message:
            case Stage():
                self._stage(message, descriptors)
            case Activate():
                self._activate(message)
            case Discard():
                self._discard(message.version)
            case Limit():
                self._limits = message
            case Probe():  # it has no traffic, and what it holds was probed
                self._wire.send(
                    Probed(self._start.slot, self._start.incarnation, message.push, message.version, "none", "")
                )
            case Start() | Drain():
                text = f"{type(message).__name__} arrived out of order"
                raise ProtocolError(text)
            case _:
                assert_never(message)

    def _stage(self, message: Stage, descriptors: list[int]) -> None:
        """Answer an offer, unless it is withdrawn while it is tried."""
        self._tried = None
        try:
            found = self._staging.verify(message, parts_of(message, descriptors))
        except Refusal as refusal:
            self._refuse(message, refusal.reason, str(refusal))
        except (ProtocolError, OSError) as error:
            self._refuse(message, NOT_APPLICABLE, str(error))
        else:
            if isinstance(found, Offer):
                self._answer(Staged, message, found)
            elif self._staging.current is None:
                self._conclude(message, found, "")
            else:
                self._try(message, found)

    def _try(self, message: Stage, verified: Verified) -> None:
        self._warn_of_threads()
        with self._trial(verified) as trial:
            why = self._outcome(trial, verified.version)
            if why is not None:
                self._conclude(message, verified, why)  # nobody need wait until all that the child had is given back

    def _trial(self, verified: Verified) -> Trial:
        """Start a trial; raise NexusError where the system refuses, which says nothing about the version."""
        try:
            return Trial(self._limits, lambda: self._be_tried(verified))
        except OSError as error:
            message = f"a trial can't be started: {error.strerror}"
            raise NexusError(message) from error

    def _conclude(self, message: Stage, verified: Verified, why: str) -> None:
        """Answer an offer; ``why`` says why it is not to be used, or nothing."""
        if why:
            self._refuse(message, MODEL, why)
        else:
            self._tried = verified
            self._answer(Staged, message, verified)

    def _outcome(self, trial: Trial, version: Version) -> str | None:
        """Return why a version is not to be used, nothing where it may be, and None where nobody wants to know."""
        deadline = time.monotonic() + self._limits.timeout_seconds
        poll, parent = select.poll(), self._wire.connection.fileno()
        for descriptor in (trial.verdict_pipe, trial.exit_descriptor, parent):
            poll.register(descriptor, select.POLLIN)
        while not self._withdrawn(version):
            happened = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1_000))
            if not happened:
                return trial.overdue()
            if parent in happened:
                self._inbox.append(self._wire.receive())
            elif trial.exit_descriptor in happened or happened[trial.verdict_pipe] & select.POLLIN:
                return trial.verdict()
            else:
                poll.unregister(trial.verdict_pipe)  # it was closed and nothing said: how the child ends is the verdict
        return None

    def _withdrawn(self, version: Version) -> bool:
        """Return whether what arrived meanwhile makes a trial of no interest."""
        while self._wire.arrived:
            self._inbox.append(self._wire.receive())
        for received in self._inbox:
            match received:
                case None | (Drain() | Stage(), _):
                    return True
                case (Discard() as discard, _) if discard.version == version:
                    return True
        return False

    def _be_tried(self, verified: Verified) -> None:
        """Stage a version as a worker does, and probe it; raise Refusal. Only called in the child."""
        self._wire.connection.close()  # what the application starts must not hide our death
        setproctitle(f"nexus: {self._start.slot} of v{verified.version} {verified.digest[:12]}")
        offer = self._staging.build(verified)
        if self._hooks.probe is None:
            return
        try:
            with provide(offer.snapshot):
                made("the hook probe", self._hooks.probe, offer.snapshot)
        except Failed as error:
            message = f"version {offer.version} does not pass the probe: {error}"
        else:
            return
        raise Refusal(MODEL, message)

    def _activate(self, message: Activate) -> None:
        try:
            offer = self._held(message.version)
        except Refusal as refusal:
            self._refuse(message, refusal.reason, str(refusal))
            return
        if self._holder.current is not offer.snapshot:
            self._hold(offer)
        self._answer(Active, message, offer)
        self._settle()

    def _held(self, version: Version) -> Offer:
        """Return a version that is built here; raise Refusal."""
        current, tried = self._staging.current, self._tried
        if current is not None and current.version == version:
            return current
        if tried is None or tried.version != version:
            message = f"version {version} is not staged here"
            raise Refusal(NOT_APPLICABLE, message)
        self._tried = None
        self._staging.build(tried)
        return self._staging.activate(version)

    def _hold(self, offer: Offer) -> None:
        """Make a version the one that trials start from; with the first one, load the program that derives from it."""
        first = self._holder.current is None
        self._holder.swap(offer.snapshot)
        if first and (derive := derived_by(load_program(self._start.program))) is not None:
            self._staging.derive(derive)
        setproctitle(f"nexus: {self._start.slot} [v{offer.version} {offer.digest[:12]}]")

    def _settle(self) -> None:
        """Have what was replaced closed, and leave what there is out of the collections of each child."""
        for snapshot in (*emptied(self._staging.unused), *self._holder.forget()):
            if self._hooks.retired is not None:
                attempted("the hook retired", self._hooks.retired, snapshot)
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def _discard(self, version: Version) -> None:
        if self._tried is not None and self._tried.version == version:
            self._tried = None

    def _warn_of_threads(self) -> None:
        count = threads()
        if count > 1 and not self._warned:
            self._warned = True
            names = sorted(one.name for one in threading.enumerate() if one is not threading.main_thread())
            _logger.warning(_THREADS, count - 1, ", ".join(names) or "none of Python")

    def _answer(self, kind: type[Staged | Active], message: Stage | Activate, held: Verified | Offer) -> None:
        self._wire.send(kind(self._start.slot, self._start.incarnation, message.push, held.version, held.digest))

    def _refuse(self, message: Stage | Activate, reason: str, why: str) -> None:
        slot, incarnation = self._start.slot, self._start.incarnation
        self._wire.send(Rejected(slot, incarnation, message.push, message.version, reason, why[:MAX_DETAIL]))
