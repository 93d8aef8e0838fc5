"""One zygote as the supervisor sees it: started, asked for workers, ended.

Decided here: what it is told, how a worker's number becomes a child of ours, and when it is of no use: it is stopped,
takes too long, breaks the protocol. Not decided here: what follows from that (``zygotes.py``), and what happens in it
(``agent/zygote.py``).

It runs the program's code, so nothing that it says is taken on trust: a number has to be that of a child that nobody
has claimed.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, assert_never

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
from nexus_supervisor.core.handover import HandedZygote
from nexus_supervisor.supervisor import clock
from nexus_supervisor.supervisor.child import Child, start_child
from nexus_supervisor.supervisor.isolation import RunAs
from nexus_supervisor.supervisor.pipe import Pipe, take_no_descriptors
from nexus_supervisor.wire import close_all

if TYPE_CHECKING:
    import asyncio

    from nexus_supervisor.supervisor.exits import OomKills
    from nexus_supervisor.supervisor.reaper import Reaper

__all__ = ["Launch", "Outcomes", "Plan", "Zygote"]

FORK_SECONDS = 5.0
"""How long a fork may take; it takes milliseconds."""

_MODULE = "nexus_supervisor.agent.zygote"
_CHECK_SECONDS = 0.25
_MOST_AT_ONCE = 8  # forks that are asked for and not answered
_MAX_MESSAGE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold what a zygote is to import, with which environment, as whom, and how long that may take."""

    load: Load
    variables: Mapping[str, str] = field(repr=False)
    run_as: RunAs
    patience_seconds: float

    def serves(self, wanted: Plan) -> bool:
        """Say whether workers of a plan can come from a zygote of this one."""
        mine, theirs = (replace(one.load, log_level="", log_format="") for one in (self, wanted))
        return (mine, self.variables, self.run_as) == (theirs, wanted.variables, wanted.run_as)


class Launch(Protocol):
    """Be one worker that is wanted: one of its three outcomes is called, once, and ``exited`` when it ends."""

    trial: bool
    stdio: tuple[int, int] | None
    wanted: bool
    """Whether it is to be made at all: it may have been given up while it waited."""

    def greet(self, connection: socket.socket) -> None:
        """Write what the process is to find in its pipe, before it is known which process that is."""

    def launched(self, child: Child, connection: socket.socket) -> None:
        """Take the process and our end of its pipe."""

    def failed(self, reason: str) -> None:
        """Take why there is none."""

    def refused(self) -> None:
        """Be exec'd: no zygote can be had."""

    def exited(self, status: str, clean: bool) -> None:  # noqa: FBT001 - the shape of a callback
        """Take the end of the process."""


class Outcomes(Protocol):
    """Hear what becomes of a zygote; the launches are those that it still owes."""

    def loaded(self, zygote: Zygote) -> None:
        """Take that workers can come from it."""

    def forked(self) -> None:
        """Take that a worker came from it."""

    def unfit(self, zygote: Zygote, left_behind: tuple[str, ...], owed: list[Launch]) -> None:
        """Take that it has ended: the program can't be forked."""

    def failed(self, zygote: Zygote, reason: str, owed: list[Launch]) -> None:
        """Take that it has ended: the program can't be imported."""

    def lost(self, zygote: Zygote, status: str, owed: list[Launch]) -> None:
        """Take that it has ended, and said nothing of why."""


@dataclass(frozen=True, slots=True)
class _Asked:
    launch: Launch
    connection: socket.socket
    at: float


