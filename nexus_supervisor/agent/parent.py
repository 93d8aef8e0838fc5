"""The parent: the supervisor as a worker sees it, at the other end of one socket.

Decided here: what each message of the supervisor leads to, and that its death ends this process. Not decided here:
which offers are accepted (``staging.py``), when a version is retired (``holder.py``), how a program ends.

One thread receives, so that the order to end and the supervisor's death are noticed at any time. The others take from
queues: one moves from version to version as it is told, and answers; one sends what others have to say, so that neither
a request nor a signal ever waits for the supervisor; one does what follows from an activation or from the end of a
request. The hook ``prepare`` is called by the second, ``activated`` and ``retired`` by the last: they may take long.
``probe`` has a thread of its own (``probing.py``).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, assert_never

from setproctitle import setproctitle

from nexus_supervisor.agent.drain import isolated, wait_for
from nexus_supervisor.agent.holder import Cell, Holder
from nexus_supervisor.agent.hooked import attempted
from nexus_supervisor.agent.log import say
from nexus_supervisor.agent.parts import parts_of
from nexus_supervisor.agent.probing import Probing
from nexus_supervisor.agent.retirement import Lingering, Retirement
from nexus_supervisor.agent.staging import MAX_DETAIL, NOT_APPLICABLE, Derive, Offer, Refusal, Staging, emptied
from nexus_supervisor.agent.stdio import Stdio
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import (
    Activate,
    Active,
    Discard,
    Drain,
    Drained,
    Erred,
    FromWorker,
    Limit,
    Probe,
    Ready,
    Rejected,
    Retired,
    Stage,
    Staged,
    Start,
    ToWorker,
)
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.errors import NexusError, ProtocolError
from nexus_supervisor.models.importing import place_of
from nexus_supervisor.wire import Wire, close_all

if TYPE_CHECKING:
    from nexus_supervisor.agent.drain import DrainState
    from nexus_supervisor.agent.holder import Oldest
    from nexus_supervisor.agent.shared import SharedCounters
    from nexus_supervisor.models.hooks import Hooks

__all__ = ["Activated", "Parent"]

Activated = Callable[[Snapshot], object]
"""Called in a thread of the agent after a version became current."""

_MAX_WHAT = 300  # characters of which exception left a request, and where
_LARGE_CHANGE = 1_000  # entries; so many new objects are better left out of later garbage collections
_LAST_WORDS_SECONDS = 2.0


class _Word(Enum):
    """Say to the sending thread what isn't a message."""

    drain = auto()
    end = auto()


