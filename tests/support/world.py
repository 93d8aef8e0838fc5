"""A simulated world for the real fleet: journal, compiler, archive and workers that answer late, die, or refuse.

Everything is seeded and nothing takes time: ``now`` is a number, and what is under way is a list from which the next
event is drawn. The invariants of the design are checked at every step (``invariants.py``).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.fleet import Fleet
from nexus_supervisor.core.history import Committed, History
from tests.support.invariants import Invariants
from tests.support.performing import perform
from tests.support.simulated import Directory, Faults, name_of, settings
from tests.support.simulated_workers import TRIAL, SimulatedWorker, Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.core.content import Digest
    from nexus_supervisor.core.effects import Effect, Outcome
    from nexus_supervisor.core.events import Event, Verb
    from nexus_supervisor.core.notices import Notice
    from nexus_supervisor.core.problems import Problem
    from nexus_supervisor.core.settings import Settings

__all__ = ["World", "recorded", "running"]


class World:
    """Perform the effects of a fleet and hold the events that are under way.

    ``workers`` are the processes that serve, ``trials`` those that only try. ``rates`` are requests a second, by slot,
    where they are not as usual; ``bombs`` say when a process will die. ``code`` is the number of the generation of code
    that runs, ``prepared`` that of the one which a restart brings.
    """

    def __init__(
        self, seed: int = 0, *, workers: int = 3, committed: Committed | None = None, given: Settings | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.now = 100.0
        self.settings = given or settings(workers)
        self.directory = Directory(self.settings)
        self.fleet = Fleet(self.settings, History(committed.version if committed else 0, committed), self.now)
        self.faults = Faults()
        self.code = self.generations = 1
        self.prepared: int | None = None
        self.pending: list[Event] = []
        self.staff = Workers(self)
        self.workers: dict[tuple[str, int], SimulatedWorker] = {}
        self.trials: dict[tuple[str, int], SimulatedWorker] = {}
        self.rates: dict[str, float] = {}
        self.bombs: list[tuple[float, tuple[str, int]]] = []
        self.durable: dict[int, Digest] = {}
        self.answers: dict[int, Outcome] = {}
        self.asked: list[int] = []
        self.notices: list[Notice] = []
        self.effects: list[Effect] = []
        self.exit: int | None = None
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

    def settle_but(self, late: type[Event]) -> None:
        """Deliver everything that is under way but for one kind of event."""
        while others := [index for index, event in enumerate(self.pending) if not isinstance(event, late)]:
            self.deliver(others[0])

    def until_somebody_serves(self, version: int) -> None:
        """Deliver events until a worker has activated a version; its answer is still under way."""
        while not any(one.current and one.current[0] == version for one in self.workers.values()):
            assert self.step(), f"nobody ever serves version {version}"

    def elapse(self, seconds: float) -> None:
        """Let time pass, with a wake-up at every deadline, and let die who is about to."""
        end, idle = self.now + seconds, 0
        while self.exit is None:
            deadline = self.fleet.deadline()
            bomb = min(self.bombs, default=None)
            if bomb is not None and bomb[0] <= min(end, deadline if deadline is not None else end):
                self.bombs.remove(bomb)
                self.now = max(self.now, bomb[0])
                self.die(bomb[1], "killed by SIGABRT")
                self.settle()
                continue
            if deadline is None or deadline > end:
                break
            idle = 0 if deadline > self.now else idle + 1
            assert idle < 3, "a deadline must not come back at once"
            self.now = max(self.now, deadline)
            self.post(events.Elapsed())
            self.settle()
        self.now = end

    def process(self, key: tuple[str, int]) -> SimulatedWorker | None:
        """Return a process that is not dead, one that serves or one that tries."""
        return self.workers.get(key) or self.trials.get(key)

    def kill(self, slot: str) -> None:
        """Let the processes of a slot die."""
        for key in [key for key in (*self.workers, *self.trials) if key[0] == slot]:
            self.die(key, "killed by SIGKILL")

    def lose(self, slot: str) -> None:
        """Let the processes of a slot die before what they said has arrived, and tell the fleet at once."""
        for key in [key for key in (*self.workers, *self.trials) if key[0] == slot]:
            self.pending = [event for event in self.pending if _speaker(event) != key]
            self._forget(key)
            self.post(events.WorkerExited(*key, "killed by SIGKILL", clean=False))

    def finish(self, slot: str, status: str = "exit code 0") -> None:
        """Let the processes of a slot end by themselves, and tell the fleet at once."""
        for key in [key for key in self.workers if key[0] == slot]:
            self.pending = [event for event in self.pending if _speaker(event) != key]
            self._forget(key)
            self.post(events.WorkerExited(*key, status, clean=status == "exit code 0"))

    def refuse(self, key: tuple[str, int]) -> None:
        """Let the system refuse a process that was about to be started, and tell the fleet at once."""
        self.pending = [event for event in self.pending if _speaker(event) != key]
        self._forget(key)
        self.post(events.SpawnFailed(*key, "Resource temporarily unavailable"))

    def die(self, key: tuple[str, int], status: str, *, clean: bool = False) -> None:
        """Let one process die."""
        if self._forget(key):
            self.pending.append(events.WorkerExited(*key, status, clean))

    # --- what people do ------------------------------------------------------------------------------------------

    def touch(self) -> None:
        """Say that a file may have changed."""
        self.post(events.Touched(("sources/a.toml",), urgent=False))

    def change(self, name: str) -> None:
        """Let the directory hold something else."""
        self.directory.live["main"] = name
        self.directory.problems = ()
        self.touch()

    def remove(self, *names: str) -> None:
        """Let entries vanish from the directory."""
        for name in names:
            del self.directory.live[name]
        self.touch()

    def push(self, ticket: int, expect: int | None = None, *, until_retired: bool = False, **more: object) -> None:
        """Ask for a push."""
        self.asked.append(ticket)
        asked = events.PushAsked(ticket, "test", "me", expect, until_retired=until_retired, **more)  # type: ignore[arg-type]
        self.post(asked)

    def restart(self, ticket: int, *, push_id: str = "", now: bool = False, force: bool = False) -> None:
        """Ask for a restart."""
        self.asked.append(ticket)
        self.post(events.RestartAsked(ticket, "test", "me", now=now, push_id=push_id, force=force))

    def rollback(self, ticket: int, version: int | None = None, *, push_id: str = "") -> None:
        """Ask to go back."""
        self.asked.append(ticket)
        self.post(events.RollbackAsked(ticket, version, "test", "me", push_id))

    def steer(self, ticket: int, verb: Verb) -> None:
        """Promote, pause, resume or abort; that is answered at once."""
        self.asked.append(ticket)
        self.post(events.SteerAsked(ticket, verb, "test", "me"))
        assert ticket in self.answers, "who steers is answered at once"

    def scale(self, ticket: int, workers: int | None, program: str = "", *, by: int = 0) -> Outcome:
        """Ask for another number of workers; that is answered at once."""
        self.asked.append(ticket)
        self.post(events.ScaleAsked(ticket, program, workers, by, "test", "me"))
        return self.answers[ticket]

    def codes(self) -> dict[str, int]:
        """Return the generation of code that each live worker runs, by slot."""
        return {one.slot: one.code for one in self.workers.values() if not one.draining}

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

    def _perform(self, decided: list[Effect]) -> None:
        self.invariants.decided(decided)
        for effect in decided:
            self.heard(effect)
            self.effects.append(effect)
            self.invariants.effect(effect)
            perform(self, effect)
        self.invariants.after()

    def _forget(self, key: tuple[str, int]) -> SimulatedWorker | None:
        return self.trials.pop(key, None) if key[0] == TRIAL else self.workers.pop(key, None)


def running(seed: int = 0, workers: int = 3, given: Settings | None = None, **entries: str) -> World:
    """Return a world in which version 1 runs, with everything at rest."""
    world = World(seed, workers=workers, given=given)
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
