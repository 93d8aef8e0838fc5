"""Meters: what each worker did in the last minute, and how a canary does beside the others.

Decided here: when workers are read, how long readings are kept, and what a canary is compared with. Not decided here:
what the comparison proves (``health.py``) and what follows from it (the rollout).

A canary is compared with the others at the same time. Where there are none, or they had too few requests to say
anything, its own last minute on the version before is what it is compared with.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from nexus_supervisor.core.health import Judgement, is_comparable, judge
from nexus_supervisor.core.sample import READING_SECONDS, SILENT_SECONDS, Key, Sample, evidence_of, together

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nexus_supervisor.core.options import GateSettings
    from nexus_supervisor.core.readings import Reading

__all__ = ["Key", "Meters"]

_KEPT_EVERY_SECONDS = 5.0
_LATE = 2.0  # times what was meant
_KEPT = 13  # readings of a worker: one minute
_BUSY_SECONDS = 10.0
_WARM_SECONDS = 1.0  # a new process is slow at first, whatever its code: it fills its caches and connects


class Meters:
    """Keep the readings of all workers that run, and gather evidence while a canary bakes.

    ``newest`` was read at ``read_at`` or later. ``steady_since`` is since when readings come as often as they should:
    what happened before that, while nobody looked, may be anybody's fault.
    """

    def __init__(self, now: float) -> None:
        self.newest: Mapping[Key, Reading] = {}
        self.read_at: float | None = None
        self.steady_since = now
        self._asked, self._every = now, _KEPT_EVERY_SECONDS
        self._kept: dict[Key, deque[tuple[float, Reading]]] = {}
        self._sample: Sample | None = None

    def deadline(self, *, baking: bool, every: float = _KEPT_EVERY_SECONDS) -> float:
        """Return when workers are to be read next: that often, and more often while a canary bakes."""
        return self._asked + (min(READING_SECONDS, every) if baking else every)

    def asked(self, now: float, every: float = _KEPT_EVERY_SECONDS) -> None:
        """Take notice that the workers are being read, and how often that is meant to be."""
        self._note_gap(now)
        self._asked, self._every = now, every

    def note(self, readings: Mapping[Key, Reading], now: float) -> None:
        """Take what all workers have counted; those that aren't among them are forgotten."""
        self._note_gap(now)
        self.newest, self.read_at = dict(readings), self._asked
        self._kept = {key: self._kept.get(key) or deque(maxlen=_KEPT) for key in readings}
        for key, kept in self._kept.items():
            if not kept or now - kept[-1][0] >= _KEPT_EVERY_SECONDS - READING_SECONDS:
                kept.append((now, readings[key]))
        if self._sample is not None:
            self._sample.note(self.newest, now)

    def _note_gap(self, now: float) -> None:
        """Begin anew where nobody has looked for far longer than was meant: who knows whether anything ran then."""
        if now - self._asked > _LATE * self._every:
            self.steady_since = now

    def busiest(self, among: Sequence[Key]) -> list[Key]:
        """Return them by their requests in the last seconds, the busiest first; the order given decides a tie."""
        return sorted(among, key=lambda key: -self._recent(key))

    def begin(
        self, canaries: Collection[Key], version: int, now: float, *, replaced: Collection[Key] | None = None
    ) -> None:
        """Gather evidence about these from now on, on this version.

        ``replaced`` are the processes whose place they have taken, where they were started for it.
        """
        if replaced is None:
            before = together(evidence_of(self._before(key, version)) for key in sorted(canaries))
            self._sample = Sample(canaries, version, before, now)
        else:
            before = together(evidence_of(self._all(key)) for key in sorted(replaced))
            usual = max((one.rss_bytes for key, one in self.newest.items() if key not in canaries), default=0)
            self._sample = Sample(canaries, version, before, now, usual_bytes=usual, warm_seconds=_WARM_SECONDS)

    def judge(self, controls: Collection[Key], gates: GateSettings, now: float) -> Judgement:
        """Judge the canaries since ``begin()`` against the others, or else against what they did before."""
        sample = self._sample
        if sample is None:
            return Judgement("inconclusive", "no canary is watched", {})
        canary, control, before = sample.canary(), sample.control(controls), sample.before
        where = "in the other workers"
        if not is_comparable(control, gates) and before.requests > control.requests:
            where = "in its own last minute before"
            control = replace(before, rss_growth_bytes=control.rss_growth_bytes, lag_seconds=control.lag_seconds)
        judgement = judge(canary, control, where, gates)
        numbers = {"bake_seconds": round(now - sample.began, 1), **judgement.numbers}
        return replace(judgement, numbers=numbers, silent=bool(sample.silent(SILENT_SECONDS)))

    def silent(self, seconds: float) -> tuple[Key, ...]:
        """Return the canaries whose serving loop has not turned for longer than that."""
        return () if self._sample is None else self._sample.silent(seconds)

    def _recent(self, key: Key) -> int:
        """Return how many requests a worker began in the last seconds that are known."""
        kept, newest = self._kept.get(key), self.newest.get(key)
        if not kept or newest is None:
            return 0
        oldest = next(reading for at, reading in kept if at >= kept[-1][0] - _BUSY_SECONDS)
        return newest.total - oldest.total

    def _before(self, key: Key, version: int) -> list[Reading]:
        """Return what is kept of a worker from before it had this version, the oldest first."""
        return [reading for reading in self._all(key) if reading.version != version]

    def _all(self, key: Key) -> list[Reading]:
        """Return what is kept of a worker, the oldest first."""
        kept = [reading for _, reading in self._kept.get(key, ())]
        return kept if (newest := self.newest.get(key)) is None else [*kept, newest]
