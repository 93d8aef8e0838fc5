"""The workers: what they say, what is noted of it, and which processes there have to be.

Decided here: which word of a worker counts, when one is ended, what a starting one boots, which slots get a new
process. Not decided here: how a version moves through them (``rollout.py``) and the facts themselves (``roster.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from nexus_supervisor.core import crew_says, restarts
from nexus_supervisor.core.effects import Effect, Send, SendStage, Spawn
from nexus_supervisor.core.events import Spawned, SpawnFailed, WorkerExited, WorkerSaid
from nexus_supervisor.core.lifecycle import Life, Word
from nexus_supervisor.core.losses import Losses
from nexus_supervisor.core.messages import (
    Activate,
    Active,
    Booted,
    Drain,
    Drained,
    Erred,
    FromWorker,
    Probed,
    Ready,
    Rejected,
    Retired,
    Staged,
)
from nexus_supervisor.core.rollout import MOVING, Kind, Phase
from nexus_supervisor.core.roster import NEVER, Process, Slot

if TYPE_CHECKING:
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.content import Digest, Version
    from nexus_supervisor.core.steering import Steering

__all__ = ["Crew"]

_MOST_CHARACTERS = 300
"""So much of what a worker says of an exception is kept."""

_FENCE_SECONDS = 5.0
"""How long a worker that was silent may finish what is in hand before it is ended."""

_LOOP_DEATHS = 2
"""A slot with so many deaths in a row dies of what it runs, whatever it is sent meanwhile."""


def _moment(told: float | None, now: float) -> float | None:
    return None if told is None else min(max(told, 0.0), now)


class Crew:
    """Keep a process in every slot; ``losses`` takes those that are gone off the roster."""

    def __init__(self, board: Board, steering: Steering) -> None:
        self._board, self._steering = board, steering
        self.losses = Losses(board, steering)

    def resume(self) -> None:
        """Go on with workers that serve already."""
        self.losses.served()

    def note(self, event: Spawned | SpawnFailed | WorkerExited | WorkerSaid, now: float) -> None:
        """Take one event about a process; a late word of one that is gone changes nothing."""
        match event:
            case Spawned():
                self._spawned(event)
            case SpawnFailed():
                self._spawn_failed(event, now)
            case WorkerExited():
                self._exited(event.slot, event.incarnation, event.status, now, clean=event.clean)
            case WorkerSaid():
                self._said(event.message, now)
            case _:
                assert_never(event)

    def _spawned(self, event: Spawned) -> None:
        process = self._board.roster.get(event.slot, event.incarnation)
        if process is not None:
            self._board.roster.put(replace(process, pid=event.pid))
            self._board.announce(crew_says.slot_started(process, event.pid))

    def _spawn_failed(self, event: SpawnFailed, now: float) -> None:
        """Note a process that there never was: whatever it was to run is not to blame."""
        process, status = self._board.roster.get(event.slot, event.incarnation), f"could not be started: {event.reason}"
        if process is None:
            return
        self._board.announce(crew_says.exited(process, status, expected=False))
        if process.live:
            self.strike(process, f"{process.slot} {status}", blamed=False)
        self.losses.lost(process, status, now, clean=False)

    def _said(self, message: FromWorker, now: float) -> None:
        process = self._board.roster.get(message.slot, message.incarnation)
        if process is None:
            return
        match message:
            case Retired():
                self._retired(process, message, now)
            case Drained():
                self._board.announce(crew_says.slot_drained(process, message.cut))
            case Erred():
                self._erred(process, message)
            case Booted() | Ready() | Staged() | Active() | Rejected() | Probed():
                if process.live:
                    self._moves(process, message, now)
            case _:
                assert_never(message)

    def _moves(
        self, process: Process, message: Booted | Ready | Staged | Active | Rejected | Probed, now: float
    ) -> None:
        """Note how far a process is; an answer to an earlier push than the last one is passed over."""
        match message:
            case Booted():
                self._board.roster.put(replace(process, booted=True))
            case Ready():
                self._ready(process, now)
            case _ if message.push != process.push or message.version != process.told:
                pass
            case Staged():
                self._staged(process, message)
            case Active():
                self._active(process, message, now)
            case Rejected():
                self._rejected(process, message)
            case Probed():
                self._probed(process, message)
            case _:
                assert_never(message)

    def _erred(self, process: Process, message: Erred) -> None:
        """Note the first exception of those that moved first: it says more than any figure."""
        rollout = self._board.rollout
        if rollout is not None and rollout.version == message.version and rollout.is_watched(process):
            rollout.first_error = rollout.first_error or message.what[:_MOST_CHARACTERS]

    def _probed(self, process: Process, message: Probed) -> None:
        rollout = self._board.rollout
        if rollout is not None and rollout.bake is not None and rollout.version == message.version:
            rollout.bake.probed(process.slot, message.outcome, message.detail)

    def _expected(self, version: Version) -> Digest | None:
        """Return the content that a version was sent with."""
        rollout = self._board.rollout
        return rollout.digest if rollout and rollout.version == version else self._board.history.digest

    def _retired(self, process: Process, message: Retired, now: float) -> None:
        """Note the oldest version in use: it never goes back, and is none that the worker doesn't serve.

        Times are the worker's word: none is before the machine's start or after now.
        """
        if not (process.oldest or 0) <= message.oldest <= (process.active or 0):
            return
        replaced = message.replaced_at if message.oldest != process.active else None
        lingering = max(0, message.lingering)
        since = message.lingering_since if lingering else None
        changed = replace(
            process,
            oldest=message.oldest,
            replaced_at=_moment(replaced, now),
            lingering=lingering,
            lingering_since=_moment(since, now),
        )
        self._board.roster.put(changed)
        if message.oldest != process.oldest:
            self._board.announce(crew_says.retired(process, message.oldest))
        if bool(lingering) != bool(process.lingering):
            self._board.announce(crew_says.lingering(changed) if lingering else crew_says.lingers_no_more(changed))

    def _staged(self, process: Process, message: Staged) -> None:
        if process.activating or message.version in (process.staged, process.active):
            return
        if message.digest != self._expected(message.version):
            self._distrust(process, f"it staged content {message.digest[:12]}, not what was sent")
            return
        self._board.roster.put(replace(process, staged=message.version, deadline=NEVER))
        self._board.announce(crew_says.staged(process, message.version))

    def _active(self, process: Process, message: Active, now: float) -> None:
        if message.version == process.active:
            if process.deadline != NEVER:
                self._board.roster.put(replace(process, active_since=now, deadline=NEVER))
            return
        if not process.activating or message.digest != self._expected(message.version):
            self._distrust(process, f"it activated content {message.digest[:12]}, which it was not told to")
            return
        moved, oldest = process.activated(message.version, message.digest), process.oldest or message.version
        self._board.roster.put(replace(moved, active_since=now, oldest=oldest, deadline=NEVER))
        self._board.announce(crew_says.active(process, message.version))

    def _rejected(self, process: Process, message: Rejected) -> None:
        self._board.announce(crew_says.worker_rejected(process, message))
        if message.reason != "model":
            self._distrust(process, f"{message.reason}: {message.detail}")
            return
        rollout = self._board.rollout
        if rollout is not None and rollout.version == message.version:
            rollout.fail(f"{process.slot} refused it: {message.detail}")
        if process.active is None or rollout is None or not rollout.ended:
            self._board.kill([process])

    def _distrust(self, process: Process, reason: str) -> None:
        """End a worker that is silent or doesn't hold what it was sent; a new one starts from nothing."""
        self._board.announce(crew_says.fenced(process, reason))
        self.strike(process, f"{process.slot} was ended on it: {reason}")
        self._board.kill([process])

    def strike(self, process: Process, reason: str, *, blamed: bool = True) -> None:
        """Have a loss judged by the rollout that runs, if any; ``blamed``: by what it ran, or may have run."""
        rollout, slot = self._board.rollout, self._board.roster.slots.get(process.slot)
        if rollout is not None:
            loops = slot is not None and slot.deaths >= _LOOP_DEATHS
            rollout.strike(process, reason, loops=loops, blamed=blamed)

    def _fence(self, process: Process, now: float) -> None:
        """Cut off a worker that is silent: what it has in hand may end within a bound, then it is ended.

        One that serves nobody yet is ended at once.
        """
        reason = "it did not answer in time"
        if process.life is not Life.READY:
            self._distrust(process, reason)
            return
        self._board.announce(crew_says.fenced(process, reason))
        self.strike(process, f"{process.slot} was ended on it: {reason}")
        timeout = min(_FENCE_SECONDS, float(self._board.settings.daemon.shutdown.drain_timeout_seconds))
        changed = self._board.roster.word(process, Word.DRAIN, now + timeout)
        self._board.roster.put(replace(changed, fenced=True))
        order: Effect = Send(process.slot, process.incarnation, Drain(timeout))
        self._board.emit(order)

    def _ready(self, process: Process, now: float) -> None:
        if process.life is Life.READY:
            return
        if process.active is None:
            self._distrust(process, "it says that it serves, and has no version to serve")
            return
        changed = self._board.roster.word(process, Word.SERVES)
        self._board.roster.put(replace(changed, ready_since=now))
        self._board.announce(crew_says.slot_ready(process))
        self.losses.served()

    def _exited(self, slot: str, incarnation: int, status: str, now: float, *, clean: bool) -> None:
        process = self._board.roster.get(slot, incarnation)
        if process is None:
            return
        board = self._board
        restart = restarts.type_of(process.program, board.settings_of(process))
        finished = clean and restarts.is_over(restart, clean=clean)
        expected = clean and (process.life is Life.DRAINING or finished)
        board.announce(crew_says.exited(process, status, expected=expected))
        if process.live and not finished:
            self.strike(process, f"{slot} was lost on it: {status}")
            self._steering.condemn(process, status, now)
        self.losses.lost(process, status, now, clean=clean)

    def fence(self, now: float) -> None:
        """End processes that have been silent past their deadline."""
        for process in self._board.roster.overdue(now):
            if process.live:
                self._fence(process, now)
            else:
                self._board.announce(crew_says.fenced(process, "it did not finish in time"))
                self._board.kill([process])

    def boot(self, now: float) -> None:
        """Send processes that have just booted their first version."""
        for process in self._board.roster.live():
            if not process.booted:
                continue
            if process.told is None:
                version = self._boots(process)
                if version is not None:
                    told = self._board.roster.tell(process, version)
                    self._board.emit(SendStage(told.slot, told.incarnation, told.push, version, ()))
            elif self._activates_by_itself(process):
                timeout = self._board.settings.supervisor.rollout.activate_timeout_seconds
                self._board.roster.put(replace(process, activating=True, deadline=now + timeout))
                message = Activate(process.push, process.told)
                self._board.emit(Send(process.slot, process.incarnation, message))

    def _activates_by_itself(self, process: Process) -> bool:
        """Say whether a booting process has staged its first version, which no wave has to wait for."""
        rollout = self._board.rollout
        waits = (
            rollout is not None and process.told == rollout.version and process in rollout.moving(self._board.roster)
        )
        return process.active is None and process.staged is not None and not process.activating and not waits

    def _boots(self, process: Process) -> Version | None:
        """Return the version that a starting process gets: the committed one, unless a rollout started it.

        Where a version is about to be committed, no process may be told an older one any more, and where it comes by a
        restart, none that was started before it may be told that. Where no process runs at all, nothing speaks for the
        committed version, and where it is condemned, something speaks against it: the one on its way is tried.
        """
        rollout = self._board.rollout
        if rollout is not None and rollout.started(process):
            return rollout.version
        if rollout is not None and rollout.phase is Phase.COMMITTING:
            return None if rollout.kind is Kind.RESTART else rollout.version
        if rollout is not None and rollout.phase in MOVING and not rollout.slots:
            others = [one for one in rollout.moving(self._board.roster) if one.key != process.key]
            if not others or rollout.automatic:
                return rollout.version
        return self._board.history.version

    def relieve(self, now: float) -> None:
        """Drain processes that leave where another one of their slot is ready; not while a version is on its way.

        Where the other one is done already, and so its slot is, there is nothing more to wait for.
        """
        roster = self._board.roster
        done = {slot.name for slot in roster.slots.values() if slot.stopped}
        self._board.drain([one for one in roster.live() if one.leaving and one.slot in done], now)
        if self._board.rollout is not None:
            return
        ready = {one.slot for one in roster.live() if one.life is Life.READY and not one.leaving}
        self._board.drain([one for one in roster.live() if one.leaving and one.slot in ready], now)

    def _fits(self, slot: Slot) -> bool:
        """Say whether one process more may start: what had one before comes back a few at a time."""
        board = self._board
        if not slot.last_exit and not any(board.roster.of(slot.name)):
            return True
        most = board.settings.supervisor.rollout.max_parallel.of(max(1, len(board.roster.slots)))
        starting = [one for one in board.roster.live() if one.life is Life.STARTING and one.purpose is None]
        return len(starting) < most

    def fill(self, now: float) -> None:
        """Start a process in every empty slot, once it is settled which version it gets."""
        board, committed, rollout = self._board, self._board.history.committed, self._board.rollout
        empty = board.roster.empty(now, relieved=rollout is None)
        if committed is None:
            return
        if rollout is not None and (rollout.kind is Kind.BOOT or rollout.phase is Phase.COMMITTING):
            return
        replaced: tuple[str, ...] = ()
        if rollout is not None and rollout.phase in MOVING:
            now_replaced = rollout.slots if rollout.phase is Phase.WAVE else rollout.canaries
            replaced = tuple(slot for slot in now_replaced if slot in rollout.slots)
        for slot in empty:
            if slot.name not in replaced and self._fits(slot):
                process = board.roster.add(slot.name, slot.number, now, board.settings, None)
                digest, floor = committed.digest, committed.version
                board.emit(Spawn(slot.name, slot.number, process.incarnation, digest, floor, program=slot.program))