class Zygote:
    """Hold one process, from its start to its end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        plan: Plan,
        reaper: Reaper,
        outcomes: Outcomes,
        kills: OomKills | None = None,
        *,
        handed: HandedZygote | None = None,
    ) -> None:
        """Start it, or go on with one that runs; raise OSError where the system refuses, or it runs no more."""
        self.plan, self.loaded = plan, handed is not None
        self._loop, self._reaper, self._outcomes, self._kills = loop, reaper, outcomes, kills
        self._waiting: deque[Launch] = deque()
        self._asked: dict[int, _Asked] = {}
        self._count, self._over = 0 if handed is None else handed.asked, False
        self._child, connection = self._begun() if handed is None else self._resumed(handed)
        take_no_descriptors(connection)
        codecs = (FROM_ZYGOTE, TO_ZYGOTE)
        unread = b"" if handed is None else handed.pipe.unread
        self._pipe: Pipe[FromZygote, ToZygote] = Pipe(
            loop, connection, codecs, self._heard, self._broke, _MAX_MESSAGE_BYTES, unread=unread
        )
        if handed is None:
            self._pipe.send(plan.load)
        self._began = clock.monotonic()
        self._checking = loop.call_later(_CHECK_SECONDS, self._check)

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._child.pid

    def handed(self) -> HandedZygote | None:
        """Return what another one needs to go on; None where it is busy: it is ended then, and started again."""
        if not self.loaded or self._asked or self._waiting or self._over:
            return None
        return HandedZygote(self.pid, self._pipe.handed(), self.plan.load, self._count)

    def _begun(self) -> tuple[Child, socket.socket]:
        return start_child(
            self._loop, _MODULE, self.plan.variables, self._exited, kills=self._kills, run_as=self.plan.run_as
        )

    def _resumed(self, handed: HandedZygote) -> tuple[Child, socket.socket]:
        connection = socket.socket(fileno=handed.pipe.descriptor)
        process = self._reaper.adopt(handed.pid)
        if process is None:
            connection.close()
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return Child(self._loop, process, self._exited, self._kills), connection

    def launch(self, launch: Launch) -> None:
        """Have a worker made, as soon as everything is imported."""
        self._waiting.append(launch)
        self._pump()
        if self._checking.cancelled():
            self._checking = self._loop.call_later(_CHECK_SECONDS, self._check)

    def close(self) -> list[Launch]:
        """End it; return what it owes."""
        self._over = True
        self._checking.cancel()
        self._pipe.close()
        self._child.kill()
        owed = [*(asked.launch for asked in self._asked.values()), *self._waiting]
        for asked in self._asked.values():
            asked.connection.close()  # a worker that was made all the same ends by that
            self._reaper.expect_no_more()
        self._asked.clear()
        self._waiting.clear()
        return owed

    def _pump(self) -> None:
        """Ask for workers that wait, not for too many at a time: each that is asked for takes descriptors."""
        while self.loaded and self._waiting and len(self._asked) < _MOST_AT_ONCE:
            launch = self._waiting.popleft()
            if launch.wanted:
                self._ask(launch)
            else:
                launch.failed("it was given up before it was started")

    def _ask(self, launch: Launch) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            launch.failed(f"no descriptors are free: {error.strerror}")
            return
        self._count += 1
        self._asked[self._count] = _Asked(launch, ours, clock.monotonic())
        self._reaper.expect()
        with theirs:
            descriptors = [theirs.fileno(), *(launch.stdio or ())]
            self._pipe.send(Fork(self._count, launch.trial, launch.stdio is not None), descriptors)
        launch.greet(ours)

    def _heard(self, message: FromZygote, descriptors: list[int]) -> None:
        close_all(descriptors)
        match message:
            case Loaded():
                self._loaded(message)
            case NotLoaded():
                self._outcomes.failed(self, message.reason, self.close())
            case Forked() | NotForked():
                asked = self._asked.get(message.number)
                if asked is None:
                    self._child.kill()
                elif isinstance(message, Forked):
                    self._forked(message, asked)
                else:
                    self._answered(message.number)
                    asked.connection.close()
                    asked.launch.failed(message.reason)
            case _:
                assert_never(message)
        self._pump()

    def _loaded(self, message: Loaded) -> None:
        if message.unfit:
            self._outcomes.unfit(self, message.unfit, self.close())
        else:
            self.loaded = True
            self._outcomes.loaded(self)

    def _forked(self, message: Forked, asked: _Asked) -> None:
        process = self._reaper.adopt(message.pid)
        if process is None:  # it lies; whatever it has made finds its pipe closed
            self._child.kill()
            return
        launch = asked.launch
        child = Child(self._loop, process, launch.exited, self._kills)
        self._answered(message.number)
        self._outcomes.forked()
        launch.launched(child, asked.connection)

    def _answered(self, number: int) -> None:
        del self._asked[number]
        self._reaper.expect_no_more()

    def _broke(self, _: str | None) -> None:
        """End it: it has left, or broke the protocol; its exit is reported."""
        self._child.kill()

    def _exited(self, status: str, _: bool) -> None:  # noqa: FBT001 - the shape of a callback
        if not self._over:
            self._outcomes.lost(self, status, self.close())

    def _check(self) -> None:
        """End it where it doesn't do what is waited for."""
        now = clock.monotonic()
        oldest = min((asked.at for asked in self._asked.values()), default=now)
        if not self.loaded and now - self._began > self.plan.patience_seconds:
            patience = f"{self.plan.patience_seconds:g} s (rollout.start_timeout_seconds)"
            reason = f"program {self.plan.load.name} was not imported within {patience}"
            self._outcomes.failed(self, reason, self.close())
        elif now - oldest > FORK_SECONDS or self._child.stopped:
            self._child.kill()
        if not self._over and (not self.loaded or self._asked or self._waiting):
            self._checking = self._loop.call_later(_CHECK_SECONDS, self._check)
        else:
            self._checking.cancel()
