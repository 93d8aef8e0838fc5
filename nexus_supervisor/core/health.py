"""Health: whether a canary does as well as the other workers at the same time.

Decided here: from which evidence on a canary is unhealthy, and how much of it makes it healthy. Not decided here: how
the evidence is gathered (``sample.py``) and what a verdict leads to (the bake).

Something is held against a canary only where it is both large and no chance. Large is what the settings say: errors or
slow requests at more than the allowed ratio to the others'. No chance: if canary and others were the same, so many of
the bad requests would fall to the canary with a probability below ``LEVEL``. That is Fisher's exact test for two
proportions, one-sided (R. A. Fisher, Journal of the Royal Statistical Society 85, 1922, pages 87-94): it holds for any
numbers, however few. A bake is judged again and again, each time on the same requests and some more, which makes a
false alarm somewhat likelier; ``LEVEL`` is small enough for that: of 2,000 simulated bakes none is one.

Requests are slow together: whatever stops a process for a moment delays all that it has in hand. So the two worst
spans of the canary are left out of the latencies: what is slow once isn't slow. A request is slow only where its whole
bucket is (``latency.py``), and by ``min_latency_ms`` at least.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma
from typing import TYPE_CHECKING, Literal

from nexus_supervisor.core import latency
from nexus_supervisor.core.latency import above, quantile, upper_quantile
from nexus_supervisor.core.notices import Facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nexus_supervisor.core.options import GateSettings

__all__ = ["LEVEL", "PATIENCE_SECONDS", "Evidence", "Judgement", "Verdict", "chance", "is_comparable", "judge"]

Verdict = Literal["healthy", "unhealthy", "inconclusive"]

LEVEL = 1e-5
"""How unlikely the evidence must be, were the canary like the others."""

PATIENCE_SECONDS = 1.0
"""After how long a request without an answer is held against a canary, where the others answer."""

_SPARED_SPANS = 2  # a moment's stop touches two spans where it begins in one and ends in the next
_FEW_REQUESTS = 10  # fewer of the others are no comparison
_ASSUMED_REQUESTS, _ASSUMED_ERRORS = 1_000, 100  # what errors are compared with where there is nothing: one in ten
_LAG_RATIO = 2.0  # where the others' loops are late too, it is the machine
_MIB = 1 << 20
_PERCENTILES = ((0.99, "99th percentile"), (0.5, "median"))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Say how a canary does, and why in a clause with its figures; ``numbers`` are the same for machines.

    ``silent``: the serving loop of a canary does not turn at this moment, so nothing more is known of it.
    """

    verdict: Verdict
    reason: str
    numbers: Facts
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """Hold what is known of one side.

    ``spans`` are the latencies of one short time after the other. The canary's memory and lag are those of the worst
    of several; the others' lag is that of the middle one, their growth of memory the largest. Of ``begun`` requests,
    all begun at least ``PATIENCE_SECONDS`` ago, ``late`` were not answered in that time.
    """

    requests: int = 0
    errors: int = 0
    spans: tuple[tuple[int, ...], ...] = ()
    rss_growth_bytes: int = 0
    lag_seconds: float = 0.0
    silent: bool = False
    begun: int = 0
    late: int = 0

    @property
    def latencies(self) -> tuple[int, ...]:
        """Return the latencies of all spans together."""
        return latency.total(self.spans)


def judge(canary: Evidence, control: Evidence, where: str, gates: GateSettings) -> Judgement:
    """Judge a canary against others; ``where`` says which, such as ``in the other workers``."""
    numbers = {**_numbers("canary", canary), **_numbers("control", control)}
    comparable = is_comparable(control, gates)
    complaint = next(_complaints(canary, control if comparable else None, control, where, gates), None)
    if complaint is not None:
        return Judgement("unhealthy", complaint, numbers)
    if canary.requests < gates.min_requests:
        return Judgement("inconclusive", f"{_requests(canary)}, and a verdict needs {gates.min_requests}", numbers)
    if not comparable:
        return Judgement("inconclusive", f"{_requests(control)} to compare with {_requests(canary)}", numbers)
    return Judgement("healthy", "; ".join(_praise(canary, control, where)), numbers)


def is_comparable(control: Evidence, gates: GateSettings) -> bool:
    """Return whether this side had requests enough to compare others with."""
    return control.requests >= min(_FEW_REQUESTS, gates.min_requests)


def chance(bad: int, count: int, other_bad: int, other_count: int) -> float:
    """Return how likely at least ``bad`` of all bad ones fall into these ``count``, were it all the same to them.

    This is the upper tail of the hypergeometric distribution. Terms fall faster and faster beyond the expected number,
    so the sum ends soon; up to the expected number the answer is 1.
    """
    bad, other_bad = min(bad, count), min(other_bad, other_count)
    everything, all_bad = count + other_count, bad + other_bad
    if not bad or bad * everything <= all_bad * count:
        return 1.0
    term = exp(_choices(count, bad) + _choices(other_count, other_bad) - _choices(everything, all_bad))
    found, number = 0.0, bad
    while term > found * 1e-9:
        found += term
        left = all_bad - number
        term *= (count - number) * left / ((number + 1) * (other_count - left + 1))
        number += 1
    return min(1.0, found)


