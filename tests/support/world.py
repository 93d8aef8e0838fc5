"""A simulated world for the real fleet: journal, compiler, archive and workers that answer late, die, or refuse.

Everything is seeded and nothing takes time: ``now`` is a number, and what is under way is a list from which the next
event is drawn. The invariants of the design are checked at every step (``invariants.py``).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.fleet import Fleet
from nexus_supervisor.core.history import Committed, History
from nexus_supervisor.core.messages import (
    Activate,
    Active,
    Booted,
    Discard,
    Drain,
    Drained,
    Ready,
    Rejected,
    Retired,
    Staged,
)
from tests.support.invariants import Invariants
from tests.support.simulated import Directory, Faults, SimulatedWorker, name_of, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.core.effects import Effect, Outcome
    from nexus_supervisor.core.events import Event
    from nexus_supervisor.core.notices import Notice
    from nexus_supervisor.core.problems import Problem
    from nexus_supervisor.core.settings import Settings

__all__ = ["World", "recorded", "running"]


class World:
    """Perform the effects of a fleet and hold the events that are under way."""

    def __init__(
        self, seed: int = 0, *, workers: int = 3, committed: Committed | None = None, given: Settings | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.now = 100.0
        self.settings = given or settings(workers)
        self.directory = Directory(self.settings)
        self.fleet = Fleet(self.settings, History(committed.version if committed else 0, committed), self.now)
        self.faults = Faults()
        self.pending: list[Event] = []
        self.workers: dict[tuple[str, int], SimulatedWorker] = {}
        self.durable: dict[int, Digest] = {}
        self.answers: dict[int, Outcome] = {}
        self.asked: list[int] = []
        self.notices: list[Notice] = []
        self.effects: list[Effect] = []
        self.exit: int | None = None
        self._pids = 1000
        self.heard: Callable[[Event | Effect], None] = lambda _: None
        if committed is not None:
            self.durable[committed.version] = committed.digest
            name = name_of(committed.digest)
            self.directory.put({"main": name}, "", self.settings)
            self.directory.live = {"main": name}
        self.invariants = Invariants(self)

    # --- driving -------------------------------------------------------------------------------------------------

    def begin(self, *, problems: tuple[Problem, ...] = ()) -> None:
        """Begin on what the directory holds; like the shell, adopt the committed content where it is another."""
        look = effects.Look(0, None, whole=True)
        verdict = self.directory.verdict(look)
        candidate = verdict.candidate if isinstance(verdict, events.CandidateSeen) and not problems else None
        committed = self.fleet.board.history.digest
        if committed is not None and (candidate is None or candidate.digest != committed):
            self.directory.adopted = committed
        self.invariants.kept |= set(self.directory.known)
        self._perform(self.fleet.begin(candidate, problems, self.now))

    def post(self, event: Event) -> None:
        """Hand one event to the fleet and perform what it decides."""
        self.heard(event)
        self.invariants.before(event)
        self._perform(self.fleet.handle(event, self.now))

    def step(self) -> bool:
        """Deliver one event that is under way, drawn at random; say whether there was one."""
        if not self.pending:
            return False
        self.deliver(self.random.randrange(len(self.pending)))
        return True

    def deliver(self, index: int) -> Event:
        """Deliver an event that is under way; what one process says stays in its order, like bytes on a pipe."""
        speaker = _speaker(self.pending[index])
        first = next(i for i, event in enumerate(self.pending) if _speaker(event) == speaker)
        event = self.pending.pop(first)
        self.post(event)
        return event

    def settle(self, limit: int = 10_000) -> None:
        """Deliver everything that is under way until nothing is."""
        for _ in range(limit):
            if not self.step():
                return
        message = "the fleet doesn't come to rest"
        raise AssertionError(message)

    def until_somebody_serves(self, version: int) -> None:
        """Deliver events until a worker has activated a version; its answer is still under way."""
        while not any(one.current and one.current[0] == version for one in self.workers.values()):
            assert self.step(), f"nobody ever serves version {version}"

    def elapse(self, seconds: float) -> None:
        """Let time pass, with a wake-up at every deadline."""
        end, idle = self.now + seconds, 0
        while self.exit is None:
            deadline = self.fleet.deadline()
            if deadline is None or deadline > end:
                break
            idle = 0 if deadline > self.now else idle + 1
            assert idle < 3, "a deadline must not come back at once"
            self.now = max(self.now, deadline)
            self.post(events.Elapsed())
            self.settle()
        self.now = end

    def touch(self) -> None:
        """Say that a file may have changed."""
        self.post(events.Touched(("sources/a.toml",), urgent=False))

    def change(self, name: str) -> None:
        """Let the directory hold something else."""
        self.directory.live["main"] = name
        self.directory.problems = ()
        self.touch()

    def kill(self, slot: str) -> None:
        """Let the processes of a slot die."""
        for key in [key for key in self.workers if key[0] == slot]:
            self.die(key, "killed by SIGKILL")

    def lose(self, slot: str) -> None:
        """Let the processes of a slot die before what they said has arrived, and tell the fleet at once."""
        for key in [key for key in self.workers if key[0] == slot]:
            self.pending = [event for event in self.pending if _speaker(event) != key]
            del self.workers[key]
            self.post(events.WorkerExited(*key, "killed by SIGKILL", clean=False))

    def die(self, key: tuple[str, int], status: str, *, clean: bool = False) -> None:
        """Let one process die."""
        if self.workers.pop(key, None) is not None:
            self.pending.append(events.WorkerExited(*key, status, clean))

    def push(self, ticket: int, expect: int | None = None, *, until_retired: bool = False) -> None:
        """Ask for a push."""
        self.asked.append(ticket)
        self.post(events.PushAsked(ticket, "test", "me", expect, until_retired=until_retired))

    def restart(self, ticket: int) -> None:
        """Ask for a restart."""
        self.asked.append(ticket)
        self.post(events.RestartAsked(ticket, "test", "me"))

    # --- facts ---------------------------------------------------------------------------------------------------

    def live(self) -> dict[str, int | None]:
        """Return the version that each live worker serves, by slot."""
        return {one.slot: None if one.current is None else one.current[0] for one in self.workers.values()}

    def digests(self) -> set[Digest]:
        """Return the contents that are served."""
        return {one.current[1] for one in self.workers.values() if one.current}

    def kinds(self) -> list[str]:
        """Return the kinds of all notices."""
        return [notice.kind for notice in self.notices]

    def performed(self, kind: type[Effect]) -> list[Effect]:
        """Return the effects of one kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def check_rest(self) -> None:
        """Check what must hold when nothing is under way."""
        self.invariants.at_rest()

    # --- the shell, simulated ------------------------------------------------------------------------------------

    def _perform(self, decided: list[Effect]) -> None:
        self.invariants.decided(decided)
        for effect in decided:
            self.heard(effect)
            self.effects.append(effect)
            self.invariants.effect(effect)
            self._one(effect)
        self.invariants.after()

    def _one(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - one case for each effect
        match effect:
            case effects.Look():
                self._look(effect)
            case effects.Record():
                self._record(effect)
            case effects.Commit():
                failed = events.RecordFailed(effect.version, "no space left")
                self.pending.append(failed if self.faults.commits else events.CommitRecorded(effect.version))
            case effects.Archive():
                self.pending.append(events.Archived(effect.version, "no space left" if self.faults.archive else None))
            case effects.Spawn():
                self._spawn(effect)
            case effects.SendStage():
                self._stage(effect)
            case effects.Send():
                self._send(effect)
            case effects.Kill():
                self.die((effect.slot, effect.incarnation), "killed by SIGKILL")
            case effects.Bind():
                failed_bind = events.BindFailed("the address is in use")
                self.pending.append(failed_bind if self.faults.binds else events.Bound())
            case effects.Adopt():
                self.directory.adopted = effect.digest
            case effects.Announce():
                self.notices.append(effect.notice)
            case effects.Answer():
                self.answers[effect.ticket] = effect.outcome
            case effects.Exit():
                self.exit = effect.code
            case _:
                pass

    def _look(self, effect: effects.Look) -> None:
        if self.faults.looks:
            self.pending.append(events.LookFailed(effect.ticket, "the compiler was lost: killed by SIGKILL"))
            return
        self.pending.append(self.directory.verdict(effect))
        self.invariants.kept |= set(self.directory.known)

    def _record(self, effect: effects.Record) -> None:
        if self.faults.journal:
            self.pending.append(events.RecordFailed(effect.version, "no space left"))
        else:
            self.durable[effect.version] = effect.digest
            self.pending.append(events.Recorded(effect.version))

    def _spawn(self, effect: effects.Spawn) -> None:
        key = (effect.slot, effect.incarnation)
        if self.faults.spawns:
            self.pending.append(events.SpawnFailed(*key, "no more processes"))
            return
        self.workers[key] = SimulatedWorker(*key, floor=effect.floor, spawned=effect.digest)
        self._pids += 1
        self.pending += [events.Spawned(*key, self._pids), events.WorkerSaid(Booted(*key))]

    def _poison(self, slot: str, digest: Digest) -> str:
        spared = self.faults.victims and slot not in self.faults.victims
        return "" if spared or self.random.random() >= self.faults.chance else self.faults.poison.get(digest, "")

    def _stage(self, effect: effects.SendStage) -> None:
        worker = self.workers.get((effect.slot, effect.incarnation))
        if worker is None:
            return
        digest = self.durable[effect.version]
        match self._poison(worker.slot, digest):
            case "stage dies":
                self.die(worker.key, "killed by SIGSEGV")
            case "refuse":
                words = Rejected(*worker.key, effect.push, effect.version, "model", "it is bad")
                self.pending.append(events.WorkerSaid(words))
            case "silent":
                pass
            case _:
                worker.staged = (effect.version, digest, effect.push)
                said = Staged(*worker.key, effect.push, effect.version, digest)
                self.pending.append(events.WorkerSaid(said))

    def _send(self, effect: effects.Send) -> None:
        worker = self.workers.get((effect.slot, effect.incarnation))
        if worker is None:
            return
        match effect.message:
            case Activate():
                self._activate(worker, effect.message)
            case Discard():
                worker.staged = None
            case Drain():
                worker.draining = True
                if worker.slot not in self.faults.busy:
                    self.pending.append(events.WorkerSaid(Drained(*worker.key)))
                    self.die(worker.key, "exit code 0", clean=True)

    def _activate(self, worker: SimulatedWorker, message: Activate) -> None:
        staged, key = worker.staged, worker.key
        assert staged is not None, "only what is staged is activated"
        version, digest, push = staged
        poison = self._poison(worker.slot, digest)
        if poison == "activate dies":
            self.die(key, "killed by SIGSEGV")
            return
        self.invariants.activated(worker, version, digest)
        worker.previous = worker.current[1] if worker.current else None
        worker.current, worker.staged = (version, digest), None
        if poison == "activate hangs":
            return
        self.pending.append(events.WorkerSaid(Active(*key, push, Version(version), digest)))
        if worker.slot not in self.faults.pinned:
            self.pending.append(events.WorkerSaid(Retired(*key, Version(version))))
        if poison == "active dies" or (poison == "start dies" and not worker.ready):
            self.die(key, "exit code 1")
        elif not worker.ready:
            worker.ready = True
            self.pending.append(events.WorkerSaid(Ready(*key)))


def running(seed: int = 0, workers: int = 3, **entries: str) -> World:
    """Return a world in which version 1 runs."""
    world = World(seed, workers=workers)
    world.directory.live |= entries
    world.begin()
    world.settle()
    return world


def recorded(world: World) -> list[tuple[int, str]]:
    """Return the versions that were recorded, with the names of their contents."""
    return [(one.version, name_of(one.digest)) for one in world.effects if isinstance(one, effects.Record)]


def _speaker(event: Event) -> object:
    match event:
        case events.WorkerSaid():
            return (event.message.slot, event.message.incarnation)
        case events.Spawned() | events.WorkerExited() | events.SpawnFailed():
            return (event.slot, event.incarnation)
        case _:
            return type(event)
