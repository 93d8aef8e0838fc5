"""The trial worker as the fleet sees it: a process without traffic that meets every candidate first.

Decided here: when there has to be one, which content it holds, and what its answers say about a version. Not decided
here: which versions are tried (``waves.py``, ``moving.py``) and how (``agent/trial.py``). It is no slot of the fleet:
it serves nobody, and its death costs nobody anything.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from nexus_supervisor.core import crew_says, trial_says
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.effects import Kill, Send, SendStage, Spawn
from nexus_supervisor.core.events import Spawned, SpawnFailed, WorkerExited, WorkerSaid
from nexus_supervisor.core.lifecycle import Life, Word
from nexus_supervisor.core.messages import Activate, Active, Booted, Discard, FromWorker, Limit, Rejected, Staged
from nexus_supervisor.core.roster import NEVER, Process, Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.content import Digest

__all__ = ["TRIAL_SLOT", "Tried", "Trying"]

TRIAL_SLOT = "trial"

_GRACE_SECONDS = 5.0
"""How much longer than a trial may take its answer may: it is the trial worker that ends a trial."""

_LOSSES = 2
"""So many trial workers lost on one version are the version's fault; one may be anybody's."""


class Tried(NamedTuple):
    """Hold what a trial said: the version, and why it is refused; "" where it passed."""

    version: Version
    refusal: str


class Trying:
    """Keep one trial worker that holds what is committed, and have it try what is next."""

    def __init__(self, board: Board, jitter: Callable[[], float], incarnations: Mapping[str, int]) -> None:
        self._board = board
        self._roster = Roster(jitter, incarnations)
        self._roster.resize([TRIAL_SLOT])
        self._wanted: tuple[Version, Digest] | None = None
        self._digests: dict[Version, Digest] = {}
        self._sent: tuple[int, Version] | None = None
        self._losses = 0
        self.tried: Tried | None = None

    # --- what is wanted ------------------------------------------------------------------------------------------

    def want(self, version: Version, digest: Digest) -> None:
        """Have a version tried; it stays wanted until it was, or is forgotten."""
        if self._wanted is None or self._wanted[0] != version:
            self._wanted, self.tried, self._losses = (version, digest), None, 0

    def forget(self, version: Version) -> None:
        """Want no trial of a version any more; one that is under way is left. What is committed it goes on to take."""
        if self._wanted is not None and self._wanted[0] == version:
            self._wanted = self.tried = None
        process = self.process
        if process is None or version == self._board.history.version:
            return
        if process.live and process.told == version and process.active != version:
            self._board.emit(Send(process.slot, process.incarnation, Discard(process.push, version)))
            self._roster.put(process.discarded())

    def renew(self) -> None:
        """End the trial worker: the next one has the code and the settings of now."""
        self._kill()

    # --- what is so ----------------------------------------------------------------------------------------------

    @property
    def process(self) -> Process | None:
        """Return the newest trial worker, if there is one."""
        return next(iter(reversed(self._roster.processes.values())), None)

    @property
    def gone(self) -> bool:
        """Say whether no trial worker is left."""
        return not self._roster.processes

    @property
    def holds(self) -> tuple[Digest, ...]:
        """Return the contents that it holds."""
        process = self.process
        return () if process is None else process.holds

    def deadline(self) -> float | None:
        """Return when it has to be looked at if nothing else happens."""
        times = [self._roster.deadline()]
        if self._board.ending is None and self._is_needed():
            times.append(self._roster.retry())
        return min((time for time in times if time is not None), default=None)

    # --- what happens --------------------------------------------------------------------------------------------

    def note(self, event: Spawned | SpawnFailed | WorkerExited | WorkerSaid, now: float) -> None:
        """Take one event about it; a late word of one that is gone changes nothing."""
        match event:
            case Spawned():
                process = self._roster.get(event.slot, event.incarnation)
                if process is not None:
                    self._roster.put(replace(process, pid=event.pid))
                    self._board.announce(trial_says.started(event.pid))
            case SpawnFailed():
                self._exited(event.incarnation, f"could not be started: {event.reason}", now)
            case WorkerExited():
                self._exited(event.incarnation, event.status, now)
            case WorkerSaid():
                self._said(event.message, now)

    def _said(self, message: FromWorker, now: float) -> None:
        process = self._roster.get(message.slot, message.incarnation)
        if process is None or not process.live:
            return
        match message:
            case Booted():
                self._roster.put(replace(process, booted=True))
            case Staged() | Active() | Rejected() if message.push != process.push or message.version != process.told:
                pass
            case Staged():
                self._staged(process, message)
            case Active():
                self._active(process, message, now)
            case Rejected():
                self._rejected(process, message)
            case _:
                pass

    def _staged(self, process: Process, message: Staged) -> None:
        if process.activating or process.staged == message.version:
            return
        if message.digest != self._digests.get(message.version):
            self._distrust(f"it staged content {message.digest[:12]}, not what was sent")
            return
        self._roster.put(replace(process, staged=message.version, deadline=NEVER))
        self._conclude(message.version, "")

    def _active(self, process: Process, message: Active, now: float) -> None:
        if not process.activating or message.digest != self._digests.get(message.version):
            self._distrust(f"it activated content {message.digest[:12]}, which it was not told to")
            return
        changed = self._roster.word(process, Word.SERVES, NEVER)
        since = now if process.ready_since is None else process.ready_since
        self._roster.put(replace(changed.activated(message.version, message.digest), ready_since=since))

    def _rejected(self, process: Process, message: Rejected) -> None:
        wanted = self._wanted is not None and self._wanted[0] == message.version
        unverified = message.reason != "model"
        if unverified:
            self._board.announce(crew_says.worker_rejected(process, message))
        if unverified or process.activating or process.active is None or not wanted:
            self._distrust(f"it can't take version {message.version}: {message.detail}")
            return
        self._roster.put(process.discarded())
        self._conclude(message.version, message.detail or message.reason)

    def _conclude(self, version: Version, refusal: str) -> None:
        """Note what the trial of the wanted version said."""
        if self._wanted is not None and self._wanted[0] == version and self.tried is None:
            self.tried = Tried(version, refusal)
            self._board.announce(trial_says.ended(version, refusal))

    def _exited(self, incarnation: int, status: str, now: float) -> None:
        process = self._roster.get(TRIAL_SLOT, incarnation)
        if process is None:
            return
        state = self._roster.gone(process, status, now, self._board.settings)
        if process.live:
            self._board.announce(trial_says.lost(status, 0.0 if state is None else (state.retry_at or now) - now))
            self._lost_on(process, status)

    def _lost_on(self, process: Process, status: str) -> None:
        """Note which version the trial worker was on when it was lost."""
        wanted = self._wanted
        if wanted is None or self.tried is not None or process.told != wanted[0]:
            return
        self._losses += 1
        if self._losses >= _LOSSES:
            self._conclude(wanted[0], f"two trial workers were lost on it: {status}")

    def _distrust(self, reason: str) -> None:
        process = self.process
        if process is not None:
            self._board.announce(trial_says.fenced(reason))
            self._lost_on(process, reason)
        self._kill()

    def _kill(self) -> None:
        for process in list(self._roster.processes.values()):
            if process.life is not Life.DYING:
                self._roster.word(process, Word.KILL, NEVER)
                self._board.emit(Kill(process.slot, process.incarnation))

    # --- what is missing -----------------------------------------------------------------------------------------

    def _is_needed(self) -> bool:
        return self._board.settings.supervisor.rollout.trial.enabled and self._board.history.committed is not None

    def drive(self, now: float) -> None:
        """Start, end, or tell the trial worker what is missing."""
        for process in self._roster.overdue(now):
            if process.live:
                self._distrust("it did not answer in time")
        if self._board.ending is not None or not self._is_needed():
            self._kill()
            return
        self._fill(now)
        newest = self.process
        if newest is not None and newest.live and newest.booted and newest.deadline == NEVER:
            self._next(newest, now)

    def _fill(self, now: float) -> None:
        committed = self._board.history.committed
        if committed is None or not self._roster.empty(now):
            return
        process = self._roster.add(TRIAL_SLOT, 0, now, self._board.settings, None)
        digest, floor = committed.digest, committed.version
        self._board.emit(Spawn(process.slot, 0, process.incarnation, digest, floor, trial=True))

    def _next(self, process: Process, now: float) -> None:
        """Bring an idle trial worker to what is committed, then have it try what is wanted."""
        committed = self._board.history.committed
        if committed is None:
            return
        if process.staged is not None and process.staged == committed.version:
            self._activate(process, committed.version, now)
        elif process.active is None or (process.digest != committed.digest and process.told != committed.version):
            self._stage(process, committed.version, committed.digest, now)
        elif self._wanted is not None and self.tried is None and process.told != self._wanted[0]:
            self._stage(process, *self._wanted, now)

    def _stage(self, process: Process, version: Version, digest: Digest, now: float) -> None:
        """Send a version; a process that was sent it before, or a later one, has to make room for a fresh one."""
        if self._sent is not None and self._sent[0] == process.incarnation and version <= self._sent[1]:
            self._kill()
            return
        self._sent = (process.incarnation, version)
        trial = self._board.settings.supervisor.rollout.trial
        self._digests = {version: digest}
        limit = Limit(float(trial.cpu_seconds), trial.memory_mb, float(trial.timeout_seconds))
        told = self._roster.tell(process, version, now + trial.timeout_seconds + _GRACE_SECONDS)
        self._board.emit(
            Send(told.slot, told.incarnation, limit),
            SendStage(told.slot, told.incarnation, told.push, version, told.holds),
        )

    def _activate(self, process: Process, version: Version, now: float) -> None:
        until = now + self._board.settings.supervisor.rollout.start_timeout_seconds
        self._roster.put(replace(process, activating=True, deadline=until))
        self._board.emit(Send(process.slot, process.incarnation, Activate(process.push, version)))