def _choices(count: int, chosen: int) -> float:
    """Return the logarithm of in how many ways so many can be chosen."""
    return lgamma(count + 1) - lgamma(chosen + 1) - lgamma(count - chosen + 1)


def _complaints(
    canary: Evidence, served: Evidence | None, control: Evidence, where: str, gates: GateSettings
) -> Iterator[str]:
    """Say what is held against the canary, the plainest first; ``served`` is None where requests can't be compared."""
    if canary.lag_seconds > max(gates.max_lag_seconds, _LAG_RATIO * control.lag_seconds):
        state = "has been silent for" if canary.silent else "was late by"
        yield f"its serving loop {state} {_time(canary.lag_seconds)} against {_time(control.lag_seconds)} elsewhere"
    usual = served or Evidence(_ASSUMED_REQUESTS, _ASSUMED_ERRORS)
    if _is_worse(canary.errors, canary.requests, usual.errors, usual.requests, gates.max_error_ratio):
        yield _errors(canary, served, where)
    if served is not None:
        if _is_worse(canary.late, canary.begun, served.late, served.begun, gates.max_error_ratio):
            late = f"{canary.late} of {canary.begun} requests were not answered within {_time(PATIENCE_SECONDS)}"
            yield f"{late} against {served.late} of {served.begun} {where}"
        yield from _slowness(canary, served, where, gates)
    grown, others = canary.rss_growth_bytes / _MIB, max(0, control.rss_growth_bytes) / _MIB
    if grown - others > gates.max_rss_growth_mb:
        yield (
            f"its memory grew by {grown:.0f} MiB against {others:.0f} elsewhere, "
            f"and {gates.max_rss_growth_mb:g} more are allowed"
        )


def _is_worse(bad: int, count: int, other_bad: int, other_count: int, ratio: float) -> bool:
    """Return whether bad ones are more than ``ratio`` times as frequent, and that is no chance."""
    is_large = bad * other_count > ratio * other_bad * count
    return is_large and chance(bad, count, other_bad, other_count) < LEVEL


def _slowness(canary: Evidence, control: Evidence, where: str, gates: GateSettings) -> Iterator[str]:
    """Say which percentile of latency is too high: more than its share of requests is slower than it may be."""
    others = control.latencies
    for share, name in _PERCENTILES:
        usual = upper_quantile(others, share)
        if usual is None:
            return
        allowed = max(usual * gates.max_p99_ratio, usual + gates.min_latency_ms / 1_000)
        slow, count = _lasting(canary.spans, allowed)
        is_exceeded = slow > (1 - share) * count
        if is_exceeded and chance(slow, count, above(others, allowed), sum(others)) < LEVEL:
            mine, theirs = quantile(canary.latencies, share), quantile(others, share)
            yield f"the {name} of its latency is {_time(mine)} against {_time(theirs)} {where}"


def _lasting(spans: Iterable[tuple[int, ...]], allowed: float) -> tuple[int, int]:
    """Return how many requests were slower than that, and of how many, without the worst spans."""
    counted = sorted((above(one, allowed), sum(one)) for one in spans)
    kept = counted[: max(0, len(counted) - _SPARED_SPANS)]
    return sum(slow for slow, _ in kept), sum(count for _, count in kept)


def _praise(canary: Evidence, control: Evidence, where: str) -> Iterator[str]:
    yield _errors(canary, control, where)
    mine, theirs = quantile(canary.latencies, 0.99), quantile(control.latencies, 0.99)
    if mine is not None and theirs is not None:
        yield f"99th percentile of latency {_time(mine)} against {_time(theirs)}"


def _errors(canary: Evidence, control: Evidence | None, where: str) -> str:
    compared = "nothing to compare with" if control is None else f"{control.errors} of {control.requests} {where}"
    return f"errors {canary.errors} of {canary.requests} against {compared}"


def _requests(side: Evidence) -> str:
    return f"{side.requests} request{'' if side.requests == 1 else 's'}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "none"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1_000:.3g} ms"


def _numbers(name: str, side: Evidence) -> Facts:
    spread = side.latencies
    return {
        f"{name}_requests": side.requests,
        f"{name}_errors": side.errors,
        f"{name}_p50_ms": _milliseconds(quantile(spread, 0.5)),
        f"{name}_p99_ms": _milliseconds(quantile(spread, 0.99)),
        f"{name}_rss_growth_mb": round(side.rss_growth_bytes / _MIB, 1),
        f"{name}_lag_ms": _milliseconds(side.lag_seconds),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 3)