class Parent:
    """Talk to the supervisor for one worker."""

    def __init__(
        self,
        wire: Wire[ToWorker, FromWorker],
        start: Start,
        staging: Staging,
        drain: DrainState,
        hooks: Hooks,
        counters: SharedCounters,
    ) -> None:
        self.holder = Holder(self._note_release)
        self._counters = counters
        self._wire, self._start, self._staging, self._drain = wire, start, staging, drain
        self._outbox: SimpleQueue[FromWorker | _Word] = SimpleQueue()
        self._moves: SimpleQueue[tuple[Stage | Activate | Discard, list[int]]] = SimpleQueue()
        self._chores: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._deciding, self._answering = Lock(), Lock()
        self._begun, self._closed = Event(), Event()
        self._retirement, self._activation = Retirement(hooks.retired), hooks.activated
        self._probing = Probing(hooks.probe, start, self.holder, self._outbox.put)
        self._over = False
        self._erred = 0
        self._told: tuple[Oldest, Lingering] | None = None
        self._stdio = Stdio()
        self._activated: list[Activated] = []
        self._threads = [Thread(target=run, name=name, daemon=True) for name, run in self._roles().items()]
        drain.on_drain(self._begun.set)

    def _roles(self) -> dict[str, Callable[[], None]]:
        return {
            "nexus-parent": self._listen,
            "nexus-words": self._speak,
            "nexus-moves": self._move,
            "nexus-hooks": self._follow,
        }

    def begin(self) -> bool:
        """Start talking and wait for the first version; return False where the end was ordered before one came."""
        for thread in self._threads:
            thread.start()
        wait_for(self._begun)
        return self.holder.current is not None and not self._drain.draining

    @property
    def max_snapshot_seconds(self) -> float:
        """Return how long a request may go on with a version that was replaced, by the newest version; 0: for ever."""
        newest = self._staging.current
        return 0.0 if newest is None else newest.built.max_snapshot_seconds

    @property
    def tls(self) -> Any:
        """Return what connections of the newest version are secured with; None: nothing."""
        newest = self._staging.current
        return None if newest is None else newest.tls

    def ready(self) -> None:
        """Tell that the program serves."""
        self._outbox.put(Ready(self._start.slot, self._start.incarnation))

    def erred(self, version: int, error: BaseException) -> None:
        """Tell of the first exception that leaves a request of a version."""
        if version > self._erred:
            self._erred = version
            what = str(error) if isinstance(error, NexusError) else f"{type(error).__name__}{place_of(error)}"
            self._outbox.put(Erred(self._start.slot, self._start.incarnation, Version(version), what[:_MAX_WHAT]))

    def drain(self) -> None:
        """Begin to drain as if the supervisor had ordered it; may be called from a signal handler."""
        self._outbox.put(_Word.drain)

    def derive(self, derive: Derive) -> None:
        """Build what the program derives, now and at every later staging."""
        with self._deciding:
            self._staging.derive(derive)

    def on_activated(self, callback: Activated) -> None:
        """Call back after each later activation, in a thread of the agent."""
        self._activated.append(callback)

    def close(self) -> None:
        """Retire whatever is held: the program has ended. The application's hooks have until the drain deadline."""
        self._chores.put(self._finish_moving)
        self._closed.wait(max(0.0, (self._drain.deadline or 0.0) - time.monotonic()))

    def finish(self) -> None:
        """Say the last words: nothing is in hand any more. They are given a moment, not for ever."""
        self._outbox.put(Drained(self._start.slot, self._start.incarnation, self._drain.cut))
        self._end_words()

    def failed(self, error: Exception) -> None:
        """Tell why the program ends, as the last words: a restart that fails for it says so."""
        if (snapshot := self.holder.current) is not None:
            self.erred(snapshot.version, error)
        self._end_words()

    def _end_words(self) -> None:
        self._outbox.put(_Word.end)
        self._threads[1].join(_LAST_WORDS_SECONDS)

    def _listen(self) -> None:
        """Receive until the supervisor is gone, or says what the protocol doesn't allow."""
        try:
            while (received := self._wire.receive()) is not None:
                self._handle(*received)
        except (ProtocolError, OSError) as error:
            say(f"nexus worker {self._start.slot}: the supervisor can't be understood: {error}")
        finally:
            self._stdio.without_reader()
            self._end_without_supervisor()

    def _end_without_supervisor(self) -> None:
        """Decide what a worker does whose supervisor is gone: finish what is in hand, then exit."""
        self._drain.begin(self._start.drain_timeout_seconds)

    def _handle(self, message: ToWorker, descriptors: list[int]) -> None:
        if not isinstance(message, Stage):
            close_all(descriptors)
        match message:
            case Stage() | Activate() | Discard():
                self._moves.put((message, descriptors))
            case Drain():
                self._drain.begin(message.timeout_seconds)
            case Probe():
                self._probing.begin(message)
            case Start() | Limit():
                text = "a second Start arrived" if isinstance(message, Start) else "Limit is for the trial worker only"
                raise ProtocolError(text)
            case _:
                assert_never(message)

    def _move(self) -> None:
        """Stage, activate and discard, one after the other; a mistake of ours in that ends this process."""
        try:
            while True:
                with suppress(OSError):  # the supervisor is gone: whoever receives decides what that means
                    self._take(*self._moves.get())
        finally:
            self._end_without_supervisor()

    def _take(self, message: Stage | Activate | Discard, descriptors: list[int]) -> None:
        match message:
            case Stage():
                self._stage(message, descriptors)
            case Activate():
                self._activate(message)
            case Discard():
                with self._deciding:
                    self._staging.discard(message.version)
                self._note_release()
            case _:
                assert_never(message)

    def _stage(self, message: Stage, descriptors: list[int]) -> None:
        try:
            parts = parts_of(message, descriptors)
            with self._deciding:
                if self._over:
                    return
                offer = self._staging.stage(message, parts)
        except Refusal as refusal:
            self._refuse(message, refusal.reason, str(refusal))
        except (ProtocolError, OSError) as error:
            self._refuse(message, NOT_APPLICABLE, str(error))
        else:
            self._answer(Staged, message, offer)
        self._note_release()  # what was staged before may be of no use any more

    def _activate(self, message: Activate) -> None:
        before = Cell(self.holder)  # a pin of our own: the hook gets a snapshot that isn't retired meanwhile
        try:
            with self._deciding, self._answering:  # no Retired may overtake the Active that it follows from
                if self._over:
                    return
                offer = self._staging.activate(message.version)
                fresh = self.holder.current is not offer.snapshot
                if fresh:
                    if self.holder.current is not None:
                        self.holder.pin(before)
                    self._counters.activated(offer.version)
                    self.holder.swap(offer.snapshot)
                self._answer(Active, message, offer)
                if fresh:
                    self._chores.put(partial(self._settle, before, offer))
                    setproctitle(f"nexus: {self._start.slot} [v{offer.version} {offer.digest[:12]}]")
        except Refusal as refusal:
            self._refuse(message, refusal.reason, str(refusal))

    def _settle(self, before: Cell, offer: Offer) -> None:
        """Do what follows an activation and need not come before its answer."""
        if offer.built.fresh > _LARGE_CHANGE:
            gc.freeze()
        if self._activation is not None:
            attempted("the hook activated", self._activation, before.snapshot, offer.snapshot)
        for callback in self._activated:
            isolated(partial(callback, offer.snapshot))
        self.holder.release(before)
        self._note_release()
        self._begun.set()

    def _answer(self, kind: type[Staged | Active], message: Stage | Activate, offer: Offer) -> None:
        self._wire.send(kind(self._start.slot, self._start.incarnation, message.push, offer.version, offer.digest))

    def _refuse(self, message: Stage | Activate, reason: str, detail: str) -> None:
        slot, incarnation = self._start.slot, self._start.incarnation
        detail = detail[:MAX_DETAIL]
        self._wire.send(Rejected(slot, incarnation, message.push, message.version, reason, detail))

    def _speak(self) -> None:
        """Send what others have to say, until the end."""
        while (word := self._outbox.get()) is not _Word.end:
            if word is _Word.drain:
                self._drain.begin(self._start.drain_timeout_seconds)
            elif not isinstance(word, _Word):
                self._say(word)

    def _follow(self) -> None:
        """Do what follows from activations and releases, one after the other, until everything is retired."""
        while not self._closed.is_set():
            self._next_chore()()

    def _next_chore(self) -> Callable[[], None]:
        """Wait for a chore, and where something may linger, no longer than until it is time to look."""
        try:
            return self._chores.get(timeout=self._retirement.look_in())
        except Empty:
            return self._retire

    def _say(self, message: FromWorker) -> None:
        """Send a message; where the supervisor is gone, whoever receives decides what that means."""
        with suppress(OSError):
            self._wire.send(message)

    def _note_release(self) -> None:
        self._chores.put(self._retire)

    def _retire(self) -> None:
        """Tell what is in use and what lingers, where that has changed; then retire what no request uses any more."""
        ended = [*emptied(self._staging.unused), *self.holder.forget()]
        lingering = self._retirement.look()
        with self._answering:
            oldest = self.holder.oldest()
            if oldest is not None and (oldest, lingering) != self._told:
                self._told = oldest, lingering
                self._say(Retired(self._start.slot, self._start.incarnation, *oldest, *lingering))
        self._retirement.retire(ended)

    def _finish_moving(self) -> None:
        """Move no further, and retire everything once the hooks are told of what was activated."""
        with self._deciding:
            self._over = True
            self._staging.close()
        self._chores.put(self._retire_all)

    def _retire_all(self) -> None:
        """Retire everything, used or not."""
        self._retirement.retire([*emptied(self._staging.unused), *self.holder.everything()])
        self._closed.set()
