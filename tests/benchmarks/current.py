"""What ``current()`` costs beside a bare global: ``python -m tests.benchmarks.current``.

Both are measured in turns in one process. A request's own cost (pin, count, release) is measured beside an empty block.
Asserts nothing.
"""

from __future__ import annotations

import statistics
import timeit

import click

from nexus_supervisor.agent import context
from nexus_supervisor.agent.holder import Holder
from nexus_supervisor.core.snapshot import Snapshot

__all__ = ["main"]

_LOOPS = 200_000
_GLOBAL = Snapshot.of(1)


def _nanoseconds(statements: dict[str, str], names: dict[str, object], rounds: int) -> dict[str, float]:
    """Return the median time of each statement, taken in turns."""
    timers = {name: timeit.Timer(statement, globals=names) for name, statement in statements.items()}
    taken: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            taken[name].append(timer.timeit(_LOOPS) / _LOOPS * 1e9)
    return {name: statistics.median(times) for name, times in taken.items()}


@click.command
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True, help="How often each is timed.")
def main(rounds: int) -> None:
    """Measure what reading the snapshot costs."""
    holder = Holder(lambda: None)
    holder.swap(_GLOBAL)
    context.serve_from(holder)
    names: dict[str, object] = {"SNAPSHOT": _GLOBAL, "current": context.current, "pinned": context.pinned}
    statements = {
        "a bare global": "SNAPSHOT.version",
        "current()": "current().version",
        "a block with pinned()": "with pinned(): pass",
    }
    with context.pinned():
        inside = _nanoseconds(dict(list(statements.items())[:2]), names, rounds)
    outside = _nanoseconds(dict(list(statements.items())[2:]), names, rounds)
    for name, found in {**inside, **outside}.items():
        click.echo(f"{name:24} {found:7.0f} ns")


if __name__ == "__main__":
    main()
