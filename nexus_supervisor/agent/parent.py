"""The parent: the supervisor as a worker sees it, at the other end of one socket.

Decided here: what each message of the supervisor leads to, and that its death ends this process. Not decided here:
which offers are accepted (``staging.py``), when a version is retired (``holder.py``), how a program ends.

One thread receives and answers. A second one sends what others have to say, so that neither a request nor a signal ever
waits for the supervisor: they only put a word into a queue.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, assert_never

from setproctitle import setproctitle

from nexus_supervisor.agent.drain import isolated, wait_for
from nexus_supervisor.agent.holder import Holder
from nexus_supervisor.agent.log import say
from nexus_supervisor.agent.staging import NOT_APPLICABLE, Derive, Offer, Parts, Refusal, Staging
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import (
    Activate,
    Active,
    Discard,
    Drain,
    Drained,
    FromWorker,
    Ready,
    Rejected,
    Retired,
    Stage,
    Staged,
    Start,
    ToWorker,
)
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.errors import ProtocolError
from nexus_supervisor.wire import Wire, close_all, received_payload

if TYPE_CHECKING:
    from nexus_supervisor.agent.drain import DrainState

__all__ = ["Activated", "Parent"]

Activated = Callable[[Snapshot], object]
"""Called in the agent's thread after a version became current."""

_MAX_PAYLOAD_BYTES = 1 << 30
_LARGE_CHANGE = 1_000  # entries; so many new objects are better left out of later garbage collections
_LAST_WORDS_SECONDS = 2.0
_MAX_DETAIL = 4_000  # characters of why a version is refused: what is longer is no sentence


class _Word(Enum):
    """Say to the sending thread what isn't a message."""

    released = auto()
    drain = auto()
    end = auto()


