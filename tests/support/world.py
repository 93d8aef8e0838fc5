"""A simulated world for the real fleet: journal, compiler, archive and workers that answer late, die, or refuse.

Everything is seeded and nothing takes time: ``now`` is a number, and what is under way is a list from which the next
event is drawn. The invariants of the design are checked at every step.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.effects import Effect, Outcome
from nexus_supervisor.core.events import Candidate, Event
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
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind
from nexus_supervisor.core.settings import Settings, parse

__all__ = ["World", "content", "settings"]


def content(name: str) -> Digest:
    """Return a digest that stands for some content."""
    return Digest(name.ljust(64, "0"))


def settings(workers: int = 3, **supervisor: object) -> Settings:
    """Return settings for a small fleet: no debounce, no grace, no bake."""
    document = {
        "supervisor": {
            "workers": workers,
            "watch": {"debounce_ms": 0, "remove_settle_ms": 0},
            "rollout": {"bake_seconds": 0},
            **supervisor,
        }
    }
    parsed = parse(document, cpu_count=2)
    assert not parsed.errors, parsed.errors
    return parsed.settings


@dataclass
class SimulatedWorker:
    """Hold what a worker process knows: the trust rule is the real one, in a line."""

    slot: str
    incarnation: int
    floor: int
    current: tuple[int, Digest] | None = None
    staged: tuple[int, Digest, int] | None = None
    served: list[int] = field(default_factory=list)
    ready: bool = False
    draining: bool = False


class World:
    """Perform the effects of a fleet and hold the events that are under way."""

    def __init__(self, seed: int = 0, *, workers: int = 3, committed: Committed | None = None) -> None:
        self.random = random.Random(seed)
        self.now = 100.0
        self.settings = settings(workers)
        highest = 0 if committed is None else committed.version
        self.fleet = Fleet(self.settings, History(highest, committed), self.now)
        self.pending: list[Event] = []
        self.workers: dict[tuple[str, int], SimulatedWorker] = {}
        self.durable: dict[int, Digest] = {}
        self.committed: list[int] = [] if committed is None else [committed.version]
        if committed is not None:
            self.durable[committed.version] = committed.digest
        self.answers: dict[int, Outcome] = {}
        self.notices: list[Notice] = []
        self.effects: list[Effect] = []
        self.exit: int | None = None
        self.directory = committed.digest if committed is not None else content("a")
        self.problems: tuple[Problem, ...] = ()
        self.gone: tuple[str, ...] = ()
        self.revoked: Digest | None = None
        self.held: tuple[str, ...] = ()
        self.blocked: tuple[Problem, ...] = ()
        self.wanted: Digest | None = None
        self.adopted = None if committed is None else committed.digest
        self.poison: dict[Digest, str] = {}
        self.journal_fails = False

    # --- driving -------------------------------------------------------------------------------------------------

    def begin(self, *, valid: bool = True) -> None:
        """Begin on what the directory holds."""
        candidate = self._candidate(whole=True) if valid else None
        problems = () if valid else (Problem("sources/a.toml", 1, "", "syntax", "expected a key"),)
        self._perform(self.fleet.begin(candidate, problems, self.now))

    def post(self, event: Event) -> None:
        """Hand one event to the fleet and perform what it decides."""
        self._perform(self.fleet.handle(event, self.now))

    def step(self) -> bool:
        """Deliver one event that is under way, drawn at random; say whether there was one."""
        if not self.pending:
            return False
        self.post(self.pending.pop(self._draw()))
        return True

    def _draw(self) -> int:
        """Return an index such that what one process says stays in its order, like bytes on a pipe."""
        index = self.random.randrange(len(self.pending))
        speaker = _speaker(self.pending[index])
        return next(i for i, event in enumerate(self.pending) if _speaker(event) == speaker)

    def settle(self, limit: int = 10_000) -> None:
        """Deliver everything that is under way until nothing is."""
        for _ in range(limit):
            if not self.step():
                return
        message = "the fleet doesn't come to rest"
        raise AssertionError(message)

    def elapse(self, seconds: float) -> None:
        """Let time pass, with a wake-up at every deadline."""
        end, idle = self.now + seconds, False
        while self.exit is None:
            deadline = self.fleet.deadline()
            if deadline is None or deadline > end:
                break
            assert deadline > self.now or not idle, "a deadline must not come back at once"
            self.now, idle = max(self.now, deadline), True
            self.post(events.Elapsed())
            self.settle()
        self.now = end

    def change(self, name: str) -> None:
        """Let the directory hold something else."""
        self.directory, self.problems, self.held, self.wanted = content(name), (), (), None
        self.post(events.Touched(("sources/a.toml",), urgent=False))

    def kill(self, slot: str) -> None:
        """Let the process of a slot die."""
        for key in [key for key in self.workers if key[0] == slot]:
            self._die(key, "killed by SIGKILL")

    def push(self, ticket: int, expect: int | None = None) -> None:
        """Ask for a push."""
        self.post(events.PushAsked(ticket, "test", "me", expect, until_retired=False))

    # --- facts ---------------------------------------------------------------------------------------------------

    def live(self) -> dict[str, int | None]:
        """Return the version that each live worker serves, by slot."""
        return {one.slot: None if one.current is None else one.current[0] for one in self.workers.values()}

    def kinds(self) -> list[str]:
        """Return the kinds of all notices."""
        return [notice.kind for notice in self.notices]

    # --- the shell, simulated ------------------------------------------------------------------------------------

    def _perform(self, decided: list[Effect]) -> None:
        for effect in decided:
            self.effects.append(effect)
            self._one(effect)
        self.check()

    def _one(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - one case for each effect
        match effect:
            case effects.Look():
                self.pending.append(self._verdict(effect))
            case effects.Record():
                assert effect.version > max(self.durable, default=0), "a version must rise"
                if self.journal_fails:
                    self.pending.append(events.RecordFailed(effect.version, "no space left"))
                else:
                    self.durable[effect.version] = effect.digest
                    self.pending.append(events.Recorded(effect.version))
            case effects.Commit():
                self.pending.append(events.CommitRecorded(effect.version))
                self.committed.append(effect.version)
            case effects.Archive():
                self.pending.append(events.Archived(effect.version, None))
            case effects.Spawn():
                self._spawn(effect)
            case effects.SendStage():
                self._stage(effect)
            case effects.Send():
                self._send(effect)
            case effects.Kill():
                self._die((effect.slot, effect.incarnation), "killed by SIGKILL")
            case effects.Bind():
                self.pending.append(events.Bound())
            case effects.Adopt():
                self.adopted = effect.digest
            case effects.Announce():
                self.notices.append(effect.notice)
            case effects.Answer():
                assert effect.ticket not in self.answers, "a request is answered once"
                self.answers[effect.ticket] = effect.outcome
            case effects.Exit():
                self.exit = effect.code
            case _:
                pass

    def _verdict(self, effect: effects.Look) -> Event:
        base = self.adopted or content("")
        if self.problems:
            revoked = self.revoked if self.gone else None
            parts = (self.problems, False, base, self.gone, revoked, (), self.settings)
            return events.CandidateRefused(effect.ticket, *parts)
        return events.CandidateSeen(effect.ticket, self._candidate(whole=effect.whole))

    def _candidate(self, *, whole: bool) -> Candidate:
        wanted = self.wanted or self.directory
        digest, held = (wanted, ()) if whole else (self.directory, self.held)
        blocked = () if whole else self.blocked
        return Candidate(wanted, digest, self.adopted or content(""), held, blocked, self.gone, self.settings)

    def _spawn(self, effect: effects.Spawn) -> None:
        key = (effect.slot, effect.incarnation)
        self.workers[key] = SimulatedWorker(*key, floor=effect.floor)
        self.pending += [events.Spawned(*key, 1000 + len(self.workers)), events.WorkerSaid(Booted(*key))]

    def _stage(self, effect: effects.SendStage) -> None:
        worker = self.workers.get((effect.slot, effect.incarnation))
        if worker is None:
            return
        assert effect.version in self.durable, "the journal record comes before the first byte"
        digest = self.durable[effect.version]
        newest = worker.current[0] if worker.current else worker.floor
        assert effect.version > newest or (worker.current is None and effect.version >= newest), "versions rise"
        match self.poison.get(digest):
            case "stage dies":
                self._die((effect.slot, effect.incarnation), "killed by SIGSEGV")
            case "refuse":
                words = Rejected(effect.slot, effect.incarnation, effect.push, effect.version, "model", "it is bad")
                self.pending.append(events.WorkerSaid(words))
            case "silent":
                pass
            case _:
                worker.staged = (effect.version, digest, effect.push)
                said = Staged(effect.slot, effect.incarnation, effect.push, effect.version, digest)
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
                said = Drained(worker.slot, worker.incarnation)
                self.pending.append(events.WorkerSaid(said))
                self._die((worker.slot, worker.incarnation), "exit code 0", clean=True)

    def _activate(self, worker: SimulatedWorker, message: Activate) -> None:
        assert worker.staged is not None and worker.staged[0] == message.version, "only what is staged is activated"
        version, digest, push = worker.staged
        if self.poison.get(digest) == "activate dies":
            self._die((worker.slot, worker.incarnation), "killed by SIGSEGV")
            return
        worker.current, worker.staged = (version, digest), None
        worker.served.append(version)
        key = (worker.slot, worker.incarnation)
        self.pending.append(events.WorkerSaid(Active(*key, push, Version(version), digest)))
        self.pending.append(events.WorkerSaid(Retired(*key, Version(version))))
        if not worker.ready:
            worker.ready = True
            if self.poison.get(digest) == "start dies":
                self._die(key, "exit code 1")
            else:
                self.pending.append(events.WorkerSaid(Ready(*key)))

    def _die(self, key: tuple[str, int], status: str, *, clean: bool = False) -> None:
        if self.workers.pop(key, None) is not None:
            self.pending.append(events.WorkerExited(*key, status, clean))

    # --- invariants ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check what must hold at every step."""
        for worker in self.workers.values():
            assert worker.served == sorted(set(worker.served)), "versions of one incarnation strictly rise"
        committed = self.fleet.board.history.committed
        digests = {one.current[1] for one in self.workers.values() if one.current}
        target = self.fleet.board.rollout
        allowed = {one.digest for one in (committed, target, self.fleet.board.history.previous) if one is not None}
        going_back = target is not None and target.kind is Kind.ROLLBACK
        assert going_back or digests <= allowed, "at most committed and target, and what is being left"

    def check_rest(self) -> None:
        """Check what must hold when nothing is under way."""
        committed = self.fleet.board.history.committed
        assert self.fleet.board.rollout is None, "every rollout ends"
        assert committed is not None
        for worker in self.workers.values():
            if worker.ready and not worker.draining:
                assert worker.current == (committed.version, committed.digest), "one version is live"


def _speaker(event: Event) -> object:
    match event:
        case events.WorkerSaid():
            return (event.message.slot, event.message.incarnation)
        case events.Spawned() | events.WorkerExited() | events.SpawnFailed():
            return (event.slot, event.incarnation)
        case _:
            return type(event)


Hook = Callable[[World], None]
