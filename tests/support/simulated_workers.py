"""Simulated worker processes: they answer, refuse, hang, die, fall ill, and count the requests that they serve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nexus_supervisor.core import events, latency
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.messages import (
    Activate,
    Active,
    Booted,
    Discard,
    Drain,
    Drained,
    FromWorker,
    Limit,
    Probe,
    Probed,
    Ready,
    Rejected,
    Retired,
    Staged,
)
from nexus_supervisor.core.readings import Reading

if TYPE_CHECKING:
    from nexus_supervisor.core import effects
    from tests.support.world import World

__all__ = ["BOMBS", "ILLNESSES", "TRIAL", "SimulatedWorker", "Workers"]

TRIAL = "trial"
BOMBS = {"bomb": 5.0, "slow bomb": 15.0}
"""What kills a worker so many seconds after it has activated a content."""
ILLNESSES = frozenset({"errors", "hangs", "leaks", "slow"})
"""What a content does to a worker that activates it as if nothing were."""
REQUESTS_PER_SECOND = 100.0
MEGABYTE = 1 << 20


@dataclass
class SimulatedWorker:
    """Hold what a worker process knows; ``spawned`` is the content whose settings it was started with.

    ``limited`` says that the trial worker was told what its next trial may cost, ``illness`` what its current content
    does to it.
    """

    slot: str
    incarnation: int
    floor: int
    spawned: Digest
    current: tuple[int, Digest] | None = None
    previous: Digest | None = None
    staged: tuple[int, Digest, int] | None = None
    served: list[int] = field(default_factory=list)
    ready: bool = False
    draining: bool = False
    limited: bool = False
    code: int = 1
    illness: str = ""
    active_at: float = 0.0
    ready_at: float = 0.0
    frozen_at: float | None = None
    stopped: bool = False
    waiting_since: float | None = None
    megabytes: float = 100.0

    @property
    def key(self) -> tuple[str, int]:
        """Return slot and incarnation."""
        return self.slot, self.incarnation

    @property
    def serving(self) -> bool:
        """Say whether new requests may reach it."""
        return self.ready and not self.draining

    def reading(self, now: float, rate: float) -> Reading:
        """Return what it has counted, at so many requests a second."""
        now = now if self.frozen_at is None else self.frozen_at
        since = now - self.active_at
        requests = int(since * rate) if self.current and self.serving and self.illness != "hangs" else 0
        counts = [0] * latency.BUCKETS
        counts[latency.bucket(0.2 if self.illness == "slow" else 0.002)] = requests
        leaked = 50 * since if self.illness == "leaks" else 0.0
        return Reading(
            version=self.current[0] if self.current else 0,
            requests=requests,
            errors=requests // 2 if self.illness == "errors" else 0,
            latencies=tuple(counts),
            lag_seconds=0.001,
            beat=self.active_at if self.illness == "hangs" else now,
            rss_bytes=int((self.megabytes + leaked) * MEGABYTE),
            total=int((now - self.ready_at) * rate) if self.ready else 0,
            alive=now,
            waiting_since=self.waiting_since,
            stopped=self.stopped,
        )


class Workers:
    """Do what one process after the other is told, and put what follows under way."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pids = 1000

    def spawn(self, effect: effects.Spawn) -> None:
        """Start a process, or fail to."""
        world, key = self._world, (effect.slot, effect.incarnation)
        if world.faults.spawns or (effect.trial and world.faults.trial == "never starts"):
            world.pending.append(events.SpawnFailed(*key, "no more processes"))
            return
        living = world.trials if effect.trial else world.workers
        code = world.prepared if effect.fresh and world.prepared is not None else world.code
        living[key] = SimulatedWorker(*key, floor=effect.floor, spawned=effect.digest, code=code)
        self._pids += 1
        world.pending.append(events.Spawned(*key, self._pids))
        if not (effect.trial and world.faults.trial == "silent"):
            self._say(Booted(*key))

    def stage(self, effect: effects.SendStage) -> None:
        """Have a version staged; a fresh trial worker takes its first one untried."""
        worker = self._world.process((effect.slot, effect.incarnation))
        if worker is None or worker.frozen_at is not None:
            return
        worker.limited = False
        digest = self._world.durable[effect.version]
        first_trial = worker.slot == TRIAL and worker.current is None
        match "" if first_trial else self._poison(worker.slot, digest):
            case "stage dies" | "trial dies":
                self._world.die(worker.key, "killed by SIGSEGV")
            case "refuse" | "trial refuses":
                self._say(Rejected(*worker.key, effect.push, effect.version, "model", "it is bad"))
            case "silent" | "trial hangs":
                pass
            case _:
                worker.staged = (effect.version, digest, effect.push)
                self._say(Staged(*worker.key, effect.push, effect.version, digest))

    def tell(self, effect: effects.Send) -> None:
        """Tell a process something small."""
        worker = self._world.process((effect.slot, effect.incarnation))
        if worker is None or worker.frozen_at is not None:
            return
        match effect.message:
            case Activate():
                self._activate(worker)
            case Discard():
                worker.staged = None
            case Limit():
                worker.limited = True
            case Probe():
                self._probe(worker, effect.message)
            case Drain():
                worker.draining = True
                if worker.slot not in self._world.faults.busy:
                    self._say(Drained(*worker.key))
                    self._world.die(worker.key, "exit code 0", clean=True)

    def terminate(self, effect: effects.Terminate) -> None:
        """Send SIGTERM: a worker drains, unless it is frozen."""
        worker = self._world.process((effect.slot, effect.incarnation))
        if worker is not None and worker.frozen_at is None:
            self._say(Drained(*worker.key))
            self._world.die(worker.key, "exit code 0", clean=True)

    def readings(self) -> dict[tuple[str, int], Reading]:
        """Return what every worker has counted."""
        world = self._world
        usual = 0.0 if world.faults.quiet else REQUESTS_PER_SECOND
        return {key: one.reading(world.now, world.rates.get(key[0], usual)) for key, one in world.workers.items()}

    def _say(self, message: FromWorker) -> None:
        self._world.pending.append(events.WorkerSaid(message))

    def _poison(self, slot: str, digest: Digest) -> str:
        """Return what a content does to a worker; only what is named after the trial reaches the trial worker."""
        faults = self._world.faults
        what = faults.poison.get(digest, "")
        if (slot == TRIAL) != what.startswith(TRIAL):
            return ""
        spared = faults.victims and slot not in faults.victims and slot != TRIAL
        return "" if spared or self._world.random.random() >= faults.chance else what

    def _bug(self, worker: SimulatedWorker) -> str:
        """Return what the code of a worker does to it."""
        return self._world.faults.code.get(worker.code, "")

    def _probe(self, worker: SimulatedWorker, message: Probe) -> None:
        poison = "" if worker.current is None else self._poison(worker.slot, worker.current[1])
        if poison != "probe hangs":
            outcome = "failed" if poison == "probe fails" else self._world.faults.probe
            self._say(Probed(*worker.key, message.push, message.version, outcome, "it is bad"))

    def _activate(self, worker: SimulatedWorker) -> None:
        world, key = self._world, worker.key
        assert worker.staged is not None, "only what is staged is activated"
        version, digest, push = worker.staged
        poison = self._poison(worker.slot, digest) or ("" if worker.slot == TRIAL else self._bug(worker))
        if poison in ("activate dies", "trial dies", "trial refuses"):
            world.die(key, "killed by SIGSEGV")
            return
        world.invariants.activated(worker, version, digest)
        worker.previous = worker.current[1] if worker.current else None
        worker.current, worker.staged, worker.active_at = (version, digest), None, world.now
        worker.illness = poison if poison in ILLNESSES else ""
        if poison in ("activate hangs", "trial hangs"):
            return
        self._say(Active(*key, push, Version(version), digest))
        if worker.slot == TRIAL:
            return
        if worker.slot not in world.faults.pinned:
            self._say(Retired(*key, Version(version)))
        self._live_on(worker, poison)

    def _live_on(self, worker: SimulatedWorker, poison: str) -> None:
        """Say that a worker serves, or let it die, now or later."""
        if poison in BOMBS:
            self._world.bombs.append((self._world.now + BOMBS[poison], worker.key))
        if poison == "active dies" or (poison == "start dies" and not worker.ready):
            self._world.die(worker.key, "exit code 1")
        elif not worker.ready:
            worker.ready, worker.ready_at = True, self._world.now
            self._say(Ready(*worker.key))