class Parent:
    """Talk to the supervisor for one worker."""

    def __init__(self, wire: Wire[ToWorker, FromWorker], start: Start, staging: Staging, drain: DrainState) -> None:
        self.holder = Holder(self._note_release)
        self._wire, self._start, self._staging, self._drain = wire, start, staging, drain
        self._outbox: SimpleQueue[FromWorker | _Word] = SimpleQueue()
        self._deciding, self._reporting = Lock(), Lock()
        self._begun = Event()
        self._oldest = Version(0)
        self._activated: list[Activated] = []
        self._threads = [Thread(target=run, name=name, daemon=True) for name, run in self._roles().items()]
        drain.on_drain(self._begun.set)

    def _roles(self) -> dict[str, Callable[[], None]]:
        return {"nexus-parent": self._listen, "nexus-words": self._speak}

    def begin(self) -> bool:
        """Start talking and wait for the first version; return False where the end was ordered before one came."""
        for thread in self._threads:
            thread.start()
        wait_for(self._begun)
        return self.holder.current is not None and not self._drain.draining

    def ready(self) -> None:
        """Tell that the program serves."""
        self._outbox.put(Ready(self._start.slot, self._start.incarnation))

    def drain(self) -> None:
        """Begin to drain as if the supervisor had ordered it; may be called from a signal handler."""
        self._outbox.put(_Word.drain)

    def derive(self, derive: Derive) -> None:
        """Build what the program derives, now and at every later staging."""
        with self._deciding:
            self._staging.derive(derive)

    def on_activated(self, callback: Activated) -> None:
        """Call back after each later activation, in the agent's thread."""
        self._activated.append(callback)

    def finish(self) -> None:
        """Say the last words: nothing is in hand any more. They are given a moment, not for ever."""
        self._outbox.put(Drained(self._start.slot, self._start.incarnation))
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
            self._end_without_supervisor()

    def _end_without_supervisor(self) -> None:
        """Decide what a worker does whose supervisor is gone: finish what is in hand, then exit."""
        self._drain.begin(self._start.drain_timeout_seconds)

    def _handle(self, message: ToWorker, descriptors: list[int]) -> None:
        if not isinstance(message, Stage):
            close_all(descriptors)
        match message:
            case Stage():
                self._stage(message, descriptors)
            case Activate():
                self._activate(message)
            case Discard():
                with self._deciding:
                    self._staging.discard(message.version)
            case Drain():
                self._drain.begin(message.timeout_seconds)
            case Start():
                text = "a second Start arrived"
                raise ProtocolError(text)
            case _:
                assert_never(message)

    def _stage(self, message: Stage, descriptors: list[int]) -> None:
        try:
            parts = _beside(message, descriptors)
            with self._deciding:
                offer = self._staging.stage(message, parts)
        except Refusal as refusal:
            self._refuse(message, refusal.reason, str(refusal))
        except (ProtocolError, OSError) as error:
            self._refuse(message, NOT_APPLICABLE, str(error))
        else:
            self._answer(Staged, message, offer)

    def _activate(self, message: Activate) -> None:
        try:
            with self._deciding, self._reporting:  # no Retired may overtake the Active that it follows from
                offer = self._staging.activate(message.version)
                fresh = self.holder.current is not offer.snapshot
                if fresh:
                    self.holder.swap(offer.snapshot)
                self._answer(Active, message, offer)
        except Refusal as refusal:
            self._refuse(message, refusal.reason, str(refusal))
            return
        if fresh:
            self._settle(offer)

    def _settle(self, offer: Offer) -> None:
        """Do what follows an activation and need not come before its answer."""
        self._report_oldest()
        setproctitle(f"nexus: {self._start.slot} [v{offer.version}]")
        if offer.built.fresh > _LARGE_CHANGE:
            gc.freeze()
        for callback in self._activated:
            isolated(partial(callback, offer.snapshot))
        self._begun.set()

    def _answer(self, kind: type[Staged | Active], message: Stage | Activate, offer: Offer) -> None:
        self._wire.send(kind(self._start.slot, self._start.incarnation, message.push, offer.version, offer.digest))

    def _refuse(self, message: Stage | Activate, reason: str, detail: str) -> None:
        slot, incarnation = self._start.slot, self._start.incarnation
        detail = detail[:_MAX_DETAIL]
        self._wire.send(Rejected(slot, incarnation, message.push, message.version, reason, detail))

    def _speak(self) -> None:
        """Send what others have to say, until the end or until the supervisor is gone."""
        while (word := self._outbox.get()) is not _Word.end:
            try:
                if word is _Word.released:
                    self._report_oldest()
                elif word is _Word.drain:
                    self._drain.begin(self._start.drain_timeout_seconds)
                elif not isinstance(word, _Word):
                    self._wire.send(word)
            except OSError:
                return  # the supervisor is gone; whoever receives decides what that means

    def _note_release(self) -> None:
        self._outbox.put(_Word.released)

    def _report_oldest(self) -> None:
        """Tell which version is the oldest in use, whenever that has risen."""
        with self._reporting:
            oldest = self.holder.oldest()
            if oldest is None or oldest <= self._oldest:
                return
            self._oldest = oldest
            self._wire.send(Retired(self._start.slot, self._start.incarnation, oldest))


def _beside(message: Stage, descriptors: list[int]) -> Parts:
    """Return what an offer brings, wherever it traveled; raise ProtocolError where it isn't what was said."""
    announced = (message.payload_beside, message.secrets_beside, message.rows_beside)
    if len(descriptors) != sum(announced):
        close_all(descriptors)
        text = f"{len(descriptors)} descriptors arrived beside an offer that announces {sum(announced)}"
        raise ProtocolError(text)
    rest = list(descriptors)
    inline = (message.payload, None, message.rows)
    try:
        found = [
            received_payload(part, rest.pop(0) if beside else None, _MAX_PAYLOAD_BYTES)
            for part, beside in zip(inline, announced, strict=True)
        ]
    except BaseException:
        close_all(rest)
        raise
    return Parts(*found)
