"""How fast a push reaches every worker, and how fast it is taken back: ``python -m tests.benchmarks.rollback``.

The pushes are those of ``push.py``, with the trial on and off; each has a canary and no bake. A way back is ordered
while the canaries bake: from all workers but one, and from a single one.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from nexus_supervisor.core import canonical
from tests.benchmarks import contenders, machine
from tests.support.nexus import Nexus
from tests.support.poison import make_ward_directory

__all__ = ["main"]

_SOURCES = 100
_METHOD = (
    "push: milliseconds from just before a prepared file is renamed over a source file until the last worker has the "
    "new content (CLOCK_MONOTONIC, taken in that worker), 100 source files, a canary and no bake; way back: "
    "milliseconds by the supervisor's notices, from the verdict (the rollout failed) until the last worker has "
    "activated what ran before under its new number, and until that is committed"
)
_BAKES = "bake_seconds = 3600\nquiet_bake_seconds = 3600\ncanary = {canary}\n"


class _Tried(contenders.Nexus):
    """The contender of the push benchmark, with or without a trial."""

    def __init__(self, directory: Path, workers: int, *, trial: bool) -> None:
        super().__init__(directory, workers, _SOURCES)
        daemon = directory / "daemon.toml"
        daemon.write_text(f"[supervisor.rollout.trial]\nenabled = {str(trial).lower()}\n\n{daemon.read_text()}")


def pushes(directory: Path, workers: int, changes: int, *, trial: bool) -> dict[str, Any]:
    """Measure how fast a change reaches every worker."""
    found = []
    with _Tried(directory, workers, trial=trial) as nexus:
        for number in range(1, changes + 1):
            before, moments = nexus.change(number)
            nexus.settle()
            found.append((moments[-1] - before) / 1e6)
    return {"what": f"push, trial {'on' if trial else 'off'}", "milliseconds": found}


def ways_back(directory: Path, workers: int, rounds: int, *, canary: int) -> list[dict[str, Any]]:
    """Measure how fast all workers are back once the verdict is there."""
    directory.mkdir()
    active, committed = [], []
    made = make_ward_directory(directory, _BAKES.format(canary=canary), workers=workers)
    with Nexus(made) as nexus, ThreadPoolExecutor(1) as pool:
        for number in range(rounds):
            (made / "rules" / "main.toml").write_text(f"price = {number + 2}\n")
            pushed = pool.submit(nexus.push)
            nexus.until("rollout_phase", phase="bake")
            nexus.steer("abort", "for the benchmark")
            back = nexus.until("rolled_back")["version"]
            pushed.result()
            moments = _moments(nexus, back)
            active.append(moments[0])
            committed.append(moments[1])
    what = f"way back, {canary} of {workers} had moved"
    return [
        {"what": f"{what}: all active", "milliseconds": active},
        {"what": f"{what}: committed", "milliseconds": committed},
    ]


def _moments(nexus: Nexus, back: int) -> tuple[float, float]:
    """Return after how many milliseconds the last worker was back, and when that was committed."""
    told = [(noticed.at, canonical.decode(noticed.document)) for noticed in nexus.client.notices(0, follow=False)]
    failed = max(at for at, one in told if one["kind"] == "rollout_failed")
    last = max(at for at, one in told if one["kind"] == "version_active" and one["fields"]["version"] == back)
    committed = max(at for at, one in told if one["kind"] == "rolled_back")
    return (last - failed) * 1000, (committed - failed) * 1000


def table(cells: list[dict[str, Any]]) -> str:
    """Return the cells as people read them."""
    width = max(len(cell["what"]) for cell in cells)
    lines = [f"{cell['what']:<{width}}  {_shown(cell['milliseconds'])}" for cell in cells]
    return "\n".join([*lines, "", "ms: median (min to max)"])


def _shown(found: list[float]) -> str:
    return f"{statistics.median(found):7,.1f} ({min(found):,.1f} to {max(found):,.1f})"


@click.command
@click.option("--workers", type=click.IntRange(min=2), default=8, show_default=True, help="How many workers.")
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True, help="How many times each.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file.")
def main(workers: int, rounds: int, file: Path | None) -> None:
    """Measure how fast a push reaches every worker, and how fast it is taken back."""
    cells: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="nexus-benchmark-") as temporary:
        directory = Path(temporary)
        facts = machine.facts(directory)
        for trial in (True, False):
            sys.stderr.write(f"pushes, trial {trial} …\n")
            cells.append(pushes(directory / f"push-{trial}", workers, rounds, trial=trial))
        for canary in (1, workers - 1):
            sys.stderr.write(f"ways back, {canary} moved …\n")
            cells += ways_back(directory / f"back-{canary}", workers, rounds, canary=canary)
    if file is not None:
        document = {"benchmark": "rollback", "method": _METHOD, "machine": facts, "workers": workers, "cells": cells}
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    click.echo(table(cells))


if __name__ == "__main__":
    main()
