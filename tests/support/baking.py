"""Simulate the counters of workers while a canary bakes: seeded, without processes and without a clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nexus_supervisor.core.latency import BUCKETS, bucket
from nexus_supervisor.core.meters import Meters
from nexus_supervisor.core.options import GateSettings
from nexus_supervisor.core.readings import Reading

if TYPE_CHECKING:
    from random import Random

    from nexus_supervisor.core.health import Judgement

GATES = GateSettings()
STEP_SECONDS = 0.1
CANARY = ("w-0", 1)
_MIB = 1 << 20


@dataclass
class Counting:
    """Count what one worker does on one version."""

    version: int = 1
    errors: int = 0
    latencies: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    lag_seconds: float = 0.0
    beat: float | None = None
    rss_bytes: int = 50 * _MIB
    total: int = 0

    def serve(self, seconds: float, count: int = 1, *, failed: bool = False) -> None:
        """Count requests that all took so long."""
        self.latencies[bucket(seconds)] += count
        self.total += count
        self.errors += count * failed

    def activate(self, version: int) -> None:
        """Begin to count for another version."""
        self.version, self.errors, self.latencies, self.lag_seconds = version, 0, [0] * BUCKETS, 0.0

    def reading(self) -> Reading:
        """Return what is counted by now."""
        return Reading(
            version=self.version,
            requests=sum(self.latencies),
            errors=self.errors,
            latencies=tuple(self.latencies),
            lag_seconds=self.lag_seconds,
            beat=self.beat,
            rss_bytes=self.rss_bytes,
            total=self.total,
        )


@dataclass(frozen=True)
class Traffic:
    """Say what comes and how it is served; what begins with ``canary_`` is how the canary differs."""

    workers: int = 3
    per_second: float = 100.0
    seconds: float = 2.0
    median_seconds: float = 0.005
    spread: float = 0.6
    errors: float = 0.0
    stalls: float = 0.0
    canary_slower: float = 1.0
    canary_errors: float = 0.0
    canary_leak_mb: float = 0.0


def baked(random: Random, traffic: Traffic, gates: GateSettings = GATES) -> tuple[float, Judgement]:
    """Bake the first worker; return when that ended, which is early where it is unhealthy, and how."""
    workers = {(f"w-{number}", 1): Counting() for number in range(traffic.workers)}
    meters, now = Meters(0.0), 0.0
    workers[CANARY].activate(2)
    meters.begin([CANARY], 2, now)
    meters.note({key: one.reading() for key, one in workers.items()}, now)
    while True:
        now += STEP_SECONDS
        for key, one in workers.items():
            _serve(random, one, traffic, is_canary=key == CANARY)
            one.beat = now - random.random() * STEP_SECONDS
        meters.note({key: one.reading() for key, one in workers.items()}, now)
        judgement = meters.judge([key for key in workers if key != CANARY], gates, now)
        if judgement.verdict == "unhealthy" or now >= traffic.seconds - STEP_SECONDS / 2:
            return now, judgement


def _serve(random: Random, worker: Counting, traffic: Traffic, *, is_canary: bool) -> None:
    """Serve for one step: times are spread as a log-normal, and a stall delays most of what is in hand."""
    stalled = random.random() < traffic.stalls
    expected = traffic.per_second * STEP_SECONDS
    for _ in range(max(0, round(random.gauss(expected, expected**0.5)))):
        seconds = traffic.median_seconds * random.lognormvariate(0, traffic.spread)
        seconds *= traffic.canary_slower if is_canary else 1
        seconds += random.uniform(0.02, 0.1) * (stalled and random.random() < 0.6)
        share = traffic.errors + traffic.canary_errors * is_canary
        worker.serve(seconds, failed=random.random() < share)
    worker.rss_bytes += int(traffic.canary_leak_mb * STEP_SECONDS * _MIB) * is_canary
