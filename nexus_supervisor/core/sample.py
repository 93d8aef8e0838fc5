"""The sample: what is gathered about canaries and the other workers since a bake began.

Decided here: which part of what workers count is evidence, and how much of it is kept. Not decided here: what it proves
(``health.py``) and when it is taken (``meters.py``).

A canary's counts are those of the new version, since that became active in it; the others' are what they counted since
the bake began. Latencies of the canaries are kept by spans, one from each reading to the next; where there are too many
spans, each two become one, so a long bake takes no more memory than a short one.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from nexus_supervisor.core import latency
from nexus_supervisor.core.health import PATIENCE_SECONDS, Evidence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from nexus_supervisor.core.readings import Reading

__all__ = ["READING_SECONDS", "SILENT_SECONDS", "Key", "Sample", "evidence_of", "together"]

Key = tuple[str, int]
"""A process: its slot and its incarnation."""

READING_SECONDS = 0.1
"""How often workers are read while a canary bakes; a serving loop says as often that it turns."""

SILENT_SECONDS = 0.3
"""A serving loop that has not turned for so long is silent: it says ten times a second that it turns."""

_MAX_SPANS = 64


class Sample:
    """Gather evidence about canaries on one version; ``before`` is what was known of them when it began.

    Where they are new processes, their latencies count after ``warm_seconds``, and their memory has grown where they
    have more than ``usual_bytes``, which is what others have.
    """

    def __init__(
        self,
        canaries: Collection[Key],
        version: int,
        before: Evidence,
        now: float,
        *,
        usual_bytes: int = 0,
        warm_seconds: float = 0.0,
    ) -> None:
        self._usual_bytes, self._warm_at = usual_bytes, now + warm_seconds
        self.before, self.began = before, now
        self._canaries, self._version = frozenset(canaries), version
        self._read_at: float | None = None
        self._late = 0.0  # how late readings came themselves: then it is the machine
        self._first: dict[Key, Reading] = {}
        self._newest: Mapping[Key, Reading] = {}
        self._earlier: deque[tuple[float, Mapping[Key, Reading]]] = deque()  # the readings of the last second
        self._silences: dict[Key, tuple[float, float]] = {}  # the longest one, and the present one
        self._spans: list[tuple[int, ...]] = []
        self._spanned: tuple[int, ...] = ()

    def note(self, readings: Mapping[Key, Reading], now: float) -> None:
        """Take what all workers have counted."""
        if self._read_at is not None:
            self._late = max(self._late, _beyond_a_turn(now - self._read_at))
        self._read_at, self._newest = now, readings
        self._earlier.append((now, readings))
        while len(self._earlier) > 1 and now - self._earlier[1][0] >= PATIENCE_SECONDS:
            self._earlier.popleft()
        for key in self._first.keys() - readings.keys():
            del self._first[key]
            self._silences.pop(key, None)
        for key, reading in readings.items():
            self._first.setdefault(key, reading)
            silence = 0.0 if reading.beat is None else _beyond_a_turn(now - reading.beat)
            self._silences[key] = max(self._silences.get(key, (0.0, 0.0))[0], silence), silence
        self._note_span()

    def canary(self) -> Evidence:
        """Return what is known of the canaries on the new version; of several, the worst is said."""
        read = self._of_canaries()
        patience = [self._patience(key) for key in read]
        lags = [(max(one.lag_seconds, self._silences[key][0]), key) for key, one in read.items()]
        lag, latest = max(lags, default=(0.0, ("", 0)))
        return Evidence(
            requests=sum(one.requests for one in read.values()),
            errors=sum(one.errors for one in read.values()),
            spans=tuple(self._spans),
            rss_growth_bytes=max((self._growth(key) for key in read), default=0),
            lag_seconds=lag,
            silent=lag > 0 and self._silences[latest][1] >= lag,
            begun=sum(begun for begun, _ in patience),
            late=sum(late for _, late in patience),
        )

    def control(self, controls: Collection[Key]) -> Evidence:
        """Return what the others did at the same time; the growth of a lone canary before, where there are none."""
        read = [key for key in controls if key in self._newest and key not in self._canaries]
        gains = [_gained(self._first[key], self._newest[key]) for key in read]
        patience = [self._patience(key) for key in read]
        lags = sorted(max(gain.lag_seconds, self._silences[key][0]) for key, gain in zip(read, gains, strict=True))
        return Evidence(
            requests=sum(gain.requests for gain in gains),
            errors=sum(gain.errors for gain in gains),
            spans=(latency.total(gain.latencies for gain in gains),),
            rss_growth_bytes=max((self._growth(key) for key in read), default=self.before.rss_growth_bytes),
            lag_seconds=max(self._late, lags[len(lags) // 2] if lags else 0.0),
            begun=sum(begun for begun, _ in patience),
            late=sum(late for _, late in patience),
        )

    def silent(self, seconds: float) -> tuple[Key, ...]:
        """Return the canaries whose serving loop has not turned for longer than that."""
        return tuple(key for key in sorted(self._of_canaries()) if self._silences[key][1] > seconds)

    def _of_canaries(self) -> dict[Key, Reading]:
        found = {key: self._newest.get(key) for key in sorted(self._canaries)}
        return {key: one for key, one in found.items() if one is not None and one.version == self._version}

    def _growth(self, key: Key) -> int:
        first, newest = self._first[key].rss_bytes, self._newest[key].rss_bytes
        if key in self._canaries:
            first = max(first, self._usual_bytes)
        return newest - first if first and newest else 0

    def _patience(self, key: Key) -> tuple[int, int]:
        """Return how many requests a worker had begun a while ago, and how many of them were not answered in time.

        What was answered since the beginning, and in time, is taken for answers to these: so there may be more that
        weren't, but not fewer.
        """
        at, earlier = self._earlier[0]
        if self._read_at is None or self._read_at - at < PATIENCE_SECONDS - READING_SECONDS / 2 or key not in earlier:
            return 0, 0
        gain = _gained(self._first[key], self._newest[key])
        begun = max(0, earlier[key].total - self._first[key].total)
        return begun, max(0, begun - gain.requests + latency.above(gain.latencies, PATIENCE_SECONDS))

    def _note_span(self) -> None:
        """Keep what was counted since the reading before, where that is something."""
        counted = latency.total(one.latencies for one in self._of_canaries().values())
        span, self._spanned = latency.less(counted, self._spanned), counted
        if any(span) and self._read_at is not None and self._read_at >= self._warm_at:
            self._spans.append(span)
        if len(self._spans) > _MAX_SPANS:
            self._spans = _paired(self._spans)


def _beyond_a_turn(seconds: float) -> float:
    """Return by how much something is later than it is every time, to the millisecond."""
    return round(max(0.0, seconds - READING_SECONDS), 3)


class _Gain(NamedTuple):
    """Hold what was counted from one reading to a later one, and a lag that is new."""

    requests: int
    errors: int
    latencies: tuple[int, ...]
    lag_seconds: float


def _gained(before: Reading, after: Reading) -> _Gain:
    """Return what was counted from one reading to a later one: all of it, where that counts another version."""
    if after.version != before.version:
        return _Gain(after.requests, after.errors, after.latencies, after.lag_seconds)
    return _Gain(
        max(0, after.requests - before.requests),
        max(0, after.errors - before.errors),
        latency.less(after.latencies, before.latencies),
        after.lag_seconds if after.lag_seconds > before.lag_seconds else 0.0,
    )


def evidence_of(readings: Sequence[Reading]) -> Evidence:
    """Return what one worker did from the first of these readings to the last."""
    gains = [_gained(before, after) for before, after in pairwise(readings)]
    sizes = [one.rss_bytes for one in readings if one.rss_bytes]
    requests, latencies = sum(gain.requests for gain in gains), latency.total(gain.latencies for gain in gains)
    return Evidence(
        requests=requests,
        errors=sum(gain.errors for gain in gains),
        spans=(latencies,),
        rss_growth_bytes=max(0, sizes[-1] - sizes[0]) if sizes else 0,
        begun=requests,
        late=latency.above(latencies, PATIENCE_SECONDS),
    )


def together(several: Iterable[Evidence]) -> Evidence:
    """Return what several workers did, as one side."""
    sides = tuple(several)
    return Evidence(
        requests=sum(one.requests for one in sides),
        errors=sum(one.errors for one in sides),
        spans=(latency.total(one.latencies for one in sides),),
        rss_growth_bytes=max((one.rss_growth_bytes for one in sides), default=0),
        begun=sum(one.begun for one in sides),
        late=sum(one.late for one in sides),
    )


def _paired(spans: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return spans of twice the length; the last may stay as it is."""
    return [latency.total(spans[start : start + 2]) for start in range(0, len(spans), 2)]
