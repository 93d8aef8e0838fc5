"""How fast a change reaches every worker: ``python -m tests.benchmarks.push``.

For each number of workers and sources, nexus-supervisor and a hand-written peer run beside each other, and their files
are changed in turns: a prepared file is renamed over one of many, and each process reports when it had the new content.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tests.benchmarks import machine
from tests.benchmarks.contenders import HandWritten, Nexus
from tests.benchmarks.processor_time import processor_seconds
from tests.benchmarks.syncs import count_syncs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.benchmarks.contenders import Contender

__all__ = ["main"]

PEER_READS = 160_000
"""The peer reads workers times sources files for each change: it gets fewer changes where those are many."""

_METHOD = (
    "milliseconds from just before a prepared file is renamed over a source file until the last worker has the new "
    "content (CLOCK_MONOTONIC, taken in that worker); nexus-supervisor with bake_seconds = 0 and defaults otherwise; "
    "processor seconds of all its processes until the version is committed and complete on disk"
)

_LEGEND = "ms: median (min to max) until the last worker; syncs: until active / complete on disk"


@dataclass(slots=True)
class Figures:
    """Collect what was measured of one contender in one cell."""

    milliseconds: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return the figures in plain values."""
        return {
            "changes": len(self.milliseconds),
            "milliseconds": {
                "min": round(min(self.milliseconds), 3),
                "median": round(statistics.median(self.milliseconds), 3),
                "max": round(max(self.milliseconds), 3),
                "all": [round(one, 3) for one in self.milliseconds],
            },
            "first_to_last_worker_milliseconds": round(statistics.median(self.spread), 3),
            "processor_seconds_a_change": round(statistics.mean(self.processor), 4),
        }


def measure(contender: Contender, number: int, figures: Figures) -> None:
    """Make one change and note what it took."""
    used = processor_seconds(contender.roots())
    before, moments = contender.change(number)
    contender.settle()
    figures.processor.append(processor_seconds(contender.roots()) - used)
    figures.milliseconds.append((moments[-1] - before) / 1e6)
    figures.spread.append((moments[-1] - moments[0]) / 1e6)


def run_cell(directory: Path, workers: int, sources: int, changes: int, *, strace: bool) -> dict[str, Any]:
    """Measure both at one size."""
    nexus_figures, peer_figures = Figures(), Figures()
    peer_changes = min(changes, max(1, PEER_READS // (workers * sources)))
    with (
        Nexus(directory / "nexus", workers, sources) as nexus,
        HandWritten(directory / "peer", workers, sources) as peer,
    ):
        for number in range(1, changes + 1):
            measure(nexus, number, nexus_figures)
            if number <= peer_changes:
                measure(peer, number, peer_figures)
    cell: dict[str, Any] = {
        "workers": workers,
        "sources": sources,
        "nexus_supervisor": nexus_figures.document(),
        "hand_written": peer_figures.document(),
        "ratio": round(statistics.median(peer_figures.milliseconds) / statistics.median(nexus_figures.milliseconds), 1),
    }
    if peer_changes < changes:
        cell["note"] = f"the peer got {peer_changes} of {changes} changes: each makes it read {workers * sources} files"
    if strace:
        cell["syncs_a_push"] = count_syncs(directory / "traced", workers, sources)
    return cell


def table(cells: Iterable[dict[str, Any]]) -> str:
    """Return the cells as people read them."""
    head = ("workers x sources", "nexus ms", "peer ms", "ratio", "nexus CPU s", "peer CPU s", "syncs")
    rows = [head, *map(_row, cells)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, "", _LEGEND])


def _row(cell: dict[str, Any]) -> tuple[str, ...]:
    nexus, peer, syncs = cell["nexus_supervisor"], cell["hand_written"], cell.get("syncs_a_push")
    return (
        f"{cell['workers']} x {cell['sources']:,}",
        _milliseconds(nexus["milliseconds"]),
        _milliseconds(peer["milliseconds"]),
        f"{cell['ratio']:,.1f}",
        f"{nexus['processor_seconds_a_change']:.3f}",
        f"{peer['processor_seconds_a_change']:.3f}",
        f"{syncs['until_active']:g} / {syncs['until_archived']:g}" if syncs else "-",
    )


def _milliseconds(found: dict[str, float]) -> str:
    return f"{found['median']:,.1f} ({found['min']:,.1f} to {found['max']:,.1f})"


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Read whole numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        parts = str(value).split(",")
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"expected numbers above 0 like 2,8, found {value!r}", param, ctx)
        return tuple(map(int, parts))


@click.command
@click.option("--workers", type=_Numbers(), default="2,8", show_default=True, help="How many workers.")
@click.option("--sources", type=_Numbers(), default="10,1000,10000", show_default=True, help="How many source files.")
@click.option("--changes", type=click.IntRange(min=1), default=7, show_default=True, help="How many changes.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file.")
@click.option("--strace", is_flag=True, help="Count fsync and fdatasync, in runs of their own.")
def main(workers: tuple[int, ...], sources: tuple[int, ...], changes: int, file: Path | None, *, strace: bool) -> None:
    """Measure how fast a change of one source file reaches every worker, beside a hand-written peer."""
    if strace and shutil.which("strace") is None:
        message = "--strace needs strace: install it, or leave the option out"
        raise click.UsageError(message)
    with tempfile.TemporaryDirectory(prefix="nexus-benchmark-") as temporary:
        directory = Path(temporary)
        document: dict[str, Any] = {"benchmark": "push", "method": _METHOD, "machine": machine.facts(directory)}
        cells = []
        for size in sources:
            for number in workers:
                sys.stderr.write(f"{number} workers, {size} sources …\n")
                cells.append(run_cell(directory / f"{number}-{size}", number, size, changes, strace=strace))
    if file is not None:
        file.write_text(json.dumps({**document, "cells": cells}, indent=2) + "\n", encoding="utf-8")
    click.echo(table(cells))


if __name__ == "__main__":
    main()
