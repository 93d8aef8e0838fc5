"""Readings: what one worker has counted, at one moment.

Decided here: which figures these are. Not decided here: where they lie (``cells.py``), who counts (``agent/``) and what
they say about a version (``health.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reading"]


@dataclass(frozen=True, slots=True)
class Reading:
    """Hold the counters of one process.

    ``requests`` (those that were answered), ``errors`` and ``latencies`` (how many were answered in each bucket of
    ``latency.py``) count what began on ``version``, since that became active. ``lag_seconds`` is the greatest delay of
    the serving loop since then, ``beat`` when that loop last turned (monotonic seconds; None for a program that doesn't
    say). ``total`` counts all requests begun since the start of the process.

    ``alive`` is when the program last said that it is alive, whatever it promises about its turns; None where it
    doesn't say, or says nothing meanwhile because it works. ``waiting_since`` is when the oldest request in hand began
    whose answer hasn't begun yet; None where there is none. ``stopped``: the process is stopped, as by SIGSTOP.
    """

    version: int = 0
    requests: int = 0
    errors: int = 0
    latencies: tuple[int, ...] = ()
    lag_seconds: float = 0.0
    beat: float | None = None
    rss_bytes: int = 0
    total: int = 0
    alive: float | None = None
    waiting_since: float | None = None
    stopped: bool = False
